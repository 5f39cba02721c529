//! One task for each transfer: races for carriers, starts the threads, keeps what the next
//! attempt goes on with.

use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Builder;

use p2pchat_proto::transfer::{Attempt, TcpCandidates};
use p2pchat_transfer::receiver::FinishError;
use p2pchat_transfer::tree::TreeHasher;
use p2pchat_transfer::{
    CarrierEnd, CarrierFault, CarrierLoss, CarrierReport, CarrierSpec, Receiver, SafeName, Sender,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use super::doors::{Arrival, Doors, SharedHellos, lock};
use super::part::Part;
use super::pipe::{self, Trouble};
use super::race;
use super::report::{CarrierEvents, Reporter};
use super::source::OpenSource;
use crate::endpoints;

/// What a worker is told.
#[derive(Debug)]
pub(super) enum Order {
    /// Make an attempt, in place of an earlier one.
    Start(CarrierSpec),
    /// Dial these as well.
    Candidates(Attempt, TcpCandidates),
    /// Compare and name what was received.
    Publish([u8; 32]),
}

/// Which addresses mean something here.
#[derive(Debug, Clone)]
pub(super) struct Places {
    /// To be announced instead of what is found.
    pub(super) advertise: Vec<SocketAddr>,
    /// Whether loopback addresses may mean the other side.
    pub(super) over_loopback: Arc<AtomicBool>,
}

impl Places {
    pub(super) fn announced(&self, bound: &[SocketAddr]) -> Vec<SocketAddr> {
        endpoints::announced(bound, &self.advertise, self.over_loopback.load(Ordering::Relaxed))
    }

    /// Loopback is dialled only where one's own socket is bound to it, or everybody is on one
    /// machine (protocol section 4).
    pub(super) fn may_dial(&self, address: SocketAddr, bound: &[SocketAddr]) -> bool {
        let is_loopback = |address: &SocketAddr| address.ip().to_canonical().is_loopback();
        !is_loopback(&address) || self.over_loopback.load(Ordering::Relaxed) || bound.iter().any(is_loopback)
    }
}

/// What a transfer keeps between its attempts. Dropped, the source is closed and an unfinished file
/// removed.
#[derive(Debug)]
pub(super) enum Keep {
    Sender { source: Arc<OpenSource>, tree: Option<TreeHasher> },
    Receiver(ReceiverKeep),
}

#[derive(Debug)]
pub(super) struct ReceiverKeep {
    pub(super) dir: PathBuf,
    pub(super) progress: Progress,
}

#[derive(Debug)]
pub(super) enum Progress {
    /// Nothing was made yet.
    Nothing,
    /// An unfinished file and the hashes of what is in it.
    Partial(Box<(Part, TreeHasher)>),
    /// All of it, to be named so.
    Whole(Box<(Part, Receiver, SafeName)>),
    /// The end: named, or given up.
    Over,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) events: CarrierEvents,
    pub(super) doors: Doors,
    pub(super) places: Places,
    pub(super) keep: Keep,
}

/// What comes after an attempt.
enum After {
    /// The next order.
    Idle,
    /// A later attempt.
    Start(CarrierSpec),
    /// The transfer ended.
    Stopped,
}

impl Worker {
    /// Works until nobody has orders any more.
    pub(super) async fn run(mut self) {
        let mut reporter = None;
        while let Some(order) = self.orders.recv().await {
            match order {
                Order::Start(spec) => {
                    let mut next = After::Start(spec);
                    while let After::Start(spec) = next {
                        let attempt = Reporter::new(self.events.clone(), spec.transfer, spec.attempt);
                        next = self.attempt(spec, &attempt).await;
                        reporter = Some(attempt);
                    }
                    if matches!(next, After::Stopped) {
                        return;
                    }
                }
                Order::Publish(hash) => {
                    if let (Keep::Receiver(keep), Some(reporter)) = (&mut self.keep, &reporter) {
                        let report = keep.publish(hash).await;
                        reporter.tell(report).await;
                    }
                }
                Order::Candidates(..) => {}
            }
        }
    }

    async fn attempt(&mut self, spec: CarrierSpec, reporter: &Reporter) -> After {
        if let Err(fault) = self.keep.prepare(&spec).await {
            reporter.tell(CarrierReport::Failed(fault)).await;
            return After::Idle;
        }
        let outcome = race::run(&spec, &self.doors, &self.places, &mut self.orders, reporter).await;
        let (arrival, hellos) = match outcome {
            race::Outcome::Won(arrival, hellos) => (arrival, hellos),
            race::Outcome::Nobody => {
                let have = self.keep.held();
                reporter.tell(CarrierReport::Lost { why: CarrierLoss::Unreachable, have }).await;
                return After::Idle;
            }
            race::Outcome::Replaced(spec) => return After::Start(spec),
            race::Outcome::Stopped => return After::Stopped,
        };
        reporter.tell(CarrierReport::Connected).await;
        let Some((line, done)) = self.keep.start(&spec, arrival, &hellos, reporter) else {
            let have = self.keep.held();
            reporter.tell(CarrierReport::Lost { why: CarrierLoss::Broken, have }).await;
            return After::Idle;
        };
        self.stream(line, done, reporter).await
    }

    /// Waits for the threads, and ends them when something else is wanted.
    async fn stream(
        &mut self,
        line: Line,
        mut done: oneshot::Receiver<Streamed>,
        reporter: &Reporter,
    ) -> After {
        let after = loop {
            tokio::select! {
                streamed = &mut done => {
                    let report = self.keep.take_back(streamed.ok());
                    reporter.tell(report).await;
                    return After::Idle;
                }
                order = self.orders.recv() => match order {
                    None => break After::Stopped,
                    Some(Order::Start(spec)) => break After::Start(spec),
                    Some(Order::Candidates(..) | Order::Publish(_)) => {}
                },
            }
        };
        drop(line);
        let _nobody_asks_any_more = self.keep.take_back(done.await.ok());
        after
    }
}

/// A socket in the hands of threads that wait for it. Dropped, they find it closed.
#[derive(Debug)]
struct Line(TcpStream);

impl Drop for Line {
    fn drop(&mut self) {
        let _closed_already = self.0.shutdown(Shutdown::Both);
    }
}

/// What comes back from the threads of one attempt.
#[derive(Debug)]
enum Streamed {
    Sent(Result<(), Trouble>, TreeHasher),
    Received(Result<(), Trouble>, Box<(Part, Receiver, SafeName)>),
}

impl Keep {
    /// Makes what an attempt needs and does not exist: the unfinished file.
    async fn prepare(&mut self, spec: &CarrierSpec) -> Result<(), CarrierFault> {
        let Self::Receiver(keep) = self else { return Ok(()) };
        match keep.progress {
            Progress::Nothing => {
                let (dir, transfer, total) = (keep.dir.clone(), spec.transfer, spec.total);
                let part = blocking(move || Part::create(&dir, transfer, total), &keep.dir).await?;
                keep.progress = Progress::Partial(Box::new((part, TreeHasher::new(spec.total))));
                Ok(())
            }
            Progress::Partial(_) | Progress::Whole(_) => Ok(()),
            Progress::Over => Err(lost_thread(&keep.dir)),
        }
    }

    /// Chunks held, from the start; 0 at a sender.
    fn held(&self) -> u64 {
        match self {
            Self::Sender { .. } => 0,
            Self::Receiver(keep) => match &keep.progress {
                Progress::Nothing | Progress::Over => 0,
                Progress::Partial(partial) => partial.1.hashed(),
                Progress::Whole(whole) => whole.1.held(),
            },
        }
    }

    /// Hands the connection to threads. `None` where the system has none, or no carrier is wanted.
    fn start(
        &mut self,
        spec: &CarrierSpec,
        (socket, proven): Arrival,
        hellos: &SharedHellos,
        reporter: &Reporter,
    ) -> Option<(Line, oneshot::Receiver<Streamed>)> {
        let socket = socket.into_std().ok()?;
        socket.set_nonblocking(false).ok()?;
        socket.set_nodelay(true).ok()?;
        let line = Line(socket.try_clone().ok()?);
        let (streamed, done) = oneshot::channel();
        let reporter = reporter.clone();
        match (self, &spec.end) {
            (Self::Sender { source, tree }, CarrierEnd::Sender) => {
                let source = source.clone();
                let tree = tree.take().unwrap_or_else(|| TreeHasher::new(spec.total));
                let sealer = lock(hellos).sealer(spec.suite, &proven);
                let mut sender = Sender::new(spec.total, spec.have, tree, sealer);
                let work = move || {
                    let result = pipe::send(&socket, &source, &mut sender, &reporter);
                    let _worker_gone = streamed.send(Streamed::Sent(result, sender.into_tree()));
                };
                Builder::new().name("p2pchat-seal".to_owned()).spawn(work).ok()?;
            }
            (Self::Receiver(keep), CarrierEnd::Receiver { name }) => {
                let (part, tree) = keep.take_partial()?;
                let name = name.clone();
                let opener = lock(hellos).opener(spec.suite, &proven);
                let mut receiver = Receiver::new(spec.total, spec.have, tree, opener);
                let work = move || {
                    let result = pipe::receive(&socket, &part, &mut receiver, &reporter);
                    let _worker_gone =
                        streamed.send(Streamed::Received(result, Box::new((part, receiver, name))));
                };
                Builder::new().name("p2pchat-open".to_owned()).spawn(work).ok()?;
            }
            (Self::Sender { .. } | Self::Receiver(_), CarrierEnd::Sender | CarrierEnd::Receiver { .. }) => {
                return None;
            }
        }
        Some((line, done))
    }

    /// Keeps what the threads leave behind for the next attempt. What is to be reported of it.
    fn take_back(&mut self, streamed: Option<Streamed>) -> CarrierReport {
        let (result, whole) = match (&mut *self, streamed) {
            (Self::Sender { tree: kept, .. }, Some(Streamed::Sent(result, tree))) => {
                *kept = Some(tree.clone());
                let whole = tree.finish().map(|hash| CarrierReport::Sent { hash });
                (result, whole)
            }
            (Self::Receiver(keep), Some(Streamed::Received(result, stream))) => {
                keep.progress = if stream.1.is_complete() && result.is_ok() {
                    Progress::Whole(stream)
                } else {
                    let (part, receiver, _) = *stream;
                    Progress::Partial(Box::new((part, receiver.into_tree())))
                };
                (result, matches!(keep.progress, Progress::Whole(_)).then_some(CarrierReport::Received))
            }
            (Self::Sender { .. } | Self::Receiver(_), _) => (Err(Trouble::Loss(CarrierLoss::Broken)), None),
        };
        let lost = |why| CarrierReport::Lost { why, have: self.held() };
        match (result, whole) {
            (Ok(()), Some(report)) => report,
            (Ok(()), None) => lost(CarrierLoss::Broken),
            (Err(Trouble::Loss(why)), _) => lost(why),
            (Err(Trouble::Fault(fault)), _) => CarrierReport::Failed(fault),
        }
    }
}

impl ReceiverKeep {
    fn take_partial(&mut self) -> Option<(Part, TreeHasher)> {
        match core::mem::replace(&mut self.progress, Progress::Over) {
            Progress::Partial(partial) => Some(*partial),
            other @ (Progress::Nothing | Progress::Whole(_) | Progress::Over) => {
                self.progress = other;
                None
            }
        }
    }

    /// Compares, syncs and names, on a thread that may wait for the disk.
    async fn publish(&mut self, hash: [u8; 32]) -> CarrierReport {
        let Progress::Whole(whole) = core::mem::replace(&mut self.progress, Progress::Over) else {
            return CarrierReport::Failed(lost_thread(&self.dir));
        };
        let work = move || {
            let (part, receiver, name) = *whole;
            let verified = receiver.finish(&hash).map_err(|error| match error {
                FinishError::Corrupt | FinishError::Incomplete => CarrierFault::Corrupt,
            })?;
            part.publish(&verified, &name)
        };
        match blocking(work, &self.dir).await {
            Ok(path) => CarrierReport::Published { path: path.to_string_lossy().into_owned() },
            Err(fault) => CarrierReport::Failed(fault),
        }
    }
}

/// Runs what may wait for the disk where waiting harms nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CarrierFault> + Send + 'static,
    dir: &std::path::Path,
) -> Result<T, CarrierFault> {
    spawn_blocking(work).await.unwrap_or_else(|_| Err(lost_thread(dir)))
}

/// A thread that ended without an answer took the unfinished file with it.
fn lost_thread(dir: &std::path::Path) -> CarrierFault {
    CarrierFault::NotWritable {
        path: dir.to_string_lossy().into_owned(),
        reason: "a thread was lost".to_owned(),
    }
}
