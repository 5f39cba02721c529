//! Recorded values in text files: `name = hex`, long ones on indented lines below, `#` comments.

use std::collections::BTreeMap;

/// The values of one file by name.
pub(crate) struct Vectors {
    values: BTreeMap<String, Vec<u8>>,
}

impl Vectors {
    pub(crate) fn parse(text: &str) -> Self {
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
            values.entry(current.clone()).or_default().extend(from_hex(hex.trim()));
        }
        Self { values }
    }

    #[expect(clippy::panic, reason = "a file of the source that lacks a value is a bug of the source")]
    pub(crate) fn bytes(&self, name: &str) -> &[u8] {
        let Some(bytes) = self.values.get(name) else { panic!("no vector {name}") };
        bytes
    }
}

#[expect(clippy::panic, reason = "a file of the source that is not hex is a bug of the source")]
fn from_hex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| {
        let Some(digit) = char::from(byte).to_digit(16) else { panic!("not hex: {text}") };
        u8::try_from(digit).unwrap_or_default()
    };
    text.as_bytes().chunks(2).map(|pair| pair.iter().fold(0, |byte, &d| byte << 4 | digit(d))).collect()
}

#[cfg(test)]
mod golden {
    use super::*;

    impl Vectors {
        pub(crate) fn array<const N: usize>(&self, name: &str) -> [u8; N] {
            self.bytes(name).try_into().unwrap_or_else(|_| panic!("vector {name} has another length"))
        }

        /// Compares what was computed with what is recorded, and says on a difference what the
        /// file would have to hold.
        pub(crate) fn expect(&self, computed: &[(&str, Vec<u8>)]) {
            let differs = computed.iter().any(|(name, bytes)| self.values.get(*name) != Some(bytes));
            let text: String = computed.iter().map(|(name, bytes)| line(name, bytes)).collect();
            assert!(!differs, "the wire has changed; computed:\n{text}");
        }
    }

    fn line(name: &str, bytes: &[u8]) -> String {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        if name.len() + hex.len() <= 105 {
            return format!("{name} = {hex}\n");
        }
        let lines: Vec<&str> = hex.as_bytes().chunks(100).map(|c| core::str::from_utf8(c).unwrap()).collect();
        format!("{name} =\n  {}\n", lines.join("\n  "))
    }
}
