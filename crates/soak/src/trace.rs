//! The last things that happened, for whoever reads a failure.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;

use crate::plan::{called, in_seconds};

/// How many are kept.
const KEPT: usize = 40;

/// One thing that happened.
#[derive(Debug, Clone)]
pub(crate) enum Happening {
    Sent { who: usize, to: SocketAddr, len: usize, kind: u8 },
    Came { who: usize, from: SocketAddr, len: usize, kind: u8 },
    Said { who: usize, what: String },
    World(String),
}

/// The last datagrams, and the last of everything else: keepalives would leave nothing else to read.
#[derive(Debug, Default)]
pub struct Trace {
    datagrams: VecDeque<(u64, Happening)>,
    others: VecDeque<(u64, Happening)>,
}

impl Trace {
    pub(crate) fn push(&mut self, at: u64, happening: Happening) {
        let ring = match happening {
            Happening::Sent { .. } | Happening::Came { .. } => &mut self.datagrams,
            Happening::Said { .. } | Happening::World(_) => &mut self.others,
        };
        if ring.len() == KEPT {
            ring.pop_front();
        }
        ring.push_back((at, happening));
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, ring) in [("events", &self.others), ("datagrams", &self.datagrams)] {
            writeln!(f, "the last {} {what}:", ring.len())?;
            for (at, happening) in ring {
                writeln!(f, "{:>14.6} s  {happening}", in_seconds(*at))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sent { who, to, len, kind } => {
                write!(f, "{} sends {len} bytes {} to {to}", called(*who), datagram(*kind))
            }
            Self::Came { who, from, len, kind } => {
                write!(f, "{} gets {len} bytes {} from {from}", called(*who), datagram(*kind))
            }
            Self::Said { who, what } => write!(f, "{}: {what}", called(*who)),
            Self::World(what) => f.write_str(what),
        }
    }
}

/// What a datagram is, by its first byte (protocol section 4).
const fn datagram(kind: u8) -> &'static str {
    match kind {
        0x51 => "INIT",
        0x52 => "RESP",
        0x53 => "FIN",
        0x54 => "DATA",
        0x55 => "PUNCH",
        _ => "of no kind",
    }
}
