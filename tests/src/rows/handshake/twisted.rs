//! snow on the product's primitives, some of them bent: a side that claims a public key without
//! its secret, and a cipher that forgets what it authenticates.

use p2pchat_crypto::simulation;
use rand_chacha::ChaCha20Rng;
use snow::Error;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, HandshakeState};

use super::second::Keys;
use crate::rows::NotRun;

/// What is bent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Twist {
    /// Said in place of the static public key.
    pub(crate) statics: Option<Claim>,
    /// Said in place of the ephemeral public key.
    pub(crate) ephemerals: Option<Claim>,
    /// A public key, and what every exchange with it gives, whichever of one's own keys it is with.
    pub(crate) fixed: Option<([u8; 32], [u8; 32])>,
    /// The cipher does not authenticate the handshake so far.
    pub(crate) forgetful: bool,
}

/// A public key that one claims.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim {
    /// What is said.
    pub(crate) public: [u8; 32],
    /// What every exchange with it gives, where the claimer knows; else that of its own secret.
    pub(crate) shared: Option<[u8; 32]>,
}

/// One side of a handshake in which something is bent.
pub(crate) fn build(
    keys: &Keys,
    pattern: &str,
    initiator: bool,
    twist: Twist,
    rng: &mut ChaCha20Rng,
) -> Result<HandshakeState, NotRun> {
    let resolver = Box::new(resolver(twist, rng));
    let mut builder = Builder::with_resolver(pattern.parse()?, resolver).prologue(&keys.prologue)?;
    if let Some(local) = &keys.local {
        builder = builder.local_private_key(local)?;
    }
    if let Some(remote) = &keys.remote {
        builder = builder.remote_public_key(remote)?;
    }
    if let Some((position, psk)) = &keys.psk {
        builder = builder.psk(*position, psk)?;
    }
    Ok(if initiator { builder.build_initiator()? } else { builder.build_responder()? })
}

/// The next message, without a payload.
pub(crate) fn write(state: &mut HandshakeState) -> Result<Vec<u8>, NotRun> {
    let mut buffer = [0; 256];
    let written = state.write_message(&[], &mut buffer)?;
    Ok(buffer[..written].to_vec())
}

/// The primitives under such a side.
pub(crate) fn resolver(twist: Twist, rng: &mut ChaCha20Rng) -> Twisted {
    Twisted { real: simulation::resolver(rng), twist }
}

/// The product's primitives, bent.
pub(crate) struct Twisted {
    real: Box<dyn CryptoResolver + Send>,
    twist: Twist,
}

impl CryptoResolver for Twisted {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        self.real.resolve_rng()
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        Some(Box::new(Claimer { real: self.real.resolve_dh(choice)?, twist: self.twist, claim: None }))
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        self.real.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        let real = self.real.resolve_cipher(choice)?;
        Some(if self.twist.forgetful { Box::new(Forgetful(real)) } else { real })
    }
}

struct Claimer {
    real: Box<dyn Dh>,
    twist: Twist,
    claim: Option<Claim>,
}

impl Dh for Claimer {
    fn name(&self) -> &'static str {
        self.real.name()
    }

    fn pub_len(&self) -> usize {
        self.real.pub_len()
    }

    fn priv_len(&self) -> usize {
        self.real.priv_len()
    }

    fn set(&mut self, privkey: &[u8]) {
        self.claim = self.twist.statics;
        self.real.set(privkey);
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), Error> {
        self.claim = self.twist.ephemerals;
        self.real.generate(rng)
    }

    fn pubkey(&self) -> &[u8] {
        self.claim.as_ref().map_or(self.real.pubkey(), |claim| &claim.public)
    }

    fn privkey(&self) -> &[u8] {
        self.real.privkey()
    }

    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let fixed =
            self.twist.fixed.and_then(|(public, shared)| pubkey.starts_with(&public).then_some(shared));
        match self.claim.and_then(|claim| claim.shared).or(fixed) {
            Some(shared) => {
                out.first_chunk_mut::<32>().ok_or(Error::Dh)?.copy_from_slice(&shared);
                Ok(())
            }
            None => self.real.dh(pubkey, out),
        }
    }
}

struct Forgetful(Box<dyn Cipher>);

impl Cipher for Forgetful {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn set(&mut self, key: &[u8; 32]) {
        self.0.set(key);
    }

    fn encrypt(&self, nonce: u64, _: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        self.0.encrypt(nonce, &[], plaintext, out)
    }

    fn decrypt(&self, nonce: u64, _: &[u8], ciphertext: &[u8], out: &mut [u8]) -> Result<usize, Error> {
        self.0.decrypt(nonce, &[], ciphertext, out)
    }
}
