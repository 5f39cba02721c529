//! How long a line of text takes over a line that loses, in virtual time.

use std::time::Duration;

use p2pchat_netsim::{LinkConfig, Loss, millis};

use crate::Result;
use crate::report::{Aim, Report, Row, Table};
use crate::sample::Samples;
use crate::simulated::{End, Talk, p2pchat, quic};

/// Round trip, milliseconds.
const RTT: u64 = 100;
/// Percent lost in each direction.
const LOSSES: [u32; 6] = [0, 1, 5, 10, 20, 30];
/// Lines that are said in one simulation, one every one to two seconds.
const LINES: u64 = 3_000;
/// Longest wait for the last of them.
const PATIENCE: Duration = Duration::from_secs(120);

/// p50 and p99, beside quinn over the same line.
pub fn measure(runs: usize, report: &mut Report) -> Result {
    let mut rows = Vec::new();
    for loss in LOSSES {
        let [mut ours, mut theirs] = [(); 2].map(|()| [Samples::default(), Samples::default()]);
        for seed in 0..runs as u64 {
            let line = LinkConfig {
                delay: millis(RTT / 2),
                loss: Loss::Independent { share: f64::from(loss) / 100.0 },
                ..LinkConfig::default()
            };
            push(&mut ours, &took(Talk::begin(p2pchat::ends(seed)?, seed, line)?)?);
            push(&mut theirs, &took(Talk::begin(quic::ends(seed)?, seed, line)?)?);
        }
        for (place, share) in ["p50", "p99"].into_iter().enumerate() {
            let (ours, theirs) = (ours[place].clone(), theirs[place].clone());
            let ratio = ours.ratio_to(&theirs);
            // The middle line is hardly ever one that was lost.
            let plotted = |row: Row| if share == "p99" { row.plotted() } else { row };
            let ours = plotted(Row::new(format!("p2pchat, {loss} % lost, {share}"), "RTT", ours));
            rows.push(if (loss, share) == (10, "p99") { ours.aim(Aim::AtMost(2.5)) } else { ours });
            rows.push(plotted(Row::new(format!("quinn, {loss} % lost, {share}"), "RTT", theirs)));
            let what = format!("p2pchat to quinn, {loss} % lost, {share}");
            rows.push(Row::new(what, "ratio", ratio).aim(Aim::AtMost(1.0)));
        }
    }
    report.add(Table {
        name: "delivery",
        title: "A line of text over a line that loses",
        about: format!(
            "{LINES} lines a run, one every one to two seconds, over a simulated line of {RTT} ms round trip that \
             loses the same share both ways; the time from saying to hearing, in round trips. Virtual time: a run \
             is a seed, and the machine has no part in it. quinn: its state machine with its defaults, one \
             stream."
        ),
        rows,
    });
    Ok(())
}

fn push([p50, p99]: &mut [Samples; 2], took: &Samples) {
    p50.push(took.quantile(0.5));
    p99.push(took.quantile(0.99));
}

/// How long each line took, in round trips.
fn took(mut talk: Talk<impl End>) -> Result<Samples> {
    let mut said = Vec::new();
    for n in 0..LINES {
        said.push(talk.now());
        talk.say()?;
        talk.run_for(Duration::from_millis(1_000 + n * 617 % 1_000))?;
    }
    talk.run_for(PATIENCE)?;
    if talk.came.len() != said.len() {
        return Err(format!("{} of {LINES} lines came", talk.came.len()).into());
    }
    let round_trip = millis(RTT) as f64;
    Ok(talk.came.iter().zip(&said).map(|(came, said)| (came - said) as f64 / round_trip).collect())
}
