//! Both ends of a conversation in this process and in virtual time, over the product's simulated network:
//! what is compared meets the same line with the same seed, and nothing depends on the machine.

pub mod p2pchat;
pub mod quic;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use p2pchat_netsim::{LinkConfig, Network, millis};

use crate::Result;

/// Most datagrams that are handed out at once.
pub const SEGMENTS: usize = 10;
/// How long a handshake over a line that loses nothing may take.
const MEETING: Duration = Duration::from_secs(30);

/// One end: a protocol without clock and socket. Times are nanoseconds since the start.
pub trait End {
    /// Takes a datagram.
    fn take(&mut self, from: SocketAddr, datagram: Vec<u8>, now: u64) -> Result;

    /// Does what is due.
    fn wake(&mut self, now: u64);

    /// When something is due.
    fn due(&mut self) -> Option<u64>;

    /// Hands what leaves to `out`.
    fn give(&mut self, now: u64, out: &mut dyn FnMut(SocketAddr, &[u8]));

    /// Whether it can talk.
    fn is_up(&self) -> bool;

    /// Says something of `LINE_LEN` bytes.
    fn say(&mut self, now: u64) -> Result;

    /// How much has come of what the other said, in lines.
    fn heard(&self) -> usize;
}

/// Length of a line of text, in bytes.
pub const LINE_LEN: usize = 48;

/// Two ends and the line between them.
pub struct Talk<E> {
    ends: [E; 2],
    network: Network,
    now: u64,
    /// When each line came to the second end.
    pub came: Vec<u64>,
}

/// Where the first end and the second are.
pub fn addresses() -> [SocketAddr; 2] {
    [1, 2].map(|host| (Ipv4Addr::new(10, 0, 0, host), 7000).into())
}

impl<E: End> Talk<E> {
    /// Two ends who met over a line that loses nothing, and talk over `line` from now on.
    pub fn begin(ends: [E; 2], seed: u64, line: LinkConfig) -> Result<Self> {
        let [one, two] = addresses().map(|address| address.ip());
        let mut network = Network::new(seed);
        network.link(one, two, LinkConfig { delay: line.delay, ..LinkConfig::default() });
        let mut talk = Self { ends, network, now: millis(1_000), came: Vec::new() };
        let deadline = talk.now + nanos(MEETING);
        while !talk.ends.iter().all(E::is_up) {
            if talk.now >= deadline {
                return Err("the two do not meet in the simulation".into());
            }
            talk.run_for(Duration::from_millis(10))?;
        }
        // What belongs to the handshake settles before anything is measured.
        talk.run_for(Duration::from_secs(1))?;
        talk.network.link(one, two, line);
        Ok(talk)
    }

    /// Now.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// The first end says a line.
    pub fn say(&mut self) -> Result {
        self.ends[0].say(self.now)
    }

    /// Lets time pass.
    pub fn run_for(&mut self, time: Duration) -> Result {
        let end = self.now + nanos(time);
        loop {
            for (place, address) in addresses().into_iter().enumerate() {
                let Self { ends, network, now, .. } = self;
                ends[place].give(*now, &mut |to, datagram| network.send(*now, address, to, datagram));
            }
            self.came.resize(self.ends[1].heard(), self.now);
            let due = self.ends.iter_mut().filter_map(E::due);
            let Some(next) = due.chain(self.network.next_arrival()).min().filter(|next| *next <= end) else {
                self.now = end;
                return Ok(());
            };
            self.now = self.now.max(next);
            while let Some(datagram) = self.network.deliver(self.now) {
                let place = usize::from(datagram.to == addresses()[1]);
                self.ends[place].take(datagram.from, datagram.bytes, self.now)?;
            }
            for place in 0..2 {
                if self.ends[place].due().is_some_and(|due| due <= self.now) {
                    self.ends[place].wake(self.now);
                }
            }
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
