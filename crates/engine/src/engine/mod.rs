//! The engine itself: its parts, what comes in, what goes out.
//!
//! What it does stands in one file each: [`broker`] (what the broker says), [`asking`] (one's own
//! requests), [`answering`] (others' requests), [`following`] (keys that took the place of others), [`talking`] (sessions and messages), [`sharing`]
//! (files), [`reunion`] (contacts without the broker), [`trusting`]
//! (what the user decides about people), [`vain`] (introductions that come to nothing), [`vetting`] (whether a stranger is blocked under another key), [`standing`] (who sees this user, and may ask), [`report`] (how
//! everything is).

mod answering;
mod asking;
mod broker;
mod expiry;
mod following;
mod inviting;
mod outbox;
mod report;
mod reunion;
mod sharing;
mod standing;
mod talking;
mod trusting;
mod vain;
mod vetting;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use p2pchat_conversation::{BatchId, Conversations, QueryId, Rows};
use p2pchat_crypto::Identity;
use p2pchat_crypto::offer::RequestMemory;
use p2pchat_proto::broker::Call;
use p2pchat_proto::conversation::DeviceEpoch;
use p2pchat_proto::{Moment, Name, PeerId, RequestId, Standing, UdpEndpoints};
use p2pchat_session::{Endpoint, EndpointConfig, Received, SessionId, Transmit};
use p2pchat_transfer::Transfers;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use crate::command::Command;
use crate::config::{AcceptPolicy, EngineConfig, Kept, Ports};
use crate::effect::Effect;
use crate::event::{CommandId, Event};
use crate::failure::Failure;
use crate::link::Link;
use crate::now::Now;
use crate::people::People;
use crate::wish::{Wish, WishId};

use answering::IncomingRequest;
use broker::Asked;
use expiry::Expiry;
use following::Following;
use reunion::{Reunion, Wakefulness};
use sharing::Numbers;
pub(crate) use talking::Bond;
use talking::Meeting;
use trusting::Changes;
use vetting::Vetting;

/// One client, without its sockets and files; see the crate's first page.
pub struct Engine {
    me: Arc<Identity>,
    name: Name,
    accept: AcceptPolicy,
    standing: Standing,
    accept_files: AcceptPolicy,
    files_from_connected: bool,
    loopback_only: bool,
    ports: Ports,
    rng: ChaCha20Rng,
    link: Link,
    people: People,
    changes: Changes,
    following: Following,
    vetting: BTreeMap<RequestId, Vetting>,
    endpoint: Endpoint,
    conversations: Conversations,
    transfers: Transfers,
    /// Own endpoints as they are announced.
    announced: UdpEndpoints,
    /// Whether the link to the broker runs over loopback, so that everybody on it may be on this machine.
    over_loopback: bool,
    next_wish: u64,
    wishes: BTreeMap<WishId, Wish>,
    incoming: BTreeMap<RequestId, IncomingRequest>,
    remembered: RequestMemory,
    calls: BTreeMap<Call, Asked>,
    /// When each of them is given up, in that order, and those for which that is not known yet.
    calls_end: VecDeque<(Moment, Call)>,
    calls_made: Vec<Call>,
    meetings: BTreeMap<SessionId, Meeting>,
    live: BTreeMap<PeerId, SessionId>,
    /// How the last session with somebody came to be.
    bonds: BTreeMap<PeerId, Bond>,
    reunions: BTreeMap<PeerId, Reunion>,
    /// Those to whom one introduction after the other comes to nothing, which was told of the first.
    vain: BTreeSet<PeerId>,
    wakefulness: Wakefulness,
    /// When the addresses of this machine changed last.
    moved: Option<Moment>,
    expiry: Expiry,
    stopping: bool,
    /// Whether another login of this identity took the place of this one.
    replaced: bool,
    numbers: Numbers,
    effects: VecDeque<Effect>,
    events: VecDeque<Event>,
}

impl core::fmt::Debug for Engine {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Engine").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Engine {
    /// A client that has done nothing. Everything random in it comes from `seed`.
    pub fn new(config: EngineConfig, seed: [u8; 32], now: Now) -> Self {
        let mut rng = ChaCha20Rng::from_seed(seed);
        let kept = Kept { epoch: DeviceEpoch(rng.random()), heads: BTreeMap::new(), recipients: Vec::new() };
        Self::start(config, rng, kept, now)
    }

    /// A client whose store was kept. `seed` must be another one than ever before.
    pub fn resume(config: EngineConfig, seed: [u8; 32], kept: Kept, now: Now) -> Self {
        Self::start(config, ChaCha20Rng::from_seed(seed), kept, now)
    }

    fn start(config: EngineConfig, mut rng: ChaCha20Rng, kept: Kept, now: Now) -> Self {
        let Kept { epoch, heads, recipients } = kept;
        let mut people = People::new(config.pins);
        if let Some(broker) = config.broker_key {
            people.at(broker);
        }
        let me = config.me;
        let link = Link::new(Arc::clone(&me), config.name.clone(), config.broker, config.broker_key, now);
        // Which loopback addresses mean anything is decided here, with what the broker link tells.
        let endpoint = EndpointConfig {
            ipv4: config.ports.v4 != 0,
            ipv6: config.ports.v6 != 0,
            loopback: true,
            ..EndpointConfig::default()
        };
        let endpoint = Endpoint::new(endpoint, Arc::clone(&me), rng.random(), now.moment);
        let mut conversations = Conversations::resume(me.peer_id(), epoch, heads);
        conversations.tell_read(config.read_receipts);
        let transfers = Transfers::new(rng.random());
        let mut engine = Self {
            me,
            name: config.name,
            accept: config.accept,
            standing: Standing::default(),
            accept_files: config.accept_files,
            files_from_connected: config.files_from_connected,
            loopback_only: config.loopback_only,
            ports: config.ports,
            rng,
            link,
            people,
            changes: Changes::default(),
            following: Following::default(),
            vetting: BTreeMap::new(),
            endpoint,
            conversations,
            transfers,
            announced: UdpEndpoints::default(),
            over_loopback: false,
            next_wish: 0,
            wishes: BTreeMap::new(),
            incoming: BTreeMap::new(),
            remembered: RequestMemory::default(),
            calls: BTreeMap::new(),
            calls_end: VecDeque::new(),
            calls_made: Vec::new(),
            meetings: BTreeMap::new(),
            live: BTreeMap::new(),
            bonds: BTreeMap::new(),
            vain: BTreeSet::new(),
            reunions: BTreeMap::new(),
            wakefulness: Wakefulness::new(now),
            moved: None,
            expiry: Expiry::new(config.expire),
            stopping: false,
            replaced: false,
            numbers: Numbers::default(),
            effects: VecDeque::new(),
            events: VecDeque::new(),
        };
        engine.remember_contacts(config.contacts, now);
        engine.expect_expiry(&recipients);
        for peer in recipients {
            engine.ask_for_recipient(peer, now);
        }
        engine
    }

    /// Does what a front end asks. The outcome comes as an event that carries `id`.
    pub fn handle_command(&mut self, id: CommandId, command: Command, now: Now) {
        self.endpoint.set_wall_clock(now.wall);
        match command {
            Command::People { prefix } => self.ask_people(id, prefix),
            Command::Connect { to, wait } => self.connect(id, to, wait, false, now),
            Command::Reach { to, wait } => self.connect(id, to, wait, true, now),
            Command::ConnectInvited { pin, wait } => self.connect_invited(id, pin, wait, now),
            Command::Introduce { pin } => self.introduce(id, pin),
            Command::CancelRequest { request } => self.cancel_request(id, request, now),
            Command::Accept { request, once } => self.accept_request(id, request, once, now),
            Command::Decline { request, reason } => self.decline_request(id, request, &reason),
            Command::Close { peer } => self.close_session(id, peer, now),
            Command::Message { to, text } => self.compose(id, to, text, now),
            Command::Shown { message } => self.conversations.shown(message),
            Command::Typing { to } => self.type_for(id, to, now),
            Command::ReadReceipts { tell } => self.conversations.tell_read(tell),
            Command::AcceptFile { transfer } => self.accept_file(id, transfer, now),
            Command::DeclineFile { transfer, reason } => self.decline_file(id, transfer, &reason, now),
            Command::CancelFile { transfer } => self.cancel_file(id, transfer, now),
            Command::Block { who } => self.block(id, &who, now),
            Command::Unblock { who } => self.unblock(id, &who, now),
            Command::Verified { peer } => self.verified(id, peer),
            Command::Trust { name } => self.trust_changed(id, &name),
            Command::Retry { to } => self.ask_now(id, to, now),
            Command::Stand { change } => self.stand(id, change),
            Command::Info => self.report(id, now),
        }
        self.settle(now);
    }

    /// Does what as many [`Command::Message`] ask in this order, and hands the messages on together: one
    /// batch for the store, and as few packets as hold them.
    pub fn say_all(&mut self, messages: impl IntoIterator<Item = (CommandId, PeerId, String)>, now: Now) {
        for (id, to, text) in messages {
            self.compose(id, to, text, now);
        }
        self.settle(now);
    }

    /// The connection of [`Effect::DialBroker`] is there. `announced` are this machine's endpoints as
    /// the other side may reach them; `over_loopback` says whether the connection is to this machine.
    pub fn broker_opened(&mut self, announced: UdpEndpoints, over_loopback: bool, now: Now) {
        self.announced = announced;
        self.over_loopback = over_loopback;
        self.link.opened(now, &mut self.rng);
        self.settle(now);
    }

    /// This machine's endpoints are these by now. A link to the broker goes on over one address while
    /// others come and go, so whoever is introduced next is told what was said last.
    pub fn announce(&mut self, announced: UdpEndpoints) {
        self.announced = announced;
    }

    /// Whether nobody takes the events that are here already, so that other sides should send no further
    /// messages. Their sessions stay.
    pub fn withhold_credit(&mut self, withheld: bool) {
        self.endpoint.withhold_credit(withheld);
    }

    /// Bytes came from the broker.
    pub fn broker_received(&mut self, bytes: &[u8], now: Now) {
        self.link.received(bytes, now, &mut self.rng);
        self.settle(now);
    }

    /// The connection to the broker ended or could not be made.
    pub fn broker_closed(&mut self, reason: String, now: Now) {
        self.link.closed(reason, now, &mut self.rng);
        self.settle(now);
    }

    /// A datagram came; it is opened in place.
    pub fn handle_datagram(&mut self, received: Received, datagram: &mut [u8], now: Now) {
        self.endpoint.set_wall_clock(now.wall);
        self.endpoint.handle_datagram(received, datagram, now.moment);
        self.settle(now);
    }

    /// Datagrams that came at once, as [`Self::handle_datagram`]; what they bring is carried on together.
    pub fn handle_datagrams<'a>(
        &mut self,
        datagrams: impl IntoIterator<Item = (Received, &'a mut [u8])>,
        now: Now,
    ) {
        for (received, datagram) in datagrams {
            self.endpoint.handle_datagram(received, datagram, now.moment);
        }
        self.settle(now);
    }

    /// The system does not send from `ip` any more: sessions that used it go on from another address.
    pub fn local_ip_gone(&mut self, ip: IpAddr, now: Now) {
        self.endpoint.local_ip_gone(ip, now.moment);
        self.settle(now);
    }

    /// The network of this machine has changed, and these are its addresses now.
    pub fn addresses_changed(&mut self, here: &[IpAddr], now: Now) {
        self.moved = Some(now.moment);
        self.endpoint.addresses_changed(here, now.moment);
        self.look_from_here(now);
        self.settle(now);
    }

    /// The system takes no datagram of so many bytes to `to`.
    pub fn datagram_too_large(&mut self, to: SocketAddr, bytes: usize, now: Now) {
        self.endpoint.too_large(to, bytes, now.moment);
        self.settle(now);
    }

    /// A batch of [`Effect::Commit`] is written for good.
    pub fn committed(&mut self, batch: BatchId, now: Now) {
        self.conversations.committed(batch);
        self.settle(now);
    }

    /// The store has forgotten what was said with `peer`: what waits for them is not delivered any more.
    /// How many messages a session carries already, which may arrive all the same.
    pub fn forgotten(&mut self, peer: PeerId, now: Now) -> usize {
        let under_way = self.conversations.forget(peer);
        self.settle(now);
        under_way
    }

    /// What [`Effect::Load`] asked for.
    pub fn loaded(&mut self, query: QueryId, rows: Rows, now: Now) {
        if self.conversations.loaded(query, rows).is_err() {
            self.events.push_back(Event::Error(Failure::Internal("the store contradicts itself".to_owned())));
        }
        self.settle(now);
    }

    /// Time has come to [`poll_timeout`](Self::poll_timeout).
    pub fn handle_timeout(&mut self, now: Now) {
        self.endpoint.set_wall_clock(now.wall);
        self.link.handle_timeout(now, &mut self.rng);
        if self.endpoint.poll_timeout().is_some_and(|due| now.reached(due)) {
            self.endpoint.handle_timeout(now.moment);
        }
        if self.transfers.poll_timeout().is_some_and(|due| now.reached(due)) {
            self.transfers.handle_timeout(now.moment);
        }
        self.calls_due(now);
        self.wishes_due(now);
        self.incoming_due(now);
        self.expiry_due(now);
        self.settle(now);
        self.reunions_due(now);
        self.settle(now);
    }

    /// Ends everything in order: transfers are taken back, sessions closed, the broker told.
    pub fn stop(&mut self, now: Now) {
        self.stop_looking();
        self.cancel_all_files(now);
        self.settle(now);
        let direct = self.meetings.iter().filter(|(_, meeting)| meeting.is_direct()).map(|(id, _)| id);
        for &session in self.live.values().chain(direct) {
            self.endpoint.close(session, talking::CLOSE_DONE, now.moment);
        }
        self.link.leave();
        self.settle(now);
    }

    /// Whether nothing is left to be said to anybody.
    pub fn is_idle(&self) -> bool {
        self.meetings.is_empty() && self.link.is_closed()
    }

    /// The next datagrams to send: up to `max_segments` of one size, back to back in `out`.
    pub fn poll_transmit(&mut self, now: Now, max_segments: usize, out: &mut Vec<u8>) -> Option<Transmit> {
        self.endpoint.poll_transmit(now.moment, max_segments, out)
    }

    /// The next thing for the driver to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// The next thing for the user to see.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Puts everything that there is for the user to see behind what is in `seen`, in order.
    pub fn take_events(&mut self, seen: &mut VecDeque<Event>) {
        if seen.is_empty() {
            core::mem::swap(seen, &mut self.events);
        } else {
            seen.append(&mut self.events);
        }
    }

    /// When the other side may have answered what was sent last, where it is expected to.
    pub fn answer_due(&self) -> Option<Moment> {
        self.endpoint.answer_due()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due; [`Moment::NEVER`] where nothing waits.
    pub fn poll_timeout(&self) -> Moment {
        let ready = self.link.is_ready();
        let wishes = self.wishes.values().map(|wish| wish.poll_timeout(ready));
        let incoming = self.incoming.values().map(|request| request.expires);
        let reunions = self.reunions.values().map(Reunion::poll_timeout);
        [self.endpoint.poll_timeout(), self.transfers.poll_timeout()]
            .into_iter()
            .flatten()
            .chain(wishes)
            .chain(incoming)
            .chain(self.calls_end.front().map(|(end, _)| *end))
            .chain(reunions)
            .chain([self.expiry.due])
            .fold(self.link.poll_timeout(), Moment::min)
    }

    /// Carries what the parts have to say to one another until none has anything left to say.
    fn settle(&mut self, now: Now) {
        self.wakefulness.note(now);
        loop {
            let moved = self.settle_link(now)
                | self.settle_sessions(now)
                | self.settle_contacts()
                | self.settle_conversations(now)
                | self.settle_transfers(now)
                | self.settle_crossed(now)
                | self.settle_following(now);
            if !moved {
                break;
            }
        }
        self.plan_expiry(now);
    }

    fn done(&mut self, id: CommandId) {
        self.events.push_back(Event::Done { id, message: None, transfer: None, request: None });
    }

    fn failed(&mut self, id: CommandId, failure: Failure) {
        self.events.push_back(Event::Failed { id, failure });
    }

    /// Fails the command, or reports the failure by itself where no command waits for it.
    fn report_failure(&mut self, id: Option<CommandId>, failure: Failure) {
        match id {
            Some(id) => self.failed(id, failure),
            None => self.events.push_back(Event::Error(failure)),
        }
    }
}
