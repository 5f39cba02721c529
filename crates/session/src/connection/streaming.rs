//! The streams that either side opens beside the first two.

use p2pchat_proto::Moment;
use p2pchat_proto::frame::StreamId;
use p2pchat_proto::stream::StreamHead;

use super::{Connection, Phase};
use crate::event::{SessionEvent, StreamError};

impl Connection {
    pub(crate) fn open_stream(&mut self, head: &StreamHead) -> Result<StreamId, StreamError> {
        self.must_be_up()?;
        self.streams.opened.outgoing.open(head)
    }

    pub(crate) fn write_stream(
        &mut self,
        stream: StreamId,
        chunk: Vec<u8>,
    ) -> Result<(), (StreamError, Vec<u8>)> {
        match self.must_be_up() {
            Ok(()) => self.streams.opened.outgoing.write(stream, chunk),
            Err(why) => Err((why, chunk)),
        }
    }

    pub(crate) fn stream_room(&self, stream: StreamId) -> Result<usize, StreamError> {
        self.must_be_up()?;
        self.streams.opened.outgoing.room(stream)
    }

    pub(crate) fn finish_stream(&mut self, stream: StreamId) -> Result<(), StreamError> {
        self.must_be_up()?;
        self.streams.opened.outgoing.finish(stream)
    }

    pub(crate) fn reset_stream(&mut self, stream: StreamId, code: u64) -> Result<(), StreamError> {
        self.must_be_up()?;
        self.streams.reset(stream, code)
    }

    pub(crate) fn read_stream(&mut self, stream: StreamId, now: Moment) -> Option<Vec<u8>> {
        self.must_be_up().ok()?;
        self.streams.read(stream, self.recovery.rtt.smoothed(), now)
    }

    /// Nothing of a stream is told after the end of its session.
    pub(crate) fn poll_stream_event(&mut self) -> Option<SessionEvent> {
        self.must_be_up().ok()?;
        self.streams.opened.poll_event().map(SessionEvent::Stream)
    }

    const fn must_be_up(&self) -> Result<(), StreamError> {
        match self.phase {
            Phase::Up { .. } => Ok(()),
            Phase::Confirming(_) | Phase::Closing(_) | Phase::Draining { .. } | Phase::Over => {
                Err(StreamError::NotUp)
            }
        }
    }
}
