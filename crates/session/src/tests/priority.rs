//! A bulk transfer and a chat on one narrow line.

use core::time::Duration;

use p2pchat_netsim::{LinkConfig, Loss, Rate, millis};
use p2pchat_proto::Moment;

use super::pair::{Pair, Who, good_line};
use super::streams::{Taken, bulk};
use crate::{DATAGRAM_SIZE, DATAGRAM_SIZE_MAX, SessionEvent, StreamId};

/// 10 Mbit/s.
const RATE: u64 = 1_250_000;
/// Bytes on their way in 50 ms.
const PRODUCT: u64 = RATE / 20;
/// What a line may take beyond its time on the idle link: a round trip and 20 ms.
const DELAY_MAX: Duration = Duration::from_millis(70);
/// Bytes of a line.
const LINE: usize = 64;

/// 10 Mbit/s with a round trip of 50 ms and a queue for as long.
fn narrow(jitter: u64, mtu: usize) -> LinkConfig {
    let rate = Rate { bytes_per_second: RATE, queue: PRODUCT };
    LinkConfig { delay: millis(25), jitter: millis(jitter), rate: Some(rate), mtu: Some(mtu), ..good_line() }
}

/// Streams of bulk that Bob keeps full.
struct Pouring {
    ids: Vec<StreamId>,
    taken: Taken,
}

impl Pouring {
    fn new(pair: &mut Pair, streams: u8) -> Self {
        let session = pair.bob.session;
        let open = |n| pair.bob.endpoint.open(session, &bulk(n), pair.now).unwrap();
        Self { ids: (0..streams).map(open).collect(), taken: Taken::default() }
    }

    fn run_until(&mut self, pair: &mut Pair, end: Moment) {
        loop {
            for id in &self.ids {
                while pair.bob.endpoint.write(pair.bob.session, *id, vec![7; 64 << 10], pair.now).is_ok() {}
            }
            if !pair.step(end) {
                return;
            }
            self.taken.take(pair, Who::Alice);
        }
    }

    fn bytes(&self) -> usize {
        self.taken.bytes.values().map(Vec::len).sum()
    }
}

/// How long each of `count` lines takes, said at odd times.
fn times(pair: &mut Pair, pouring: &mut Option<Pouring>, count: u64) -> Vec<Duration> {
    let mut said = Vec::new();
    let before = pair.alice.events.len();
    for n in 0..count {
        said.push(pair.now);
        pair.say(Who::Bob, &[n as u8; LINE]);
        let end = pair.now + Duration::from_micros(40_000 + n * 7_919 % 31_000);
        match pouring {
            Some(pouring) => pouring.run_until(pair, end),
            None => while pair.step(end) {},
        }
    }
    let end = pair.now + Duration::from_secs(2);
    match pouring {
        Some(pouring) => pouring.run_until(pair, end),
        None => while pair.step(end) {},
    }
    let came = pair.alice.events[before..].iter().filter_map(|(at, _, event)| match event {
        SessionEvent::Body { .. } => Some(*at),
        SessionEvent::Up { .. }
        | SessionEvent::Moved { .. }
        | SessionEvent::Stream(_)
        | SessionEvent::Suspect
        | SessionEvent::Recovered
        | SessionEvent::Hint { .. }
        | SessionEvent::Ended(_) => None,
    });
    let times: Vec<_> = came.zip(&said).map(|(came, said)| came.saturating_since(*said)).collect();
    assert_eq!(times.len(), said.len(), "seed {}", pair.seed);
    times
}

/// Median, 99th percentile and longest.
fn quantiles(times: &[Duration]) -> [Duration; 3] {
    let mut times = times.to_vec();
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 1000];
    [at(500), at(990), at(1000)]
}

#[test]
#[allow(clippy::print_stdout, reason = "figures for whoever asks for them")]
fn a_line_beside_bulk_takes_at_most_a_round_trip_and_20_ms_more_and_bulk_nine_tenths_of_the_line() {
    let (base, ethernet) = (DATAGRAM_SIZE, DATAGRAM_SIZE_MAX);
    for (seed, jitter, streams, mtu) in
        [(1, 0, 1, base), (2, 0, 4, ethernet), (3, 1, 1, ethernet), (4, 5, 4, base), (5, 0, 16, ethernet)]
    {
        let mut pair = Pair::up(seed, narrow(jitter, mtu));
        let idle = quantiles(&times(&mut pair, &mut None, 200));
        let mut pouring = Pouring::new(&mut pair, streams);
        let end = pair.now + Duration::from_secs(1);
        pouring.run_until(&mut pair, end);
        let (start, before) = (pair.now, pouring.bytes());
        let mut pouring = Some(pouring);
        let busy = quantiles(&times(&mut pair, &mut pouring, 1_000));
        let took = pair.now.saturating_since(start).as_secs_f64();
        let share = (pouring.unwrap().bytes() - before) as f64 / took / RATE as f64;
        let info = pair.bob.endpoint.info(pair.bob.session, pair.now).unwrap();
        println!(
            "seed {seed}, jitter {jitter} ms, {streams} streams: idle {idle:?}, busy {busy:?}, bulk {share:.3}, {} of {} lost",
            info.lost, info.sent
        );
        assert_eq!(info.mtu, mtu, "seed {seed}");
        assert!(share >= 0.9, "seed {seed}: {share} of the line");
        assert!(busy[2] <= idle[0] + DELAY_MAX, "seed {seed}: {busy:?} beside {idle:?}");
    }
}

#[test]
fn beside_bulk_that_nobody_acknowledges_a_line_goes_out_with_the_probes_and_not_again_and_again() {
    let mut pair = Pair::up(1, narrow(0, DATAGRAM_SIZE));
    let mut pouring = Pouring::new(&mut pair, 1);
    let end = pair.now + Duration::from_secs(1);
    pouring.run_until(&mut pair, end);
    let gone = LinkConfig { loss: Loss::Independent { share: 1.0 }, ..narrow(0, DATAGRAM_SIZE) };
    pair.network.link(pair.bob.address.ip(), pair.alice.address.ip(), gone);
    // What was on its way arrives, and what it made room for leaves.
    let end = pair.now + Duration::from_millis(200);
    pouring.run_until(&mut pair, end);
    pair.say(Who::Bob, &[7; LINE]);
    let before = pair.bob.endpoint.info(pair.bob.session, pair.now).unwrap().sent;
    let end = pair.now + Duration::from_secs(10);
    pouring.run_until(&mut pair, end);
    let info = pair.bob.endpoint.info(pair.bob.session, pair.now).unwrap();
    let sent = info.sent - before;
    assert!(info.suspect && (4..=30).contains(&sent), "{sent} packets while nothing was heard");
}
