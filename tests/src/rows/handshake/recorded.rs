//! Recorded values, as the crypto crate keeps them: `name = hex`, long ones on indented lines.

use std::collections::BTreeMap;
use std::convert::Infallible;

use crate::rows::NotRun;

/// The values of one file by name.
pub(crate) struct Vectors(BTreeMap<String, Vec<u8>>);

impl Vectors {
    /// Of the text of a file.
    pub(crate) fn parse(text: &str) -> Result<Self, NotRun> {
        let mut values: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut current = String::new();
        for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
            let hex = match line.split_once(" =") {
                Some((name, hex)) => {
                    name.clone_into(&mut current);
                    hex
                }
                None => line,
            };
            values.entry(current.clone()).or_default().extend(from_hex(hex.trim())?);
        }
        Ok(Self(values))
    }

    /// A value.
    pub(crate) fn bytes(&self, name: &str) -> Result<&[u8], NotRun> {
        self.0.get(name).map(Vec::as_slice).ok_or_else(|| NotRun(format!("nothing recorded as {name}")))
    }

    /// A value of a length that is known.
    pub(crate) fn array<const N: usize>(&self, name: &str) -> Result<[u8; N], NotRun> {
        self.bytes(name)?.try_into().map_err(|_| NotRun(format!("{name} has another length")))
    }
}

/// Bytes of their hexadecimal digits.
pub(crate) fn from_hex(text: &str) -> Result<Vec<u8>, NotRun> {
    let pairs = text.as_bytes().chunks(2);
    let bytes = pairs.map(|pair| u8::from_str_radix(&String::from_utf8_lossy(pair), 16));
    Ok(bytes.collect::<Result<_, _>>()?)
}

/// Gives out recorded bytes in place of random ones.
pub(crate) struct Recorded(Vec<u8>);

impl Recorded {
    /// These values one after the other.
    pub(crate) fn of(vectors: &Vectors, names: &[&str]) -> Result<Self, NotRun> {
        let values = names.iter().map(|name| vectors.bytes(name)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self(values.concat()))
    }
}

impl rand::TryRng for Recorded {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes).map(|()| u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes).map(|()| u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), Infallible> {
        dest.fill(0);
        let taken = dest.len().min(self.0.len());
        dest.iter_mut().zip(self.0.drain(..taken)).for_each(|(to, byte)| *to = byte);
        Ok(())
    }
}

impl rand::TryCryptoRng for Recorded {}
