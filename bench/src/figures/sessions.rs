//! Handshakes a second on one core.

use std::collections::VecDeque;

use p2pchat_crypto::simulation;
use p2pchat_harness::sim::people::People;
use p2pchat_proto::offer::Suites;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use crate::Result;
use crate::contest::{Contender, hold};
use crate::cpu;
use crate::report::{Report, Row, Table};
use crate::simulated::{End, addresses, p2pchat, quic};

/// Handshakes in one run.
const HANDSHAKES: u64 = 200;

/// From introduction to session, beside quinn's from nothing to connection.
pub fn measure(runs: usize, report: &mut Report) -> Result {
    let people = People::default();
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let suites = Suites::CHACHA20_POLY1305.with(Suites::AES_256_GCM);
    let ours = || {
        let mut seconds = 0.0;
        for seed in 0..HANDSHAKES {
            let (bobs, alices) = simulation::introduce(&people.bob, &people.alice, suites, &mut rng)
                .map(|(bobs, alices)| (bobs.introduction, alices.introduction))?;
            let start = cpu::time();
            meet(p2pchat::introduced(&people, bobs, alices, seed))?;
            seconds += (cpu::time() - start).as_secs_f64();
        }
        Ok(HANDSHAKES as f64 / seconds)
    };
    let configs = quic::Configs::new()?;
    let theirs = || {
        let start = cpu::time();
        for seed in 0..HANDSHAKES {
            meet(configs.ends(seed)?)?;
        }
        Ok(HANDSHAKES as f64 / (cpu::time() - start).as_secs_f64())
    };
    let results = hold(runs, vec![Contender::new("QUIC, quinn", theirs), Contender::new("p2pchat", ours)])?;
    let [(theirs, quinn), (mine, ours)] = &results[..] else { return Err("two contenders".into()) };
    report.add(Table {
        name: "sessions",
        title: "Handshakes a second on one core",
        about: format!(
            "Both ends in one thread, their datagrams handed over in memory, {HANDSHAKES} handshakes a run, in \
             processor time. p2pchat: from an introduction until both sides have proof of each other. quinn: its state \
             machine, TLS 1.3; the server proves who it is (ECDSA P-256), the client nothing."
        ),
        rows: vec![
            Row::new(*theirs, "handshakes/s", quinn.clone()).plotted(),
            Row::new(*mine, "handshakes/s", ours.clone()).plotted(),
            Row::new("p2pchat to quinn", "ratio", ours.ratio_to(quinn)),
        ],
    });
    Ok(())
}

/// Hands over what both ends say until they are up.
fn meet<E: End>(mut ends: [E; 2]) -> Result {
    let mut now = 1_000_000_000;
    let mut under_way = VecDeque::new();
    while !ends.iter().all(E::is_up) {
        for (place, end) in ends.iter_mut().enumerate() {
            end.give(now, &mut |_, datagram| under_way.push_back((place, datagram.to_vec())));
        }
        match under_way.pop_front() {
            Some((from, datagram)) => ends[1 - from].take(addresses()[from], datagram, now)?,
            None => {
                let due = ends.iter_mut().filter_map(E::due).min().ok_or("the two wait for each other")?;
                now = now.max(due);
                ends.iter_mut().for_each(|end| end.wake(now));
            }
        }
    }
    Ok(())
}
