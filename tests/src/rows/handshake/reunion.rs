//! H16, H24, H25, H26, H28: contacts who meet again without a broker.

use std::collections::BTreeSet;
use std::time::Duration;

use p2pchat_netsim::{LinkConfig, Loss, millis};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use crate::rows::{Defence, Lab, NotRun, Seen};
use crate::sim::contacts::{Contacts, Neglect};

/// How many times a thing that depends on the moment is tried.
const TIMINGS: u64 = 1000;
/// Windows of tickets in a day.
const WINDOWS: usize = 144;

fn line(share: f64) -> LinkConfig {
    let loss = Loss::Independent { share };
    LinkConfig { delay: millis(20), jitter: millis(10), loss, ..LinkConfig::default() }
}

fn two(neglect: Neglect, line: LinkConfig, rng: ChaCha20Rng) -> Result<Contacts, NotRun> {
    Contacts::new(neglect, line, rng).ok_or_else(|| NotRun("the two did not meet at first".to_owned()))
}

/// A neglected duty in the counter-proof, none in the proof.
fn unless(defence: Defence, neglect: Neglect) -> Neglect {
    match defence {
        Defence::InPlace => Neglect::Nothing,
        Defence::Removed => neglect,
    }
}

/// H16, without the broker.
pub(crate) fn glare(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let neglect = unless(defence, Neglect::OwnSession);
    let mut apart = 0;
    for timing in 0..TIMINGS {
        let mut rng = ChaCha20Rng::seed_from_u64(lab.seed ^ timing);
        let line = line(rng.random_range(0.0..0.2));
        let offset = [(); 2].map(|()| Duration::from_micros(rng.random_range(0..100_000)));
        let mut two = two(neglect, line, rng)?;
        for (side, offset) in two.sides.iter_mut().zip(offset) {
            side.redial = Some(two.now + offset);
        }
        let met = two.run_until(Duration::from_secs(120), Contacts::are_together);
        // From here on nobody dials: what they have now is what they keep.
        two.sides.iter_mut().for_each(|side| side.redial = None);
        two.run_for(Duration::from_secs(45));
        let one_each = two.sides.iter().all(|side| side.endpoint.len() == 1);
        apart += u64::from(!met || !two.are_together() || !one_each);
    }
    let figure = format!("{apart} of {TIMINGS} timings without one session");
    Ok(Seen::when(apart == 0, "two who dialled at once, and what they were left with").figure(figure))
}

/// H24.
pub(crate) fn crashes(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let neglect = unless(defence, Neglect::OlderSecret);
    let mut lost = 0;
    for timing in 0..TIMINGS {
        let mut rng = ChaCha20Rng::seed_from_u64(lab.seed ^ timing);
        let share = rng.random_range(0.0..0.5);
        let mut two = two(neglect, line(share), ChaCha20Rng::seed_from_u64(timing))?;
        for side in &mut two.sides {
            side.redial = rng.random_bool(0.7).then_some(two.now);
        }
        let mut common = true;
        for _ in 0..rng.random_range(1..4) {
            let end = two.now + Duration::from_micros(rng.random_range(0..400_000));
            while two.step(end) {
                common &= two.have_one_in_common();
            }
            two.restart(usize::from(rng.random_bool(0.5)));
            common &= two.have_one_in_common();
        }
        two.sides.iter_mut().for_each(|side| side.redial = Some(two.now));
        let met = common && two.run_until(Duration::from_secs(300), Contacts::are_together);
        lost += u64::from(!met);
    }
    let figure = format!("{lost} of {TIMINGS} timings without a common secret");
    Ok(Seen::when(lost == 0, "crashes between two generations of secrets, on lines that lose").figure(figure))
}

/// H25.
pub(crate) fn unwanted(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    type Change = fn(&mut Contacts);
    let neglect = unless(defence, Neglect::Forgetting);
    let ways: [(&str, Change); 4] = [
        ("removed or blocked", Contacts::forget),
        ("removed before a restart", |two| {
            two.forget();
            two.restart(1);
        }),
        ("invisible", Contacts::hide),
        ("of 31 days ago", |two| two.age(31)),
    ];
    let mut wanted = two(neglect, line(0.0), lab.rng.clone())?;
    wanted.dial(0);
    if !wanted.run_until(Duration::from_secs(5), Contacts::are_together) {
        return Err(NotRun("a contact that is wanted gets no answer either".to_owned()));
    }
    for (who, change) in ways {
        let mut two = two(neglect, line(0.0), lab.rng.clone())?;
        change(&mut two);
        let before = two.sides[1].sent;
        let received = two.sides[1].endpoint.stats().received;
        two.dial(0);
        two.run_for(Duration::from_secs(30));
        if two.sides[1].endpoint.stats().received == received {
            return Err(NotRun(format!("nobody asked: {who}")));
        }
        let answers = two.sides[1].sent - before;
        if answers > 0 {
            return Ok(Seen::broken(format!("a contact that is {who} gets {answers} answers")));
        }
    }
    Ok(Seen::held(
        "no answer to a contact that is removed, blocked, 31 days old, or that one is invisible to",
    ))
}

/// H26, with a ticket of a contact.
pub(crate) fn recorded_init(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let neglect = unless(defence, Neglect::LaterInits);
    for count in [1, 5] {
        let mut two = two(neglect, line(0.0), lab.rng.clone())?;
        let recorded: Option<Vec<_>> = (0..count).map(|_| two.unused_init()).collect();
        let recorded = recorded.ok_or_else(|| NotRun("no INIT was recorded".to_owned()))?;
        if recorded.iter().collect::<BTreeSet<_>>().len() != count {
            return Err(NotRun("the recorded INITs are the same".to_owned()));
        }
        let elsewhere = std::net::SocketAddr::from(([10, 9, 9, 9], 99));
        recorded.iter().for_each(|init| two.inject(elsewhere, init));
        two.dial(0);
        if !two.run_until(Duration::from_secs(15), Contacts::are_together) {
            return Ok(Seen::broken(format!("after {count} recorded INITs the real one gets nowhere")));
        }
    }
    Ok(Seen::held("the real INIT connects after one and after five recorded ones of the same ticket"))
}

/// H28.
pub(crate) fn tickets(defence: Defence, lab: &mut Lab) -> Result<Seen, NotRun> {
    let neglect = unless(defence, Neglect::Clock);
    let mut two = two(neglect, line(0.0), lab.rng.clone())?;
    let mut seen = BTreeSet::new();
    for window in 0..WINDOWS {
        // From another network every other time.
        two.sides[0].address.set_port(7000 + u16::from(window % 2 == 1));
        let init = two.unused_init().ok_or_else(|| NotRun("no INIT".to_owned()))?;
        seen.insert(init.get(8..16).map(<[u8]>::to_vec));
        two.run_for(Duration::from_secs(600));
        two.restart(0);
    }
    if seen.len() != WINDOWS {
        let same = WINDOWS - seen.len();
        return Ok(Seen::broken(format!("{same} of {WINDOWS} attempts of a day carry a ticket seen before")));
    }
    for (off, meets) in [(-600_000, true), (600_000, true), (-1_800_000, false), (1_800_000, false)] {
        let mut pair = self::two(neglect, line(0.0), lab.rng.clone())?;
        pair.sides[0].clock = off;
        pair.restart(0);
        pair.dial(0);
        if pair.run_until(Duration::from_secs(15), Contacts::are_together) != meets {
            return Ok(Seen::broken(format!("clocks {off} ms apart: a session is {}", !meets)));
        }
    }
    Ok(Seen::held(format!(
        "{WINDOWS} tickets of a day are all different; neighbouring windows are taken, others not"
    )))
}
