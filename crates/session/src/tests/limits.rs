//! Limits on what an introduced peer may cost, and on what is sent to whom.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::sync::Arc;

use p2pchat_crypto::data::Epoch;
use p2pchat_crypto::{Identity, Introduction, handshake};
use p2pchat_proto::datagram::{self, DataHeader, Datagram, ReceiverId};
use p2pchat_proto::frame::Frame;
use p2pchat_proto::{Moment, UdpEndpoints};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use super::pair::received;
use super::people::{identity, introduced};
use crate::{CloseCode, Endpoint, EndpointConfig, PACKETS_MAX, Received, SessionEvent, SessionId};

const START: Moment = Moment::from_nanos(1_000_000_000);
/// A Ping frame.
const PING: [u8; 1] = [1];

/// Alice with one introduction to bob, and bob without an endpoint: what he sends is made by hand.
struct Flood {
    alice: Endpoint,
    session: SessionId,
    bob: Arc<Identity>,
    introduction: Introduction,
    rng: ChaCha20Rng,
}

impl Flood {
    fn new() -> Self {
        let bob = identity(2);
        let (introduction, alices) = introduced(&bob, &identity(1), 1);
        let mut alice = Endpoint::new(EndpointConfig::default(), identity(1), [1; 32], START);
        let session = alice.introduce(alices, &UdpEndpoints::default(), START);
        Self { alice, session, bob, introduction, rng: ChaCha20Rng::from_seed([5; 32]) }
    }

    fn sealed(&self, datagram: &Datagram) -> Vec<u8> {
        let mut bytes = Vec::new();
        datagram.encode(&mut bytes);
        let mac = self.introduction.mac(&bytes);
        bytes.extend(mac);
        bytes
    }

    /// A new handshake of bob: its INIT and what waits for RESP.
    fn init(&mut self) -> (handshake::Initiator, Vec<u8>) {
        let (noise, message) = handshake::Initiator::start(&self.introduction, &self.bob, &mut self.rng);
        let ticket = self.introduction.my_ticket().0;
        let init = Datagram::Init { sender: ReceiverId(9), ticket, noise: message };
        (noise, self.sealed(&init))
    }

    fn hand_over(&mut self, bytes: &[u8], from: SocketAddr, now: Moment) {
        self.alice.handle_datagram(received(from), &mut bytes.to_vec(), now);
    }

    fn answers(&mut self, now: Moment) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut out = Vec::new();
        core::iter::from_fn(|| {
            let transmit = self.alice.poll_transmit(now, 1, &mut out)?;
            Some((transmit.to, out.clone()))
        })
        .collect()
    }

    fn exchanges(&self) -> u64 {
        self.alice.stats().key_exchanges
    }
}

fn source(n: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::from([10, 4, 4, n]), 4000)
}

#[test]
fn a_ticket_gets_five_key_exchanges_a_second_whatever_its_sources() {
    let mut flood = Flood::new();
    for n in 0..50 {
        let (_, init) = flood.init();
        flood.hand_over(&init, source(n), START);
    }
    assert_eq!(flood.exchanges(), 5 * 3);
    let (_, init) = flood.init();
    flood.hand_over(&init, source(1), START + Duration::from_millis(999));
    assert_eq!(flood.exchanges(), 5 * 3);
    flood.hand_over(&init, source(1), START + Duration::from_secs(1));
    assert_eq!(flood.exchanges(), 6 * 3);
}

#[test]
fn an_answer_is_never_longer_than_what_it_answers() {
    let mut flood = Flood::new();
    let (_, init) = flood.init();
    for n in 0..100 {
        flood.hand_over(&init, source(n), START);
        for (to, answer) in flood.answers(START) {
            assert_eq!((to, answer[0]), (source(n), datagram::RESP));
            assert!(answer.len() < init.len());
        }
    }
    assert_eq!(flood.exchanges(), 3);
}

#[test]
fn no_more_than_a_hundred_datagrams_a_second_go_to_addresses_that_proved_nothing() {
    let mut flood = Flood::new();
    let inits: Vec<_> = (0..20)
        .map(|n| {
            let (introduction, alices) = introduced(&identity(2), &identity(1), 100 + n);
            flood.alice.introduce(alices, &UdpEndpoints::default(), START);
            flood.introduction = introduction;
            flood.init().1
        })
        .collect();
    let mut sent = vec![];
    for ms in 0..3_000u64 {
        let now = START + Duration::from_millis(ms);
        flood.hand_over(&inits[(ms % 20) as usize], source((ms % 200) as u8), now);
        sent.extend(flood.answers(now).into_iter().map(|_| now));
    }
    assert_eq!(sent.len(), 300);
    for window in sent.windows(101) {
        assert!(window[100].saturating_since(window[0]) >= Duration::from_secs(1));
    }
}

#[test]
fn a_repeated_init_is_answered_ten_times_a_second_and_a_new_one_beside_it() {
    let mut flood = Flood::new();
    let (_, init) = flood.init();
    let answered: usize = (0..3_000u64)
        .map(|ms| {
            let now = START + Duration::from_millis(ms);
            flood.hand_over(&init, source((ms % 200) as u8), now);
            flood.answers(now).len()
        })
        .sum();
    assert_eq!(answered, 1 + 3 * 10);
    let stats = flood.alice.stats();
    assert_eq!((stats.answered, stats.repeated, stats.limited), (1 + 3 * 10, 3 * 10, 3_000 - 31));
    let (_, real) = flood.init();
    flood.hand_over(&real, source(1), START + Duration::from_secs(3));
    assert_eq!(flood.answers(START + Duration::from_secs(3)).len(), 1);
}

#[test]
fn no_more_than_eight_answers_wait_to_be_sent() {
    let mut flood = Flood::new();
    let (_, init) = flood.init();
    (0..50).for_each(|n| flood.hand_over(&init, source(n), START));
    let to: Vec<_> = flood.answers(START).into_iter().map(|(to, _)| to).collect();
    assert_eq!(to, (0..8).map(source).collect::<Vec<_>>());
}

#[test]
fn five_handshakes_of_one_ticket_leave_the_newest_four_and_fin_chooses() {
    let mut flood = Flood::new();
    let mut handshakes = vec![];
    for n in 0..5 {
        let (noise, init) = flood.init();
        flood.hand_over(&init, source(n), START);
        let answers = flood.answers(START);
        assert_eq!(answers.len(), 1);
        handshakes.push((noise, answers[0].1.clone()));
    }
    let fins: Vec<_> = handshakes
        .into_iter()
        .map(|(noise, resp)| {
            let Some(Datagram::Resp { sender, noise: message, .. }) = Datagram::decode(&resp) else {
                panic!("{resp:?}")
            };
            let (_, message) = noise.read_response(&message).unwrap();
            flood.sealed(&Datagram::Fin { receiver: sender, noise: message })
        })
        .collect();
    let before = flood.exchanges();
    flood.hand_over(&fins[0], source(0), START);
    assert_eq!(flood.exchanges(), before, "the oldest is gone");
    flood.hand_over(&fins[2], source(2), START);
    assert_eq!(flood.exchanges(), before + 1);
    let answers = flood.answers(START);
    assert_eq!(answers.len(), 1);
    assert_eq!((answers[0].0, answers[0].1[0], answers[0].1.len()), (source(2), datagram::DATA, 33));
    flood.hand_over(&fins[4], source(4), START);
    assert_eq!((flood.exchanges(), flood.answers(START)), (before + 1, vec![]), "FIN has chosen");
}

#[test]
fn each_repeated_fin_gets_at_most_one_more_ping_and_no_key_exchange() {
    let mut flood = Flood::new();
    let (noise, init) = flood.init();
    flood.hand_over(&init, source(1), START);
    let resp = flood.answers(START).remove(0).1;
    let Some(Datagram::Resp { sender, noise: message, .. }) = Datagram::decode(&resp) else { panic!() };
    let (_, message) = noise.read_response(&message).unwrap();
    let fin = flood.sealed(&Datagram::Fin { receiver: sender, noise: message });
    let before = flood.exchanges();
    for _ in 0..10 {
        flood.hand_over(&fin, source(1), START);
        assert_eq!(flood.answers(START).len(), 1);
    }
    // From elsewhere, too, and before DATA nobody knows which of them is the peer.
    flood.hand_over(&fin, source(9), START);
    let answers = flood.answers(START);
    assert_eq!((answers.len(), answers[0].0), (1, source(9)));
    assert_eq!(flood.exchanges(), before + 1);
    assert!(flood.alice.poll_event().is_none(), "not up before DATA");
}

#[test]
fn a_fin_that_does_not_open_ends_its_handshake_and_no_other() {
    let mut flood = Flood::new();
    let (good, init) = flood.init();
    flood.hand_over(&init, source(1), START);
    let resp = flood.answers(START).remove(0).1;
    let (_, init) = flood.init();
    flood.hand_over(&init, source(1), START);
    let other = flood.answers(START).remove(0).1;
    let Some(Datagram::Resp { sender, .. }) = Datagram::decode(&other) else { panic!() };
    let bad = flood.sealed(&Datagram::Fin { receiver: sender, noise: [7; 64] });
    flood.hand_over(&bad, source(1), START);
    flood.hand_over(&bad, source(1), START);
    assert_eq!(flood.answers(START), vec![]);
    let Some(Datagram::Resp { sender, noise: message, .. }) = Datagram::decode(&resp) else { panic!() };
    let (_, message) = good.read_response(&message).unwrap();
    let fin = flood.sealed(&Datagram::Fin { receiver: sender, noise: message });
    flood.hand_over(&fin, source(1), START);
    assert_eq!(flood.answers(START).len(), 1);
}

#[test]
fn a_key_of_low_order_in_init_is_dropped() {
    let mut flood = Flood::new();
    let ticket = flood.introduction.my_ticket().0;
    let init = flood.sealed(&Datagram::Init { sender: ReceiverId(9), ticket, noise: [0; 48] });
    flood.hand_over(&init, source(1), START);
    assert_eq!(flood.answers(START), vec![]);
    assert_eq!(flood.alice.stats().dropped, 1);
    assert!(flood.alice.poll_event().is_none());
    assert!(flood.alice.info(flood.session, START).is_none());
}

#[test]
fn a_resp_that_does_not_open_is_the_peers_act_and_ends_the_session() {
    let (bobs, alices) = introduced(&identity(2), &identity(1), 1);
    let mut bob = Endpoint::new(EndpointConfig::default(), identity(2), [2; 32], START);
    let session = bob.introduce(bobs, &UdpEndpoints::new([source(1)]), START);
    let mut out = Vec::new();
    bob.poll_transmit(START, 1, &mut out).unwrap();
    let Some(Datagram::Init { sender, .. }) = Datagram::decode(&out) else { panic!() };
    let mut resp = Vec::new();
    Datagram::Resp { sender: ReceiverId(1), receiver: sender, noise: [7; 48] }.encode(&mut resp);
    let mac = alices.mac(&resp);
    resp.extend(mac);
    bob.handle_datagram(received(source(1)), &mut resp, START);
    let (id, event) = bob.poll_event().unwrap();
    let expected = crate::EndReason::PeerMisbehaved(crate::Misbehaviour::Handshake);
    assert_eq!((id, event), (session, SessionEvent::Ended(expected)));
    assert!(bob.is_empty() && bob.poll_timeout().is_none());
}

/// What bob seals under the keys of one handshake.
struct Hand {
    keys: Epoch,
    receiver: ReceiverId,
}

impl Hand {
    fn packet(&self, epoch: u8, packet_number: u64, content: &[u8]) -> Vec<u8> {
        let mut data = DataHeader { epoch, receiver: self.receiver, packet_number }.encode().to_vec();
        let mut content = content.to_vec();
        let tag = self.keys.seal.seal_in_place(packet_number, &data, &mut content);
        data.extend(content);
        data.extend(tag);
        data
    }
}

/// A handshake of bob's as far as FIN.
fn fin_and_hand(flood: &mut Flood) -> (Vec<u8>, Hand) {
    let (noise, init) = flood.init();
    flood.hand_over(&init, source(1), START);
    let resp = flood.answers(START).remove(0).1;
    let Some(Datagram::Resp { sender, noise: message, .. }) = Datagram::decode(&resp) else { panic!() };
    let (keys, message) = noise.read_response(&message).unwrap();
    let fin = flood.sealed(&Datagram::Fin { receiver: sender, noise: message });
    (fin, Hand { keys: keys.into_epoch(), receiver: sender })
}

/// Likewise, and the first packet under its keys.
fn fin_and_data(flood: &mut Flood) -> (Vec<u8>, Vec<u8>) {
    let (fin, hand) = fin_and_hand(flood);
    (fin, hand.packet(0, 0, &PING))
}

#[test]
fn a_packet_of_another_epoch_or_past_the_last_number_is_dropped_although_it_would_open() {
    let mut flood = Flood::new();
    let (fin, hand) = fin_and_hand(&mut flood);
    flood.hand_over(&fin, source(1), START);
    for (epoch, number) in [(1, 0), (0xff, 7), (0, PACKETS_MAX), (1, PACKETS_MAX), (0, u64::MAX - 1)] {
        let before = flood.alice.stats();
        flood.hand_over(&hand.packet(epoch, number, &PING), source(1), START);
        let after = flood.alice.stats();
        assert_eq!(after.dropped, before.dropped + 1, "epoch {epoch}, number {number}");
        assert_eq!(after.mac_failed, before.mac_failed, "it is not even opened");
        assert!(flood.alice.poll_event().is_none());
    }
    flood.hand_over(&hand.packet(0, PACKETS_MAX - 1, &PING), source(1), START);
    assert!(matches!(flood.alice.poll_event(), Some((_, SessionEvent::Up { .. }))));
}

#[test]
fn an_end_that_comes_again_is_answered_eight_times_more_and_nothing_else_is() {
    let mut flood = Flood::new();
    let (fin, hand) = fin_and_hand(&mut flood);
    flood.hand_over(&fin, source(1), START);
    let mut close = Vec::new();
    Frame::Close { code: CloseCode::Done }.encode(&mut close);
    flood.hand_over(&hand.packet(0, 0, &PING), source(1), START);
    flood.answers(START);
    let mut answered = 0;
    for number in (1..60).step_by(2) {
        flood.hand_over(&hand.packet(0, number, &close), source(1), START);
        answered += flood.answers(START).len();
        flood.hand_over(&hand.packet(0, number + 1, &PING), source(1), START);
        assert_eq!(flood.answers(START), []);
    }
    assert_eq!(answered, 1 + 8);
}

#[test]
fn data_before_fin_is_dropped_and_the_same_data_after_it_is_taken() {
    let mut flood = Flood::new();
    let (fin, data) = fin_and_data(&mut flood);
    flood.hand_over(&data, source(1), START);
    assert_eq!((flood.alice.stats().dropped, flood.answers(START)), (1, vec![]));
    assert!(flood.alice.poll_event().is_none());
    flood.hand_over(&fin, source(1), START);
    flood.hand_over(&data, source(1), START);
    assert!(matches!(flood.alice.poll_event(), Some((_, SessionEvent::Up { .. }))));
}

#[test]
fn a_handshake_that_is_done_leaves_the_others_at_the_same_port_as_they_were() {
    let mut flood = Flood::new();
    let (introduction, alices) = introduced(&flood.bob, &identity(1), 2);
    flood.alice.introduce(alices, &UdpEndpoints::default(), START);
    let (fin, _) = fin_and_hand(&mut flood);
    flood.hand_over(&fin, source(1), START);
    flood.answers(START);
    flood.introduction = introduction;
    let (_, init) = flood.init();
    flood.hand_over(&init, source(2), START);
    let answers = flood.answers(START);
    assert!(answers.iter().any(|(to, bytes)| *to == source(2) && bytes[0] == datagram::RESP));
}

#[test]
fn what_the_system_hands_over_together_is_taken_apart_where_it_says() {
    let mut flood = Flood::new();
    let (fin, hand) = fin_and_hand(&mut flood);
    flood.hand_over(&fin, source(1), START);
    let before = flood.alice.stats();
    let long = [PING, PING].concat();
    let mut batch = [hand.packet(0, 0, &long), hand.packet(0, 1, &long), hand.packet(0, 2, &PING)].concat();
    let segment_size = Some(hand.packet(0, 0, &long).len());
    flood.alice.handle_datagram(Received { segment_size, ..received(source(1)) }, &mut batch, START);
    let after = flood.alice.stats();
    assert_eq!((after.received, after.dropped), (before.received + 3, before.dropped));
    // A size of nothing says nothing: it is one datagram.
    let segment_size = Some(0);
    let mut one = hand.packet(0, 3, &PING);
    flood.alice.handle_datagram(Received { segment_size, ..received(source(1)) }, &mut one, START);
    assert_eq!(flood.alice.stats().received, after.received + 1);
    assert_eq!(flood.alice.stats().dropped, after.dropped);
}

#[test]
fn a_fin_that_comes_again_is_known_for_twenty_seconds_and_then_no_more() {
    let mut flood = Flood::new();
    let (fin, data) = fin_and_data(&mut flood);
    flood.hand_over(&fin, source(1), START);
    flood.hand_over(&data, source(1), START);
    for (millis, known) in [(19_999, true), (20_000, false)] {
        let now = START + Duration::from_millis(millis);
        flood.alice.handle_timeout(now);
        let before = flood.alice.stats();
        flood.hand_over(&fin, source(1), now);
        let after = flood.alice.stats();
        assert_eq!(after.answered - before.answered, u64::from(known), "{millis} ms");
        assert_eq!(after.key_exchanges, before.key_exchanges);
    }
}

#[test]
fn a_handshake_from_an_address_that_cannot_be_answered_is_dropped() {
    let mut flood = Flood::new();
    let (_, init) = flood.init();
    for from in ["10.0.0.1:0", "0.0.0.0:9", "224.0.0.1:9", "255.255.255.255:9", "[ff02::1]:9", "[::]:9"] {
        flood.hand_over(&init, from.parse().unwrap(), START);
        assert_eq!((flood.exchanges(), flood.answers(START)), (0, vec![]), "{from}");
    }
    flood.hand_over(&init, source(1), START);
    assert_eq!(flood.answers(START).len(), 1);
}

/// What goes to carol in half a second, whose one INIT comes in the middle of it.
fn answers_beside(flood: &mut Flood, mut next: impl FnMut(&mut Flood, u8) -> Vec<u8>) -> Vec<u8> {
    let (carols, alices) = introduced(&identity(3), &identity(1), 2);
    flood.alice.introduce(alices, &UdpEndpoints::default(), START);
    let (_, message) = handshake::Initiator::start(&carols, &identity(3), &mut flood.rng);
    let ticket = carols.my_ticket().0;
    let mut init = Vec::new();
    Datagram::Init { sender: ReceiverId(7), ticket, noise: message }.encode(&mut init);
    init.extend(carols.mac(&init));
    let carol = SocketAddr::from(([10, 5, 5, 5], 4000));
    let mut to_carol = vec![];
    for ms in 0..500u64 {
        let now = START + Duration::from_millis(ms);
        for n in 0..5 {
            let datagram = next(flood, n);
            flood.hand_over(&datagram, source(n), now);
            to_carol.extend(flood.answers(now).into_iter().filter(|(to, _)| *to == carol));
        }
        if ms == 400 {
            flood.hand_over(&init, carol, now);
            to_carol.extend(flood.answers(now).into_iter().filter(|(to, _)| *to == carol));
        }
    }
    to_carol.into_iter().map(|(_, bytes)| bytes[0]).collect()
}

#[test]
fn one_peer_that_repeats_its_init_without_end_leaves_others_their_answers() {
    let mut flood = Flood::new();
    let (_, init) = flood.init();
    assert_eq!(answers_beside(&mut flood, |_, _| init.clone()), [datagram::RESP]);
}

#[test]
fn one_peer_that_is_everywhere_at_once_leaves_others_their_answers() {
    let mut flood = Flood::new();
    let (noise, init) = flood.init();
    flood.hand_over(&init, source(0), START);
    let [(_, resp)] = &flood.answers(START)[..] else { panic!("no RESP") };
    let Some(Datagram::Resp { sender: receiver, noise: message, .. }) = Datagram::decode(resp) else {
        panic!("{resp:?}")
    };
    let (keys, message) = noise.read_response(&message).unwrap();
    let fin = flood.sealed(&Datagram::Fin { receiver, noise: message });
    flood.hand_over(&fin, source(0), START);
    let keys = keys.into_epoch();
    let mut packet_number = 0;
    let answers = answers_beside(&mut flood, |_, _| {
        let header = DataHeader { epoch: 0, receiver, packet_number }.encode();
        // Each challenges alice as well.
        let mut content = vec![];
        Frame::PathChallenge { token: [7; 8] }.encode(&mut content);
        content.extend([0; 100]);
        let tag = keys.seal.seal_in_place(packet_number, &header, &mut content);
        packet_number += 1;
        [&header[..], &content, &tag].concat()
    });
    assert_eq!(answers, [datagram::RESP]);
}
