//! snow, held so that only keys of the right length reach it and only a finished handshake gives
//! anything away.

#[cfg(test)]
mod reference;
mod resolver;

use rand::CryptoRng;
use snow::params::NoiseParams;
use snow::{Builder, HandshakeState};
use x25519_dalek::StaticSecret;
use zeroize::Zeroizing;

pub(crate) use resolver::{Resolver, noise_nonce};

/// Most bytes of one handshake message here: the second of NX, 96, with the room that snow wants
/// behind an unencrypted payload.
const MESSAGE_MAX: usize = 128;

/// What a handshake begins with. Every key is a type of 32 bytes: snow panics on longer ones and
/// pads shorter ones.
pub(crate) struct Setup<'a> {
    pub(crate) pattern: &'static str,
    pub(crate) prologue: &'a [u8],
    pub(crate) local: Option<&'a StaticSecret>,
    pub(crate) remote: Option<&'a [u8; 32]>,
    /// With its position.
    pub(crate) psk: Option<(u8, &'a [u8; 32])>,
}

/// A handshake that runs. Payloads are empty.
///
/// snow wipes nothing of its own, so the psk gets into it only where it stays, and is overwritten there.
pub(crate) struct Noise {
    state: Box<HandshakeState>,
    psk: Option<u8>,
}

/// What a finished handshake leaves.
pub(crate) struct Finished {
    /// The raw split: initiator's sending key, responder's sending key.
    pub(crate) split: [Zeroizing<[u8; 32]>; 2],
    pub(crate) hash: [u8; 32],
    /// The peer's static key, proven by the handshake.
    pub(crate) remote_static: Option<[u8; 32]>,
}

impl Noise {
    pub(crate) fn initiator(setup: &Setup<'_>, rng: &mut dyn CryptoRng) -> Result<Self, snow::Error> {
        Self::begin(builder(setup, rng)?.build_initiator()?, setup)
    }

    pub(crate) fn responder(setup: &Setup<'_>, rng: &mut dyn CryptoRng) -> Result<Self, snow::Error> {
        Self::begin(builder(setup, rng)?.build_responder()?, setup)
    }

    fn begin(state: HandshakeState, setup: &Setup<'_>) -> Result<Self, snow::Error> {
        let mut noise = Self { state: Box::new(state), psk: setup.psk.map(|(position, _)| position) };
        if let Some((position, key)) = setup.psk {
            noise.state.set_psk(usize::from(position), key)?;
        }
        Ok(noise)
    }

    /// The next message, which must have `N` bytes.
    pub(crate) fn write<const N: usize>(&mut self) -> Result<[u8; N], snow::Error> {
        let mut buffer = [0; MESSAGE_MAX];
        let written = self.state.write_message(&[], &mut buffer)?;
        buffer.get(..written).and_then(|message| message.try_into().ok()).ok_or(snow::Error::Input)
    }

    /// Takes the next message. One that carries a payload is refused.
    pub(crate) fn read(&mut self, message: &[u8]) -> Result<(), snow::Error> {
        self.state.read_message(message, &mut []).map(drop)
    }

    /// What the handshake gives, if it is finished: before that the static key may be a mere
    /// claim, and the split means nothing.
    pub(crate) fn finish(mut self) -> Option<Finished> {
        if !self.state.is_handshake_finished() {
            return None;
        }
        let (first, second) = self.state.dangerously_get_raw_split();
        Some(Finished {
            split: [Zeroizing::new(first), Zeroizing::new(second)],
            hash: self.state.get_handshake_hash().try_into().ok()?,
            remote_static: self.state.get_remote_static().and_then(|key| key.try_into().ok()),
        })
    }
}

impl Drop for Noise {
    fn drop(&mut self) {
        if let Some(position) = self.psk {
            // Fails for a position that no psk can have, and then there is none.
            let _ = self.state.set_psk(usize::from(position), &[0; 32]);
        }
    }
}

fn builder<'a>(setup: &Setup<'a>, rng: &mut dyn CryptoRng) -> Result<Builder<'a>, snow::Error> {
    let params: NoiseParams = setup.pattern.parse()?;
    let resolver = Box::new(Resolver::new(rng));
    let mut builder = Builder::with_resolver(params, resolver).prologue(setup.prologue)?;
    if let Some(key) = setup.local {
        builder = builder.local_private_key(key.as_bytes())?;
    }
    if let Some(key) = setup.remote {
        builder = builder.remote_public_key(key)?;
    }
    Ok(builder)
}
