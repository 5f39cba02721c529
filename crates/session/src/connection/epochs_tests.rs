use p2pchat_crypto::handshake;
use rand::SeedableRng;

use super::*;
use crate::tests::people::{identity, introduced};

const START: Moment = Moment::from_nanos(1_000_000_000);
const PTO: Duration = Duration::from_millis(100);
const PING: [u8; 1] = [1];

/// Both sides of one session, and the number of the next packet of each.
struct Two {
    bob: Epochs,
    alice: Epochs,
    number: u64,
}

fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

impl Two {
    fn new() -> Self {
        let (bob, alice) = (identity(2), identity(1));
        let (bobs, alices) = introduced(&bob, &alice, 1);
        let (initiator, first) = handshake::Initiator::start(&bobs, &bob, &mut rng(1));
        let (responder, second) =
            handshake::Responder::respond(&alices, &alice, &first, &mut rng(2)).unwrap();
        let (bobs, third) = initiator.read_response(&second).unwrap();
        let alices = responder.finish(&third).unwrap();
        let bob = Epochs::new(bobs, bob, rng(3), START);
        let alice = Epochs::new(alices, alice, rng(4), START);
        Self { bob, alice, number: 0 }
    }

    /// Two who have talked.
    fn talking() -> Self {
        let mut two = Self::new();
        two.bob.on_traffic();
        two.alice.on_traffic();
        two
    }

    fn packet(&mut self, bobs: bool) -> Packet {
        let number = self.number;
        self.number += 1;
        Packet::of(if bobs { &mut self.bob } else { &mut self.alice }, number)
    }

    /// Bob's next packet opens at alice's, or not.
    fn reaches_alice(&mut self, now: Moment) -> Result<(), Refused> {
        let packet = self.packet(true);
        packet.open(&mut self.alice, now)
    }

    fn reaches_bob(&mut self, now: Moment) -> Result<(), Refused> {
        let packet = self.packet(false);
        packet.open(&mut self.bob, now)
    }

    /// A whole rekey; both are in the next epoch.
    fn rekey(&mut self, now: Moment) {
        let start = self.bob.attend(now).unwrap();
        let answer = self.alice.take(&start, now).unwrap().unwrap();
        assert_eq!(self.bob.take(&answer, now), Ok(None));
        assert_eq!((self.reaches_alice(now), self.reaches_bob(now)), (Ok(()), Ok(())));
        assert_eq!(self.bob.epoch(), self.alice.epoch());
    }
}

struct Packet {
    header: DataHeader,
    sealed: Vec<u8>,
}

impl Packet {
    fn of(from: &mut Epochs, packet_number: u64) -> Self {
        let receiver = p2pchat_proto::datagram::ReceiverId(7);
        let header = DataHeader { epoch: from.header_byte(), receiver, packet_number };
        let mut sealed = PING.to_vec();
        let tag = from.seal(packet_number, &header.encode(), &mut sealed);
        sealed.extend(tag);
        Self { header, sealed }
    }

    fn open(&self, to: &mut Epochs, now: Moment) -> Result<(), Refused> {
        self.open_with(PTO, to, now)
    }

    fn open_with(&self, pto: Duration, to: &mut Epochs, now: Moment) -> Result<(), Refused> {
        let mut sealed = self.sealed.clone();
        let content = to.open(self.header, &self.header.encode(), &mut sealed, || pto, now)?;
        assert_eq!(content, PING);
        Ok(())
    }
}

fn after(seconds: u64) -> Moment {
    START + Duration::from_secs(seconds)
}

#[test]
fn each_side_moves_to_the_next_epoch_in_its_turn() {
    let mut two = Two::talking();
    assert_eq!(two.bob.attend(after(119)), None);
    let now = after(120);
    let start = two.bob.attend(now).unwrap();
    assert_eq!((start.step, start.message.epoch), (RekeyStep::Start, 1));
    assert_eq!(two.bob.attend(now), None, "one at a time");
    assert_eq!(two.reaches_alice(now), Ok(()));

    let answer = two.alice.take(&start, now).unwrap().unwrap();
    assert_eq!((answer.step, answer.message.epoch), (RekeyStep::Answer, 1));
    assert_eq!((two.alice.epoch(), two.alice.receive_keys()), (0, 2), "it seals as before");
    assert_eq!((two.reaches_alice(now), two.reaches_bob(now)), (Ok(()), Ok(())));
    assert_eq!(two.alice.epoch(), 0);

    assert_eq!(two.bob.take(&answer, now), Ok(None));
    assert_eq!((two.bob.epoch(), two.bob.receive_keys()), (1, 2));
    assert_eq!(two.reaches_bob(now), Ok(()), "of the old epoch");
    assert_eq!(two.alice.epoch(), 0);
    assert_eq!(two.reaches_alice(now), Ok(()));
    assert_eq!((two.alice.epoch(), two.alice.receive_keys()), (1, 2));
    assert_eq!(two.reaches_bob(now), Ok(()));
    assert_eq!(two.bob.receive_keys(), 2);
}

#[test]
fn the_old_key_opens_late_packets_for_three_probe_timeouts_and_not_one_nanosecond_longer() {
    let mut two = Two::talking();
    let late = [two.packet(true), two.packet(true), two.packet(false), two.packet(false)];
    let now = after(120);
    two.rekey(now);
    let end = now + PTO * 3;
    let last = Moment::from_nanos(end.as_nanos() - 1);
    assert_eq!(late[0].open(&mut two.alice, last), Ok(()));
    assert_eq!(late[2].open(&mut two.bob, last), Ok(()));
    for (packet, side) in [(&late[1], &mut two.alice), (&late[3], &mut two.bob)] {
        assert_eq!(side.deadline(), Some(end));
        assert_eq!(packet.open(side, end), Err(Refused::NoKey));
        assert_eq!((side.receive_keys(), side.deadline()), (1, None));
    }
}

#[test]
fn a_round_trip_that_took_a_sleep_keeps_no_old_key_until_the_next_is_overdue() {
    const SLEPT: Duration = Duration::from_secs(196);
    let mut two = Two::talking();
    let now = after(120);
    let start = two.bob.attend(now).unwrap();
    let answer = two.alice.take(&start, now).unwrap().unwrap();
    assert_eq!(two.bob.take(&answer, now), Ok(None));
    assert_eq!(two.packet(true).open_with(SLEPT, &mut two.alice, now), Ok(()));
    assert_eq!(two.packet(false).open_with(SLEPT, &mut two.bob, now), Ok(()));
    for side in [&mut two.bob, &mut two.alice] {
        assert_eq!((side.receive_keys(), side.deadline()), (2, Some(now + LOST_AFTER)));
        side.on_traffic();
    }
    assert!(two.bob.attend(after(240)).is_some(), "the next one begins in time");
}

#[test]
fn a_forged_packet_of_the_next_epoch_moves_nothing() {
    let mut two = Two::talking();
    let now = after(120);
    let start = two.bob.attend(now).unwrap();
    let answer = two.alice.take(&start, now).unwrap().unwrap();
    two.bob.take(&answer, now).unwrap();
    let packet = two.packet(true);
    for at in 0..packet.sealed.len() {
        let mut forged = packet.sealed.clone();
        forged[at] ^= 1;
        let forged = Packet { header: packet.header, sealed: forged };
        assert_eq!(forged.open(&mut two.alice, now), Err(Refused::Forged));
    }
    // The byte of the epoch is under the tag.
    let moved = Packet { header: DataHeader { epoch: 0, ..packet.header }, sealed: packet.sealed.clone() };
    assert_eq!(moved.open(&mut two.alice, now), Err(Refused::Forged));
    assert_eq!(two.alice.epoch(), 0);
    assert_eq!(packet.open(&mut two.alice, now), Ok(()));
    assert_eq!(two.alice.epoch(), 1);
}

#[test]
fn whatever_comes_out_of_turn_is_the_peers_fault_and_changes_nothing() {
    let message = |step, epoch| RekeyBody { step, message: RekeyMessage { epoch, noise: [7; 48] } };
    let (now, refused) = (after(120), Err(Misbehaviour::Rekey));
    let mut two = Two::talking();
    let start = two.bob.attend(now).unwrap();
    assert_eq!(two.bob.take(&start, now), refused, "reflected");
    assert_eq!(two.alice.take(&message(RekeyStep::Answer, 1), now), refused, "nobody asked");
    for epoch in [0, 1, 2, 257, u32::MAX] {
        assert_eq!(two.alice.take(&message(RekeyStep::Start, epoch), now), refused, "epoch {epoch}");
    }
    let other = RekeyMessage { epoch: 2, ..start.message };
    assert_eq!(two.alice.take(&RekeyBody { message: other, ..start }, now), refused);
    assert_eq!((two.alice.receive_keys(), two.alice.epoch()), (1, 0));

    let answer = two.alice.take(&start, now).unwrap().unwrap();
    assert_eq!(two.alice.take(&start, now), refused, "a second one at once");
    assert_eq!(two.bob.take(&answer, now), Ok(None));
    assert_eq!(two.bob.take(&answer, now), refused, "a second answer");
    // Proven late, and too early for another: it counts from alice's answer.
    assert_eq!(two.reaches_alice(now + REKEY_LEAST / 2), Ok(()));
    let early = Initiator::start(two.bob.newest.as_ref().unwrap(), &identity(2), &mut rng(9)).unwrap().1;
    let early = RekeyBody { step: RekeyStep::Start, message: RekeyMessage { epoch: 2, noise: early } };
    let least = now + REKEY_LEAST;
    let before = Moment::from_nanos(least.as_nanos() - 1);
    assert_eq!(two.alice.take(&early, before), refused);
    assert!(two.alice.take(&early, least).unwrap().is_some());
}

#[test]
fn an_answer_that_does_not_open_is_the_peers_fault() {
    let mut two = Two::talking();
    let now = after(120);
    let start = two.bob.attend(now).unwrap();
    let mut answer = two.alice.take(&start, now).unwrap().unwrap();
    answer.message.noise[40] ^= 1;
    assert_eq!(two.bob.take(&answer, now), Err(Misbehaviour::Rekey));
    assert_eq!((two.bob.epoch(), two.bob.receive_keys()), (0, 1));
}

#[test]
fn keys_that_sealed_nothing_of_a_stream_stay() {
    let mut two = Two::new();
    for seconds in [120, 300, 100_000] {
        assert_eq!(two.bob.attend(after(seconds)), None);
        assert_eq!(two.alice.attend(after(seconds)), None);
        assert!(!two.bob.are_spent(after(seconds)) && !two.alice.are_spent(after(seconds)));
    }
    assert_eq!((two.bob.deadline(), two.alice.deadline()), (None, None));
    // What is said late makes them due at once.
    two.bob.on_traffic();
    assert!(two.bob.attend(after(100_001)).is_some());
    assert_eq!(two.bob.deadline(), Some(after(100_001) + REKEY_OVERDUE));
}

#[test]
fn keys_are_spent_180_seconds_after_they_were_due_on_both_sides() {
    let mut two = Two::talking();
    assert_eq!(two.alice.deadline(), Some(after(120)));
    // The initiator asks and gets no answer; the responder is not asked.
    assert!(two.bob.attend(after(120)).is_some());
    assert_eq!(two.alice.attend(after(120)), None, "only the initiator begins");
    for side in [&two.bob, &two.alice] {
        assert_eq!(side.deadline(), Some(after(300)));
        assert!(!side.are_spent(after(299)) && side.are_spent(after(300)));
    }
    let (late, later) = (two.packet(true), two.packet(true));
    assert_eq!(late.open(&mut two.alice, after(299)), Ok(()));
    assert_eq!(later.open(&mut two.alice, after(300)), Err(Refused::NoKey));
}

#[test]
fn a_rekey_that_the_peer_never_proves_does_not_save_the_session() {
    let mut two = Two::talking();
    let now = after(120);
    two.alice.attend(now);
    let start = two.bob.attend(now).unwrap();
    let answer = two.alice.take(&start, now).unwrap().unwrap();
    two.bob.take(&answer, now).unwrap();
    assert!(two.bob.are_spent(after(300)) && two.alice.are_spent(after(300)));
    two.reaches_alice(after(200)).unwrap();
    assert!(two.bob.are_spent(after(300)) && !two.alice.are_spent(after(300)));
    two.reaches_bob(after(201)).unwrap();
    assert!(!two.bob.are_spent(after(300)));
}

#[test]
fn packets_of_both_directions_make_keys_due_whatever_their_age() {
    let mut two = Two::new();
    two.bob.skip_to(REKEY_AFTER_PACKETS - 2);
    two.alice.skip_to(REKEY_LEAST_PACKETS);
    assert_eq!(two.reaches_bob(after(1)), Ok(()));
    assert_eq!(two.bob.attend(after(1)), None);
    assert_eq!(two.reaches_bob(after(1)), Ok(()));
    two.rekey(after(1));
    assert_eq!(two.bob.attend(after(2)), None, "they count from the start again");
}

#[test]
fn a_key_seals_its_number_of_packets_and_no_more_and_the_next_begins_anew() {
    let mut two = Two::talking();
    two.bob.skip_to(PACKETS_MAX - NUMBERS_FOR_CLOSE - 1);
    assert!(!two.bob.are_spent(after(1)));
    two.reaches_alice(after(1)).unwrap();
    assert!(two.bob.are_spent(after(1)) && !two.bob.are_exhausted());
    two.bob.skip_to(PACKETS_MAX);
    assert!(two.bob.are_exhausted());
    two.rekey(after(120));
    assert!(!two.bob.are_spent(after(120)));
}

#[test]
fn numbers_go_on_and_each_epoch_may_reach_as_far_as_all_before_it() {
    let mut two = Two::talking();
    for epoch in 0..3 {
        let end = (epoch + 1) * PACKETS_MAX;
        let now = after(120 * epoch);
        for (number, opens) in
            [(end - 1, Ok(())), (end, Err(Refused::NoKey)), (u64::MAX - 1, Err(Refused::NoKey))]
        {
            assert_eq!(
                Packet::of(&mut two.bob, number).open(&mut two.alice, now),
                opens,
                "{epoch}: {number}"
            );
        }
        two.bob.on_traffic();
        two.rekey(after(120 * (epoch + 1)));
        two.bob.attend(after(120 * (epoch + 1) + 1));
    }
}

#[test]
fn the_byte_of_the_header_comes_round_and_names_the_right_keys() {
    let mut two = Two::new();
    for epoch in 1..=600_u32 {
        two.bob.on_traffic();
        two.alice.on_traffic();
        let old = two.packet(true);
        let now = after(120 * u64::from(epoch));
        two.bob.attend(now - PTO);
        two.rekey(now);
        assert_eq!((two.bob.epoch(), two.bob.header_byte()), (epoch, (epoch % 256) as u8));
        assert_eq!(old.open(&mut two.alice, now), Ok(()), "late");
        assert_eq!((two.reaches_alice(now), two.reaches_bob(now)), (Ok(()), Ok(())));
        assert!(two.bob.receive_keys() == 2 && two.alice.receive_keys() == 2);
    }
}

#[test]
fn no_rekey_begins_while_an_older_key_is_kept() {
    let mut two = Two::talking();
    two.rekey(after(120));
    two.bob.skip_to(REKEY_AFTER_PACKETS);
    assert_eq!(two.bob.attend(after(120)), None);
    assert_eq!(two.bob.deadline(), Some(after(120) + PTO * 3));
    assert!(two.bob.attend(after(120) + PTO * 3).is_some());
}

#[test]
fn the_end_leaves_nothing_that_further_keys_could_come_from() {
    let mut two = Two::talking();
    let now = after(120);
    let start = two.bob.attend(now).unwrap();
    let answer = two.alice.take(&start, now).unwrap().unwrap();
    two.bob.wipe();
    two.alice.wipe();
    assert!(two.bob.is_wiped() && two.alice.is_wiped());
    assert_eq!((two.bob.deadline(), two.alice.deadline()), (None, None));
    assert_eq!(two.bob.take(&answer, now), Err(Misbehaviour::Rekey));
    assert_eq!(two.bob.attend(after(1000)), None);
    // What says that it is over is still understood.
    assert_eq!((two.reaches_alice(after(1000)), two.reaches_bob(after(1000))), (Ok(()), Ok(())));
}
