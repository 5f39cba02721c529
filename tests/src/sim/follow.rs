//! Where the double believes its peer to be: the rules of protocol section 5, with one of them left out.

use std::net::SocketAddr;
use std::time::Duration;

use p2pchat_proto::Moment;
use rand::RngExt;
use rand_chacha::ChaCha20Rng;

/// How long the path in use has to answer.
const PATIENCE: Duration = Duration::from_millis(500);

/// What a challenge carries.
pub type Token = [u8; 8];

/// The rule that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathRule {
    /// Whoever names the session is its peer, before anything is opened.
    Opened,
    /// What was opened before counts again.
    Fresh,
    /// A packet may be older than another one that came.
    Newest,
    /// Nobody has to answer a challenge.
    Proven,
    /// Any token answers.
    Token,
    /// The path in use is not asked.
    Contest,
    /// The peer stays where it was.
    Followed,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Follow {
    path: Option<SocketAddr>,
    asked: Option<Question>,
}

/// Whether the peer is at another place now.
#[derive(Debug)]
struct Question {
    place: SocketAddr,
    until: Moment,
    /// For the place and for the path in use, each with whether it was answered.
    tokens: [(Token, bool); 2],
}

impl Follow {
    /// Where the peer is.
    pub const fn path(&self) -> Option<SocketAddr> {
        self.path
    }

    /// It is there, without a question.
    pub const fn go(&mut self, place: SocketAddr) {
        self.path = Some(place);
    }

    /// A packet opened that came from there. Whom to challenge, and with what.
    pub fn on_packet(
        &mut self,
        from: SocketAddr,
        newest: bool,
        lacks: Option<PathRule>,
        now: Moment,
        rng: &mut ChaCha20Rng,
    ) -> Vec<(SocketAddr, Token)> {
        let Some(path) = self.path.filter(|path| *path != from && self.asked.is_none()) else {
            return Vec::new();
        };
        match lacks {
            Some(PathRule::Followed) => return Vec::new(),
            Some(PathRule::Proven) if newest => {
                self.go(from);
                return Vec::new();
            }
            Some(PathRule::Newest) => {}
            Some(_) | None if !newest => return Vec::new(),
            Some(_) | None => {}
        }
        let tokens: [Token; 2] = rng.random();
        let until = now + PATIENCE;
        self.asked = Some(Question { place: from, until, tokens: tokens.map(|token| (token, false)) });
        [from, path].into_iter().zip(tokens).collect()
    }

    /// A challenge was answered, or so somebody says.
    pub fn on_response(&mut self, token: Token, lacks: Option<PathRule>) {
        let Some(asked) = &mut self.asked else { return };
        let [place, path] = &mut asked.tokens;
        place.1 |= place.0 == token || lacks == Some(PathRule::Token);
        path.1 |= path.0 == token;
        if place.1 && lacks == Some(PathRule::Contest) {
            self.path = Some(asked.place);
            self.asked = None;
        }
    }

    /// Decides what can be decided.
    pub fn settle(&mut self, now: Moment) {
        if let Some(asked) = self.asked.take_if(|asked| asked.until <= now)
            && let [(_, true), (_, false)] = asked.tokens
        {
            self.path = Some(asked.place);
        }
    }
}
