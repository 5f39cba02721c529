//! A broker that changes what people send each other is found out before any datagram leaves.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::net::UdpSocket;
use std::time::Duration;

use p2pchat_crypto::{Identity, Seed};
use p2pchat_harness::actions::say;
use p2pchat_harness::double::lies::{self, Claim, Leg};
use p2pchat_harness::double::{Lie, LyingBroker};
use p2pchat_harness::event::{event, session};
use p2pchat_harness::peer::{Peer, Setup};
use p2pchat_harness::process::PROMPT;
use p2pchat_harness::relay::Direction;
use p2pchat_harness::world::{MEETING, Paths, World};
use p2pchat_proto::offer::{Addressee, OfferBody, OfferKind, Suites};
use p2pchat_proto::{BrokerKey, RequestId, UdpEndpoints};

/// Alice and bob at a broker that lies, all their datagrams through relays.
struct Stage {
    world: World,
    broker: LyingBroker,
    paths: Paths,
}

impl Stage {
    fn new() -> Self {
        let (world, broker) = (World::new().unwrap(), LyingBroker::start(1).unwrap());
        Self { world, broker, paths: Paths::new(1).unwrap() }
    }

    fn person(&self, name: &str) -> Setup {
        self.world.stranger(name).unwrap().broker(&self.broker.url()).accept_everything()
    }

    /// Both meet once, each by the user's own word, so that each knows the other's key; then they part.
    fn pin_each_other(&self) {
        let paths = Paths::new(2).unwrap();
        let alice = self.world.stranger("alice").unwrap().broker(&self.broker.url());
        let mut alice = paths.listen(&alice).unwrap();
        let mut bob = paths.ask(&self.person("bob"), "alice").unwrap();
        alice.expect(&event("request").with("direction", "in").with("state", "open"), MEETING);
        alice.send_line("/accept bob").unwrap();
        for peer in [&mut alice, &mut bob] {
            peer.expect(&event("trust").with("is", "pinned"), MEETING);
        }
        assert_eq!((bob.quit().unwrap(), alice.quit().unwrap()), (0, 0));
    }

    /// Bob asks alice while the broker lies.
    fn ask(&self, lie: Lie) -> (Peer, Peer) {
        let alice = self.paths.listen(&self.person("alice")).unwrap();
        self.broker.lie(lie);
        let bob = self.paths.ask(&self.person("bob"), "alice").unwrap();
        (alice, bob)
    }

    fn datagrams(&self) -> u64 {
        let relays = self.paths.udp().into_iter();
        relays.map(|relay| relay.counts(Direction::In).came + relay.counts(Direction::Out).came).sum()
    }

    /// The lie was told, its victim says so with one of `codes`, and nobody sent a datagram.
    #[track_caller]
    fn assert_found_out(&self, victim: &mut Peer, codes: &[&str]) {
        let said = loop {
            let said = victim.expect(&event("error"), MEETING);
            if codes.contains(&said.text("code")) {
                break said;
            }
        };
        assert!(self.broker.told() > 0, "no lie was told: {said}");
        assert_eq!(self.datagrams(), 0, "{}", self.world.trace);
        let more = victim.take_events();
        assert!(!more.iter().any(|e| e.name() == "session"), "{}", self.world.trace);
    }
}

fn found_out(leg: Leg, lie: Lie) {
    let stage = Stage::new();
    let (mut alice, mut bob) = stage.ask(lie);
    let victim = match leg {
        Leg::Request => &mut alice,
        Leg::Accept => &mut bob,
    };
    stage.assert_found_out(victim, &["tampered", "clocks_differ", "key_changed"]);
}

macro_rules! fields {
    ($($name:ident: |$body:ident| $change:expr;)*) => {
        mod request {
            use super::*;
            $(#[test]
            fn $name() {
                found_out(Leg::Request, lies::change_offer(Leg::Request, |$body: &mut OfferBody| $change));
            })*
        }

        mod accept {
            use super::*;
            $(#[test]
            fn $name() {
                found_out(Leg::Accept, lies::change_offer(Leg::Accept, |$body: &mut OfferBody| $change));
            })*
        }
    };
}

fields! {
    a_changed_version_is_found_out: |body| body.version = 2;
    a_changed_kind_is_found_out: |body| body.kind = match body.kind {
        OfferKind::Request => OfferKind::Accept,
        OfferKind::Accept => OfferKind::Request,
    };
    a_changed_request_id_is_found_out: |body| body.request = RequestId([9; 16]);
    a_changed_author_is_found_out: |body| body.from = mallory().peer_id();
    a_changed_addressee_is_found_out: |body| body.to = Addressee::Peer(mallory().peer_id());
    a_changed_noise_static_is_found_out: |body| body.noise_static = mallory().noise_public();
    a_changed_ephemeral_key_is_found_out: |body| body.eph_x25519 = mallory().noise_public();
    a_changed_kem_value_is_found_out: |body| if let Some(byte) = body.kem.first_mut() { *byte ^= 1 };
    a_missing_kem_value_is_found_out: |body| body.kem.clear();
    a_suite_taken_away_or_added_is_found_out: |body| body.suites = Suites(body.suites.0 ^ Suites::AES_256_GCM.0);
    no_suite_at_all_is_found_out: |body| body.suites = Suites(0);
    a_changed_feature_is_found_out: |body| body.features ^= 1;
    a_changed_broker_key_is_found_out: |body| body.broker_key = BrokerKey([9; 32]);
    a_changed_time_is_found_out: |body| body.made.0 -= 1;
    a_time_long_ago_is_found_out: |body| body.made.0 -= 3_600_000;
    a_changed_answer_hash_is_found_out: |body| body.answers = Some([9; 32]);
}

fn mallory() -> Identity {
    Identity::from_seed(&Seed::from_bytes([66; 32]))
}

#[test]
fn a_changed_signature_of_a_request_is_found_out() {
    found_out(Leg::Request, lies::change_signature(Leg::Request));
}

#[test]
fn a_changed_signature_of_an_accept_is_found_out() {
    found_out(Leg::Accept, lies::change_signature(Leg::Accept));
}

#[test]
fn a_request_under_a_login_that_did_not_sign_it_is_found_out() {
    found_out(Leg::Request, lies::change_login(Leg::Request, mallory().peer_id()));
}

#[test]
fn an_accept_under_a_login_that_did_not_sign_it_is_found_out() {
    found_out(Leg::Accept, lies::change_login(Leg::Accept, mallory().peer_id()));
}

#[test]
fn changed_endpoints_are_found_out() {
    found_out(Leg::Accept, lies::change_endpoints());
}

#[test]
fn endpoints_of_the_brokers_choice_are_found_out_and_never_sent_to() {
    let trap = UdpSocket::bind("127.0.0.1:0").unwrap();
    let endpoints = UdpEndpoints::new([trap.local_addr().unwrap()]);
    let stage = Stage::new();
    let (_alice, mut bob) = stage.ask(lies::replace_endpoints(endpoints));
    stage.assert_found_out(&mut bob, &["tampered"]);
    trap.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(trap.recv(&mut [0; 1500]).is_err(), "a datagram went where the broker wanted it");
}

#[test]
fn a_request_of_somebody_else_under_a_pinned_name_is_found_out() {
    let stage = Stage::new();
    stage.pin_each_other();
    let victim = "alice".parse().unwrap();
    let (mut alice, _bob) = stage.ask(lies::replace_asker(mallory(), victim));
    stage.assert_found_out(&mut alice, &["key_changed"]);
}

#[test]
fn an_accept_of_somebody_else_for_a_pinned_peer_is_found_out() {
    for claim in [Claim::AskedPersonsLogin, Claim::OwnLogin] {
        let stage = Stage::new();
        stage.pin_each_other();
        let (_alice, mut bob) = stage.ask(lies::replace_accepter(mallory(), claim));
        stage.assert_found_out(&mut bob, &["tampered", "key_changed"]);
    }
}

#[test]
fn the_same_broker_that_changes_nothing_gets_them_together() {
    for leg in [Leg::Request, Leg::Accept] {
        let stage = Stage::new();
        // Takes the offer apart and puts it together again, as every lie above does.
        let (mut alice, mut bob) = stage.ask(lies::change_offer(leg, |_| {}));
        bob.expect(&session("up"), MEETING);
        say(&mut bob, &mut alice, "met").unwrap();
        assert!(stage.broker.told() > 0 && stage.datagrams() > 0);
    }
}

#[test]
fn without_a_pin_the_very_same_lie_gets_through_to_the_user_as_a_new_person() {
    let stage = Stage::new();
    let alice = stage.world.stranger("alice").unwrap().broker(&stage.broker.url());
    let mut alice = stage.paths.listen(&alice).unwrap();
    stage.broker.lie(lies::replace_asker(mallory(), "alice".parse().unwrap()));
    let _bob = stage.paths.ask(&stage.person("bob"), "alice").unwrap();
    let request = alice.expect(&event("request").with("direction", "in").with("state", "open"), MEETING);
    assert_eq!(request.text("trust"), "new");
    assert_eq!(request.text("peer"), mallory().peer_id().to_string());
    alice.quit().unwrap();
    alice.process.wait_exit(PROMPT).unwrap();
}
