//! The hello by which two sockets of one attempt know each other, before a byte of content passes.
//!
//! Both sides listen and dial, and both know the same secret, so a hello proves that somebody of
//! the two made it, but not which one. A listener therefore refuses what its own side dialled with
//! (a reflection) and what it saw before (a replay).

use core::fmt;
use std::collections::BTreeSet;

use p2pchat_crypto::Suite;
use p2pchat_crypto::carrier::{CarrierSecret, RecordOpener, RecordSealer, hello_mac, verify_hello_mac};
use p2pchat_proto::TransferId;
use p2pchat_proto::carrier::{
    CarrierNonce, DIALER_HELLO_LEN, DialerHello, LISTENER_HELLO_LEN, ListenerHello,
};
use p2pchat_proto::transfer::SecretBytes;

/// Most hellos of one attempt: 8 addresses of each side, dialled anew every second of a race of 8.
const HELLOS_MAX: usize = 128;

/// The hellos of one attempt, on one side.
#[derive(Debug)]
pub struct Hellos {
    transfer: TransferId,
    secret: CarrierSecret,
    /// Dialers' nonces of both sides that were used.
    used: BTreeSet<CarrierNonce>,
}

/// What makes a connection different from every other of the same attempt. Only a hello that was
/// right gives one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proven {
    dialer: CarrierNonce,
    listener: CarrierNonce,
}

/// A hello that was refused. Its sender gets no byte in answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HelloError {
    /// Not laid out as a hello of this role.
    Malformed,
    /// For another transfer.
    OtherTransfer,
    /// Made without the secret of this attempt.
    WrongMac,
    /// Dialled from here, or seen before.
    Replayed,
    /// More hellos than an honest peer has addresses.
    TooMany,
}

impl fmt::Display for HelloError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "no hello",
            Self::OtherTransfer => "hello for another transfer",
            Self::WrongMac => "hello with a wrong MAC",
            Self::Replayed => "hello that was used before",
            Self::TooMany => "too many hellos",
        })
    }
}

impl core::error::Error for HelloError {}

impl Hellos {
    /// Of one attempt at `transfer`.
    pub fn new(transfer: TransferId, secret: &SecretBytes) -> Self {
        Self { transfer, secret: CarrierSecret::from_bytes(*secret.expose()), used: BTreeSet::new() }
    }

    /// What to send on a connection that was dialled from here. `nonce` must be random and new.
    ///
    /// # Errors
    /// If too many hellos were made or seen, or the nonce is not new.
    pub fn dial(&mut self, nonce: CarrierNonce) -> Result<[u8; DIALER_HELLO_LEN], HelloError> {
        self.remember(nonce)?;
        let mac = hello_mac(&self.secret, &[&DialerHello::signed(self.transfer, nonce)]);
        Ok(DialerHello { transfer: self.transfer, nonce, mac }.to_bytes())
    }

    /// Checks what came back on a connection that was dialled with `nonce`.
    ///
    /// # Errors
    /// See [`HelloError`].
    pub fn dialed(
        &self,
        nonce: CarrierNonce,
        answer: &[u8; LISTENER_HELLO_LEN],
    ) -> Result<Proven, HelloError> {
        let answer = ListenerHello::from_bytes(answer).ok_or(HelloError::Malformed)?;
        let signed = ListenerHello::signed(self.transfer, nonce, answer.nonce);
        if !verify_hello_mac(&self.secret, &[&signed], &answer.mac) {
            return Err(HelloError::WrongMac);
        }
        Ok(Proven { dialer: nonce, listener: answer.nonce })
    }

    /// Checks what came on a connection that was accepted here. `nonce` must be random and new.
    ///
    /// # Errors
    /// See [`HelloError`]; nothing may be sent then.
    pub fn accept(
        &mut self,
        hello: &[u8; DIALER_HELLO_LEN],
        nonce: CarrierNonce,
    ) -> Result<([u8; LISTENER_HELLO_LEN], Proven), HelloError> {
        let hello = DialerHello::from_bytes(hello).ok_or(HelloError::Malformed)?;
        if hello.transfer != self.transfer {
            return Err(HelloError::OtherTransfer);
        }
        let signed = DialerHello::signed(hello.transfer, hello.nonce);
        if !verify_hello_mac(&self.secret, &[&signed], &hello.mac) {
            return Err(HelloError::WrongMac);
        }
        self.remember(hello.nonce)?;
        let signed = ListenerHello::signed(self.transfer, hello.nonce, nonce);
        let answer = ListenerHello { nonce, mac: hello_mac(&self.secret, &[&signed]) };
        Ok((answer.to_bytes(), Proven { dialer: hello.nonce, listener: nonce }))
    }

    /// Seals the records of a proven connection.
    pub fn sealer(&self, suite: Suite, proven: &Proven) -> RecordSealer {
        RecordSealer::new(suite, &self.secret, self.transfer, &proven.dialer.0, &proven.listener.0)
    }

    /// Opens the records of a proven connection.
    pub fn opener(&self, suite: Suite, proven: &Proven) -> RecordOpener {
        RecordOpener::new(suite, &self.secret, self.transfer, &proven.dialer.0, &proven.listener.0)
    }

    fn remember(&mut self, nonce: CarrierNonce) -> Result<(), HelloError> {
        if self.used.contains(&nonce) {
            return Err(HelloError::Replayed);
        }
        if self.used.len() == HELLOS_MAX {
            return Err(HelloError::TooMany);
        }
        self.used.insert(nonce);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRANSFER: TransferId = TransferId([1; 16]);
    const SUITE: Suite = Suite::ChaCha20Poly1305;

    fn hellos(secret: u8) -> Hellos {
        Hellos::new(TRANSFER, &SecretBytes::new([secret; 32]))
    }

    fn nonce(n: u8) -> CarrierNonce {
        CarrierNonce([n; 16])
    }

    #[test]
    fn both_sides_of_a_right_hello_seal_and_open_alike() {
        let (mut alice, mut bob) = (hellos(7), hellos(7));
        let hello = alice.dial(nonce(1)).unwrap();
        let (answer, at_bob) = bob.accept(&hello, nonce(2)).unwrap();
        let at_alice = alice.dialed(nonce(1), &answer).unwrap();
        assert_eq!(at_alice, at_bob);
        let mut record = b"content".to_vec();
        bob.sealer(SUITE, &at_bob).seal(&mut record, true).unwrap();
        alice.opener(SUITE, &at_alice).open(&mut record, true).unwrap();
        assert_eq!(record, b"content");
    }

    #[test]
    fn a_hello_comes_through_once() {
        let (mut alice, mut bob) = (hellos(7), hellos(7));
        let hello = alice.dial(nonce(1)).unwrap();
        bob.accept(&hello, nonce(2)).unwrap();
        assert_eq!(bob.accept(&hello, nonce(3)), Err(HelloError::Replayed));
    }

    #[test]
    fn a_hello_that_comes_back_to_who_dialled_is_refused() {
        let mut alice = hellos(7);
        let hello = alice.dial(nonce(1)).unwrap();
        assert_eq!(alice.accept(&hello, nonce(2)), Err(HelloError::Replayed));
        let mut back = [0; LISTENER_HELLO_LEN];
        back.copy_from_slice(&hello[..LISTENER_HELLO_LEN]);
        assert_eq!(alice.dialed(nonce(1), &back), Err(HelloError::Malformed));
        back[0] = b'L';
        assert_eq!(alice.dialed(nonce(1), &back), Err(HelloError::WrongMac));
    }

    #[test]
    fn a_hello_of_another_attempt_or_transfer_is_refused() {
        let (mut old, mut new) = (hellos(7), hellos(8));
        let hello = old.dial(nonce(1)).unwrap();
        assert_eq!(new.accept(&hello, nonce(2)), Err(HelloError::WrongMac));
        let mut other = Hellos::new(TransferId([2; 16]), &SecretBytes::new([7; 32]));
        assert_eq!(other.accept(&hello, nonce(2)), Err(HelloError::OtherTransfer));
    }

    #[test]
    fn an_answer_belongs_to_the_hello_that_it_answers() {
        let (mut alice, mut bob) = (hellos(7), hellos(7));
        let first = alice.dial(nonce(1)).unwrap();
        let second = alice.dial(nonce(2)).unwrap();
        let (to_first, _) = bob.accept(&first, nonce(3)).unwrap();
        let (to_second, _) = bob.accept(&second, nonce(4)).unwrap();
        assert_eq!(alice.dialed(nonce(2), &to_first), Err(HelloError::WrongMac));
        assert!(alice.dialed(nonce(2), &to_second).is_ok());
    }

    #[test]
    fn endless_hellos_of_a_peer_are_refused() {
        let (mut alice, mut bob) = (hellos(7), hellos(7));
        for n in 0..HELLOS_MAX as u8 {
            let hello = alice.dial(nonce(n)).unwrap();
            bob.accept(&hello, nonce(n)).unwrap();
        }
        assert_eq!(alice.dial(nonce(255)), Err(HelloError::TooMany));
        let hello = hellos(7).dial(nonce(255)).unwrap();
        assert_eq!(bob.accept(&hello, nonce(255)), Err(HelloError::TooMany));
    }

    proptest! {
        #[test]
        fn any_changed_byte_makes_a_hello_wrong(at in 0..DIALER_HELLO_LEN, bit in 0u8..8) {
            let mut hello = hellos(7).dial(nonce(1)).unwrap();
            hello[at] ^= 1 << bit;
            prop_assert!(hellos(7).accept(&hello, nonce(2)).is_err());
        }

        #[test]
        fn any_changed_byte_makes_an_answer_wrong(at in 0..LISTENER_HELLO_LEN, bit in 0u8..8) {
            let (mut alice, mut bob) = (hellos(7), hellos(7));
            let (mut answer, _) = bob.accept(&alice.dial(nonce(1)).unwrap(), nonce(2)).unwrap();
            answer[at] ^= 1 << bit;
            prop_assert!(alice.dialed(nonce(1), &answer).is_err());
        }
    }
}
