//! The store's thread, and the driver's end of it.

use core::task::{Context, Poll, ready};
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use p2pchat_conversation::{BatchId, Memory, QueryId, Rows, Write};
use p2pchat_engine::history::{Page, Recalled, Removed, Talk};
use p2pchat_engine::{CommandId, Failure};
use p2pchat_proto::{PeerId, WallTime};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::book::Book;
use super::error::StoreError;
use super::recall::{Found, Recall};
use crate::random::system_rng;

/// How long after a write that failed the next try is made. A full disk is noticed at once, and nobody
/// waits much longer than it takes to make room.
const RETRY: Duration = Duration::from_secs(1);

/// What the store has to say.
#[derive(Debug)]
pub(crate) enum Answer {
    /// This batch and all before it are durable.
    Committed(BatchId),
    /// What was asked for.
    Loaded(QueryId, Rows),
    /// What a front end asked for; names are added to it elsewhere.
    Recalled(CommandId, Result<Recalled, Failure>),
    /// Writing fails for now; it is tried again until it succeeds.
    Trouble(Failure),
    /// Writing succeeds again.
    Recovered,
    /// The store cannot be used any more.
    Broken(Failure),
}

enum Job {
    Commit(BatchId, Vec<Write>),
    Load(QueryId, PeerId),
    Recall(CommandId, Recall),
    Sweep(WallTime),
}

/// Where conversations are kept. What waits for it is bounded by what conversations have under way.
pub(crate) struct Store {
    place: Place,
    /// The newest batch, until it is durable or cannot be made so for now.
    owed: Option<BatchId>,
}

enum Place {
    /// As long as the process lasts.
    Memory(Memory, VecDeque<Answer>),
    /// In a file. No jobs are taken once the store is to end.
    File { jobs: Option<Sender<Job>>, answers: UnboundedReceiver<Answer> },
}

impl Store {
    /// A store that is gone with the process.
    pub(crate) fn in_memory() -> Self {
        Self { place: Place::Memory(Memory::new(), VecDeque::new()), owed: None }
    }

    /// A store in a file, on a thread of its own from now on.
    pub(crate) fn of(book: Book) -> Result<Self, Failure> {
        let (jobs, todo) = channel();
        let (sender, answers) = unbounded_channel();
        let worker = Worker { book, jobs: todo, queue: VecDeque::new(), answers: sender, troubled: false };
        std::thread::Builder::new().name("store".to_owned()).spawn(|| worker.run()).map_err(|error| {
            Failure::Local { what: "start the thread of the store".to_owned(), reason: error.to_string() }
        })?;
        Ok(Self { place: Place::File { jobs: Some(jobs), answers }, owed: None })
    }

    /// Makes writes durable; [`Answer::Committed`] says when.
    pub(crate) fn commit(&mut self, batch: BatchId, writes: Vec<Write>) {
        self.owed = Some(batch);
        match &mut self.place {
            Place::Memory(memory, answers) => {
                memory.apply(&writes);
                answers.push_back(Answer::Committed(batch));
            }
            Place::File { jobs, .. } => hand(jobs, Job::Commit(batch, writes)),
        }
    }

    /// Reads what is kept of a conversation; [`Answer::Loaded`] gives it.
    pub(crate) fn load(&mut self, query: QueryId, peer: PeerId) {
        match &mut self.place {
            Place::Memory(memory, answers) => {
                answers.push_back(Answer::Loaded(query, memory.rows(peer)));
            }
            Place::File { jobs, .. } => hand(jobs, Job::Load(query, peer)),
        }
    }

    /// Answers a front end; [`Answer::Recalled`] does.
    pub(crate) fn recall(&mut self, id: CommandId, question: Recall) {
        match &mut self.place {
            Place::Memory(_, answers) => {
                let nowhere = Failure::Usage("a profile that is kept nowhere has no history".to_owned());
                answers.push_back(Answer::Recalled(id, Err(nowhere)));
            }
            Place::File { jobs, .. } => hand(jobs, Job::Recall(id, question)),
        }
    }

    /// Removes what is older than it is kept by now; only what hinders that is answered, as
    /// [`Answer::Trouble`].
    pub(crate) fn sweep(&mut self, now: WallTime) {
        if let Place::File { jobs, .. } = &self.place {
            hand(jobs, Job::Sweep(now));
        }
    }

    /// The next answer that is there.
    pub(crate) fn answer(&mut self) -> Option<Answer> {
        let answer = match &mut self.place {
            Place::Memory(_, answers) => answers.pop_front()?,
            Place::File { answers, .. } => answers.try_recv().ok()?,
        };
        Some(self.given(answer))
    }

    /// The next answer; never ready once there can be none.
    pub(crate) fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<Answer> {
        let answer = match &mut self.place {
            Place::Memory(_, answers) => answers.pop_front(),
            Place::File { answers, .. } => ready!(answers.poll_recv(context)),
        };
        answer.map_or(Poll::Pending, |answer| Poll::Ready(self.given(answer)))
    }

    /// Whether what was said will be durable in a moment.
    pub(crate) const fn is_writing(&self) -> bool {
        self.owed.is_some()
    }

    fn given(&mut self, answer: Answer) -> Answer {
        match &answer {
            Answer::Committed(batch) if self.owed != Some(*batch) => {}
            Answer::Committed(_) | Answer::Trouble(_) | Answer::Broken(_) => self.owed = None,
            Answer::Loaded(..) | Answer::Recalled(..) | Answer::Recovered => {}
        }
        answer
    }

    /// Ends the store once everything that waits is durable, or cannot be; what it had still to say.
    pub(crate) async fn finish(&mut self) -> Vec<Answer> {
        let mut last = Vec::new();
        if let Place::File { jobs, answers } = &mut self.place {
            *jobs = None;
            while let Some(answer) = answers.recv().await {
                last.push(answer);
            }
        }
        last
    }
}

/// A thread that is gone has said why.
fn hand(jobs: &Option<Sender<Job>>, job: Job) {
    if let Some(jobs) = jobs
        && jobs.send(job).is_err()
    {
        tracing::debug!("the store has ended");
    }
}

struct Worker {
    book: Book,
    jobs: Receiver<Job>,
    /// What came while something else was being written.
    queue: VecDeque<Job>,
    answers: UnboundedSender<Answer>,
    troubled: bool,
}

impl Worker {
    /// Until the other end is gone and everything is done.
    fn run(mut self) {
        while let Some(job) = self.queue.pop_front().or_else(|| self.jobs.recv().ok()) {
            let done = match job {
                Job::Commit(batch, writes) => self.commit(batch, writes),
                Job::Load(query, peer) => self.load(query, peer),
                Job::Recall(id, question) => {
                    let answer = self.recall(question).map_err(|error| self.book.failure(error));
                    self.say(Answer::Recalled(id, answer));
                    Ok(())
                }
                Job::Sweep(now) => {
                    if let Err(error) = self.sweep(now) {
                        self.say(Answer::Trouble(self.book.failure(error)));
                    }
                    Ok(())
                }
            };
            if let Err(error) = done {
                self.say(Answer::Broken(self.book.failure(error)));
                return;
            }
        }
    }

    /// Makes a batch durable, with all that wait behind it up to the next question, whose answer is to
    /// hold no later one. While the disk takes nothing it is tried again, until the program ends.
    fn commit(&mut self, mut last: BatchId, mut writes: Vec<Write>) -> Result<(), StoreError> {
        self.queue.extend(self.jobs.try_iter());
        while let Some(Job::Commit(..)) = self.queue.front()
            && let Some(Job::Commit(batch, more)) = self.queue.pop_front()
        {
            last = batch;
            writes.extend(more);
        }
        let mut ending = false;
        while let Err(error) = self.apply(&writes) {
            if ending || !error.may_pass() {
                return Err(error);
            }
            let why = self.book.failure(error);
            self.trouble(&why);
            ending = self.wait(&why);
        }
        if core::mem::take(&mut self.troubled) {
            self.say(Answer::Recovered);
        }
        self.say(Answer::Committed(last));
        Ok(())
    }

    fn apply(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        let mut rng = system_rng().map_err(|_| StoreError::Randomness)?;
        self.book.apply(writes, &mut rng)
    }

    fn load(&mut self, query: QueryId, peer: PeerId) -> Result<(), StoreError> {
        let rows = self.book.rows(peer)?;
        self.say(Answer::Loaded(query, rows));
        Ok(())
    }

    fn sweep(&mut self, now: WallTime) -> Result<u64, StoreError> {
        let mut rng = system_rng().map_err(|_| StoreError::Randomness)?;
        self.book.sweep(now, &mut rng)
    }

    /// An error here is the answer: whoever asked hears it, and what is written goes on.
    fn recall(&mut self, question: Recall) -> Result<Recalled, StoreError> {
        Ok(match question {
            Recall::Look(look) => {
                let Found { messages, next } = self.book.look(&look)?;
                Recalled::Page(Page { peer: look.peer, name: None, messages, next })
            }
            Recall::Talks => Recalled::Talks(self.book.summaries()?.into_iter().map(Talk::from).collect()),
            Recall::Keep { peer, change } => {
                if let Some(after) = change {
                    let mut rng = system_rng().map_err(|_| StoreError::Randomness)?;
                    self.book.keep(peer, after, &mut rng)?;
                }
                let changed = change.is_some();
                Recalled::Kept { peer, name: None, after: self.book.kept_for(peer)?, changed }
            }
            Recall::Forget { peer, before } => {
                let mut rng = system_rng().map_err(|_| StoreError::Randomness)?;
                let messages = match before {
                    Some(before) => self.book.forget_before(peer, before, &mut rng)?,
                    None => self.book.forget(peer, &mut rng)?,
                };
                let removed = Removed { peer, messages, under_way: 0 };
                Recalled::Forgotten { removed, name: None, all: before.is_none() }
            }
        })
    }

    /// Says that writing fails, once until it succeeds again.
    fn trouble(&mut self, why: &Failure) {
        if !core::mem::replace(&mut self.troubled, true) {
            self.say(Answer::Trouble(why.clone()));
        }
    }

    /// Answers what front ends ask from what is durable, as what waits may do so for long; what would change it
    /// has to wait its turn, and so fails.
    fn answer_meanwhile(&mut self, why: &Failure) {
        for job in core::mem::take(&mut self.queue) {
            match job {
                Job::Recall(id, question) if question.only_reads() => {
                    let answer = self.recall(question).map_err(|error| self.book.failure(error));
                    self.say(Answer::Recalled(id, answer));
                }
                Job::Recall(id, _) => self.say(Answer::Recalled(id, Err(why.clone()))),
                Job::Commit(..) | Job::Load(..) | Job::Sweep(_) => self.queue.push_back(job),
            }
        }
    }

    /// Waits for the time of the next try. Whether the program ends.
    #[expect(clippy::disallowed_methods, reason = "this thread waits by itself")]
    fn wait(&mut self, why: &Failure) -> bool {
        let until = Instant::now() + RETRY;
        loop {
            self.answer_meanwhile(why);
            match self.jobs.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(job) => self.queue.push_back(job),
                Err(RecvTimeoutError::Timeout) => return false,
                Err(RecvTimeoutError::Disconnected) => return true,
            }
        }
    }

    /// Nobody hears it once the driver is gone, and then nobody waits for it.
    fn say(&self, answer: Answer) {
        let _ = self.answers.send(answer);
    }
}
