//! How long a chat line takes over lines that lose some of it.

use core::time::Duration;

use p2pchat_netsim::{LinkConfig, Loss, millis};
use p2pchat_proto::frame::TYPING;

use super::pair::{Pair, Who, good_line};
use crate::{HINT_INTERVAL, SessionEvent};

/// Round-trip times, milliseconds.
const ROUND_TRIPS: [u64; 3] = [40, 100, 450];
/// Percent lost in each direction.
const LOSSES: [u32; 6] = [0, 1, 5, 10, 20, 30];
/// Simulations of a cell.
const SEEDS: u64 = 10;
/// Lines of a simulation.
const LINES: u64 = 300;

/// Delivery times of chat lines in round trips, and what they cost.
struct Cell {
    /// Ascending.
    times: Vec<f64>,
    /// Packets of both sides for each line.
    packets: f64,
}

impl Cell {
    fn quantile(&self, share: f64) -> f64 {
        self.times[((self.times.len() - 1) as f64 * share).round() as usize]
    }
}

/// Bob says a line every one to two seconds and Alice listens.
fn lines(rtt: u64, loss: u32) -> Cell {
    let (mut times, mut packets) = (vec![], 0);
    for seed in 0..SEEDS {
        let loss = Loss::Independent { share: f64::from(loss) / 100.0 };
        let mut pair = Pair::up(seed, LinkConfig { delay: millis(rtt / 2), loss, ..good_line() });
        pair.run_for(Duration::from_secs(1));
        pair.sent.clear();
        let mut said = vec![];
        for n in 0..LINES {
            said.push(pair.now);
            pair.say(Who::Bob, format!("line {n} of about as many bytes as people type").as_bytes());
            pair.run_for(Duration::from_millis(1_000 + n * 617 % 1_000));
        }
        pair.run_for(Duration::from_secs(60));
        packets += pair.sent.len();
        let came = pair.alice.events.iter().filter(|(.., event)| matches!(event, SessionEvent::Body { .. }));
        let took = came.zip(&said).map(|((at, ..), said)| at.saturating_since(*said));
        let before = times.len();
        times.extend(took.map(|took| took.as_secs_f64() * 1e3 / rtt as f64));
        assert_eq!(times.len() - before, said.len(), "seed {seed}: lines are missing");
    }
    times.sort_unstable_by(f64::total_cmp);
    Cell { packets: packets as f64 / times.len() as f64, times }
}

/// `cargo test -p p2pchat-session delivery -- --nocapture` prints the table.
#[test]
#[allow(clippy::print_stdout, reason = "a table for whoever asks for it")]
fn a_line_under_ten_percent_loss_takes_at_most_two_and_a_half_round_trips() {
    for rtt in ROUND_TRIPS {
        println!("round trip {rtt} ms, seeds 0 to {}, {} lines a cell", SEEDS - 1, SEEDS * LINES);
        println!("loss %   p50 RTT   p99 RTT   max RTT   packets a line");
        for loss in LOSSES {
            let cell = lines(rtt, loss);
            let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| cell.quantile(share));
            println!("{loss:6} {p50:9.2} {p99:9.2} {max:9.2} {:16.2}", cell.packets);
            assert!((0.5..0.51).contains(&p50), "{loss} %: {p50} round trips");
            if loss <= 10 {
                assert!(p99 <= 2.5, "{loss} %: {p99} round trips");
            }
        }
    }
}

#[test]
fn a_hint_arrives_at_once_or_never() {
    let hints = |pair: &Pair| pair.alice.count(|event| *event == SessionEvent::Hint { kind: TYPING });
    let hint = |pair: &mut Pair| {
        let now = pair.now;
        let session = pair.bob.session;
        pair.bob.endpoint.hint(session, TYPING, now);
    };
    for lost in [false, true] {
        let loss = Loss::Independent { share: if lost { 1.0 } else { 0.0 } };
        let mut pair = Pair::up(7, LinkConfig { loss, ..good_line() });
        pair.run_for(Duration::from_secs(1));
        hint(&mut pair);
        pair.run_for(Duration::from_millis(100));
        assert_eq!(hints(&pair), usize::from(!lost));
        pair.network.link(pair.bob.address.ip(), pair.alice.address.ip(), good_line());
        pair.say(Who::Bob, b"said");
        pair.run_for(Duration::from_secs(2));
        assert_eq!(pair.alice.bodies(crate::StreamId::CONVERSATION), [b"said"]);
        assert_eq!(hints(&pair), usize::from(!lost), "it is not said again");
        pair.run_for(HINT_INTERVAL);
        (0..20).for_each(|_| hint(&mut pair));
        pair.run_for(Duration::from_secs(1));
        assert_eq!(hints(&pair), usize::from(!lost) + 1, "of many at once one is sent");
    }
}
