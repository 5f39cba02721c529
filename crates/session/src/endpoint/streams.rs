//! Streams that either side opens beside the first two, for groups and for content of transfers.

use p2pchat_proto::Moment;
use p2pchat_proto::frame::StreamId;
use p2pchat_proto::stream::StreamHead;

use super::{Endpoint, Session};
use crate::connection::Connection;
use crate::event::{SessionId, StreamError};

impl Endpoint {
    /// Opens a stream to the peer. It goes one way: what the peer has to say, it says on one of its
    /// own.
    ///
    /// # Errors
    /// [`StreamError::NotUp`], and [`StreamError::TooMany`] while 64 are open.
    pub fn open(
        &mut self,
        session: SessionId,
        head: &StreamHead,
        now: Moment,
    ) -> Result<StreamId, StreamError> {
        let stream = self.up(session, now)?.open_stream(head)?;
        self.attend(session);
        Ok(stream)
    }

    /// Takes a chunk for sending on one of this side's streams, at most half of
    /// [`crate::STREAM_BUFFER_MAX`] bytes; it arrives once and in order, or the stream or the session
    /// ends.
    ///
    /// # Errors
    /// See [`StreamError`]; the chunk comes back with it, and nothing of it is sent. After
    /// [`StreamError::Full`] a [`crate::StreamEvent::Writable`] tells when it finds room.
    pub fn write(
        &mut self,
        session: SessionId,
        stream: StreamId,
        chunk: Vec<u8>,
        now: Moment,
    ) -> Result<(), (StreamError, Vec<u8>)> {
        match self.up(session, now) {
            Ok(connection) => connection.write_stream(stream, chunk)?,
            Err(why) => return Err((why, chunk)),
        }
        self.attend(session);
        Ok(())
    }

    /// How many bytes [`Self::write`] takes on this stream now.
    ///
    /// # Errors
    /// If it takes none however long one waits.
    pub fn room(&self, session: SessionId, stream: StreamId) -> Result<usize, StreamError> {
        match self.sessions.get(&session).map(|entry| &entry.session) {
            Some(Session::Connected(connection)) => connection.stream_room(stream),
            Some(Session::Initiating(_) | Session::Responding(_)) | None => Err(StreamError::NotUp),
        }
    }

    /// Ends one of this side's streams behind what was written; [`crate::StreamEvent::Finished`]
    /// comes when the peer has all of it.
    ///
    /// # Errors
    /// See [`StreamError`].
    pub fn finish(&mut self, session: SessionId, stream: StreamId, now: Moment) -> Result<(), StreamError> {
        self.up(session, now)?.finish_stream(stream)?;
        self.attend(session);
        Ok(())
    }

    /// Gives up one of this side's streams, or refuses more of one of the peer's, whichever it is;
    /// the peer's program is told `code`. Nothing more comes of it.
    ///
    /// # Errors
    /// See [`StreamError`].
    pub fn reset(
        &mut self,
        session: SessionId,
        stream: StreamId,
        code: u64,
        now: Moment,
    ) -> Result<(), StreamError> {
        self.up(session, now)?.reset_stream(stream, code)?;
        self.attend(session);
        Ok(())
    }

    /// The next bytes of a stream of the peer's; `None` if there are none now. Taking them is what
    /// gives the peer credit for more, so whoever does not take holds it back. After the last ones
    /// [`crate::StreamEvent::Finished`] comes.
    pub fn read(&mut self, session: SessionId, stream: StreamId, now: Moment) -> Option<Vec<u8>> {
        let piece = self.up(session, now).ok()?.read_stream(stream, now);
        if piece.is_some() {
            self.attend(session);
        }
        piece
    }

    fn up(&mut self, session: SessionId, now: Moment) -> Result<&mut Connection, StreamError> {
        self.now = now;
        match self.sessions.get_mut(&session).map(|entry| &mut entry.session) {
            Some(Session::Connected(connection)) => Ok(connection),
            Some(Session::Initiating(_) | Session::Responding(_)) | None => Err(StreamError::NotUp),
        }
    }
}
