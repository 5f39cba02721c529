//! What passed a relay, and what is in it.

use std::net::SocketAddr;

/// Bytes of one direction in the order in which they came.
#[derive(Debug, Clone, Default)]
pub struct Recording(Vec<u8>);

/// Something that must not be in a recording, under the name that a failure shows.
#[derive(Debug, Clone)]
pub struct Secret {
    /// What it is.
    pub what: String,
    /// Every form in which it would be recognised.
    pub forms: Vec<Vec<u8>>,
}

impl Secret {
    /// A text or a part of a file.
    pub fn bytes(what: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { what: what.into(), forms: vec![bytes.into()] }
    }

    /// An endpoint as text, as the codec writes it, and as the system keeps it.
    pub fn endpoint(what: impl Into<String>, endpoint: SocketAddr) -> Self {
        let ip = match endpoint.ip() {
            std::net::IpAddr::V4(v4) => v4.octets().to_vec(),
            std::net::IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        let (big, little) = (endpoint.port().to_be_bytes(), endpoint.port().to_le_bytes());
        let forms = vec![
            endpoint.to_string().into_bytes(),
            [&ip[..], &big].concat(),
            [&ip[..], &little].concat(),
            [&big[..], &ip].concat(),
        ];
        Self { what: what.into(), forms }
    }

    /// Whether any form of it is in `bytes`.
    pub fn is_in(&self, bytes: &[u8]) -> bool {
        self.forms.iter().any(|form| contains(bytes, form))
    }
}

impl Recording {
    /// Adds bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// How much was recorded, in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `secret` is in it.
    pub fn holds(&self, secret: &Secret) -> bool {
        secret.is_in(&self.0)
    }

    /// Whether `needle` is in it.
    pub fn contains(&self, needle: &[u8]) -> bool {
        contains(&self.0, needle)
    }
}

/// Whether `needle` is in `haystack`; an empty needle is nowhere.
pub fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    let Some((&first, rest)) = needle.split_first() else { return false };
    let mut from = 0;
    while let Some(found) = haystack.get(from..).and_then(|tail| tail.iter().position(|&byte| byte == first))
    {
        let after = from + found + 1;
        if haystack.get(after..).is_some_and(|tail| tail.starts_with(rest)) {
            return true;
        }
        from = after;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_needle_is_found_at_both_ends_and_in_the_middle() {
        for at in [0, 1, 500, 995] {
            let mut haystack = vec![b'n'; 1000];
            haystack[at..at + 5].copy_from_slice(b"nedle");
            assert!(contains(&haystack, b"nedle"), "at {at}");
        }
        assert!(!contains(b"needl", b"needle"));
        assert!(!contains(b"anything", b""));
    }

    #[test]
    fn an_endpoint_is_recognised_as_text_and_on_the_wire() {
        let endpoint: SocketAddr = "192.0.2.7:513".parse().unwrap();
        let secret = Secret::endpoint("endpoint", endpoint);
        assert!(secret.is_in(b"peer 192.0.2.7:513 said"));
        assert!(secret.is_in(&[9, 192, 0, 2, 7, 2, 1, 9]));
        assert!(!secret.is_in(&[9, 192, 0, 2, 7, 2, 2, 9]));
    }
}
