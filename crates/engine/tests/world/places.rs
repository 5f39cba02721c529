//! Somebody is at another place: after a restart, or because their machine moved.

use std::net::SocketAddr;

use p2pchat_engine::AcceptPolicy;
use p2pchat_proto::UdpEndpoints;

use super::{Manner, Memory, World};

impl World {
    /// Somebody's process dies without a word and begins anew at `address`, with what it kept.
    pub fn restart(&mut self, index: usize, called: &str, address: SocketAddr, accept: AcceptPolicy) {
        self.lives += 1;
        let member = &self.people[index];
        let (pins, contacts) = (member.pins.clone(), member.contacts.clone());
        let manner = Manner { accept, pins, contacts, broker_key: Some(self.broker_key()) };
        let engine = self.engine(index, called, manner, address, self.lives);
        let member = &mut self.people[index];
        if let Some(conn) = member.conn.take() {
            self.broker.hang_up(conn);
        }
        member.engine = engine;
        member.address = address;
        member.store = Memory::new();
        member.events.clear();
        self.settle();
    }

    /// Somebody's machine gets another address, and its system says so.
    pub fn moves(&mut self, who: usize, to: SocketAddr) {
        let now = self.clock_of(who);
        let member = &mut self.people[who];
        if let Some(conn) = member.conn.take() {
            self.broker.hang_up(conn);
            member.engine.broker_closed("the address is gone".to_owned(), now);
        }
        member.address = to;
        member.engine.announce(UdpEndpoints::new([to]));
        member.engine.addresses_changed(&[to.ip()], now);
        self.settle();
    }
}
