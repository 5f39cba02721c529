//! Somebody's process stops for a while, as under `kill -STOP` or with its machine, and goes on.

use std::collections::VecDeque;
use std::net::SocketAddr;

use p2pchat_session::Received;

use super::{Member, World};

/// What the system keeps of what comes meanwhile: a socket's buffer, here in datagrams.
const KEPT: usize = 100;

/// What waits for somebody who sleeps.
pub enum Waiting {
    Datagram(SocketAddr, Vec<u8>),
    FromBroker(Vec<u8>),
    BrokerGone,
}

/// What somebody who wakes does first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// What is due.
    Timers,
    /// What came meanwhile.
    Input,
}

impl World {
    /// From now on somebody does nothing.
    pub fn put_to_sleep(&mut self, who: usize) {
        self.people[who].asleep = Some(VecDeque::new());
    }

    pub(super) fn keep_for(waiting: &mut VecDeque<Waiting>, input: Waiting) {
        let datagrams = waiting.iter().filter(|kept| matches!(kept, Waiting::Datagram(..))).count();
        if datagrams < KEPT || !matches!(input, Waiting::Datagram(..)) {
            waiting.push_back(input);
        }
    }

    /// Somebody goes on.
    pub fn wake(&mut self, who: usize, first: First) {
        let waiting = self.people[who].asleep.take().expect("somebody who sleeps");
        let now = self.clock_of(who);
        let link = self.people[who].conn;
        if first == First::Timers {
            self.people[who].engine.handle_timeout(now);
            self.settle_member(who);
        }
        for input in waiting {
            let Member { engine, conn, .. } = &mut self.people[who];
            match input {
                Waiting::Datagram(from, mut bytes) => {
                    let received = Received { from, local_ip: None, ecn: None, segment_size: None };
                    engine.handle_datagram(received, &mut bytes, now);
                }
                // Nobody reads from a link that was given up.
                Waiting::FromBroker(_) | Waiting::BrokerGone if *conn != link => {}
                Waiting::FromBroker(bytes) => engine.broker_received(&bytes, now),
                Waiting::BrokerGone => {
                    *conn = None;
                    engine.broker_closed("connection reset".to_owned(), now);
                }
            }
            self.settle_member(who);
        }
        self.settle();
    }
}
