//! The BLAKE3 hash of a file, made of its chunks while they pass.
//!
//! Chunks are aligned subtrees of BLAKE3's tree, so each is hashed by itself, and their chaining
//! values are merged into the hash that `b3sum` would show for the whole file (BLAKE3 paper,
//! section 2.1).

use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use p2pchat_proto::transfer::CHUNK_LEN;

/// How content of known size is cut into chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunks {
    total: u64,
}

/// Bytes of one chunk, as the arithmetic of sizes wants it.
const CHUNK: u64 = CHUNK_LEN as u64;

impl Chunks {
    /// The chunks of `total` bytes.
    pub const fn of(total: u64) -> Self {
        Self { total }
    }

    /// Bytes in all.
    pub const fn total(self) -> u64 {
        self.total
    }

    /// How many there are; none where there is no content.
    pub const fn count(self) -> u64 {
        self.total.div_ceil(CHUNK)
    }

    /// Bytes of chunk `index`; 0 past the end.
    pub fn len_of(self, index: u64) -> usize {
        let left = self.total.saturating_sub(self.offset_of(index)).min(CHUNK);
        usize::try_from(left).unwrap_or(CHUNK_LEN)
    }

    /// Where chunk `index` begins, in bytes.
    pub const fn offset_of(self, index: u64) -> u64 {
        let offset = index.saturating_mul(CHUNK);
        if offset < self.total { offset } else { self.total }
    }
}

/// Hashes the chunks of one file in order. Lives over all attempts at a carrier, so each chunk is
/// hashed once.
#[derive(Debug, Clone)]
pub struct TreeHasher {
    chunks: Chunks,
    /// Chunks hashed, from the start and without a gap.
    hashed: u64,
    /// Chaining values of whole subtrees, each at most as large as the one before it.
    subtrees: Vec<ChainingValue>,
    /// Where one chunk is all there is, it is the root itself.
    only: Option<[u8; 32]>,
}

impl TreeHasher {
    /// Of a file of `total` bytes.
    pub const fn new(total: u64) -> Self {
        Self { chunks: Chunks::of(total), hashed: 0, subtrees: Vec::new(), only: None }
    }

    /// How many chunks were hashed.
    pub const fn hashed(&self) -> u64 {
        self.hashed
    }

    /// Hashes the next chunk, which must have the length of chunk [`Self::hashed`].
    /// Any other changes nothing and is answered with `false`.
    pub fn push(&mut self, chunk: &[u8]) -> bool {
        if self.hashed >= self.chunks.count() || chunk.len() != self.chunks.len_of(self.hashed) {
            return false;
        }
        if self.chunks.count() == 1 {
            self.only = Some(*blake3::hash(chunk).as_bytes());
        } else {
            let mut hasher = blake3::Hasher::new();
            hasher.set_input_offset(self.chunks.offset_of(self.hashed)).update(chunk);
            // Subtrees of equal size are merged only when more content follows them, because the
            // last merge is the root's and differs.
            while self.subtrees.len() > self.hashed.count_ones() as usize {
                self.merge_last_two();
            }
            self.subtrees.push(hasher.finalize_non_root());
        }
        self.hashed = self.hashed.saturating_add(1);
        true
    }

    /// The hash of the file, once every chunk of it was hashed.
    pub fn finish(mut self) -> Option<[u8; 32]> {
        if self.hashed != self.chunks.count() {
            return None;
        }
        if self.chunks.total() == 0 {
            return Some(*blake3::hash(b"").as_bytes());
        }
        if self.only.is_some() {
            return self.only;
        }
        while self.subtrees.len() > 2 {
            self.merge_last_two();
        }
        let [left, right] = self.subtrees.first_chunk::<2>()?;
        Some(*merge_subtrees_root(left, right, Mode::Hash).as_bytes())
    }

    fn merge_last_two(&mut self) {
        if let (Some(right), Some(left)) = (self.subtrees.pop(), self.subtrees.pop()) {
            self.subtrees.push(merge_subtrees_non_root(&left, &right, Mode::Hash));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn content(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i.wrapping_mul(31) ^ (i >> 8)) as u8).collect()
    }

    fn tree_hash(content: &[u8]) -> [u8; 32] {
        let mut tree = TreeHasher::new(content.len() as u64);
        for chunk in content.chunks(CHUNK_LEN) {
            assert!(tree.push(chunk));
        }
        tree.finish().unwrap()
    }

    #[test]
    fn merged_chunks_give_the_hash_of_the_whole() {
        let lengths = [0, 1, 1024, 1025, CHUNK_LEN - 1, CHUNK_LEN, CHUNK_LEN + 1];
        let trees = (2..=9).flat_map(|n| [n * CHUNK_LEN - 1, n * CHUNK_LEN, n * CHUNK_LEN + 1]);
        for len in lengths.into_iter().chain(trees) {
            let content = content(len);
            assert_eq!(tree_hash(&content), *blake3::hash(&content).as_bytes(), "{len} bytes");
        }
    }

    #[test]
    fn a_chunk_of_the_wrong_length_or_past_the_end_changes_nothing() {
        let mut tree = TreeHasher::new(CHUNK + 5);
        assert!(!tree.push(&[0; CHUNK_LEN - 1]));
        assert!(!tree.push(&[]));
        assert!(tree.push(&[0; CHUNK_LEN]));
        assert!(!tree.push(&[0; 4]) && !tree.push(&[0; 6]) && !tree.push(&[0; CHUNK_LEN]));
        assert!(tree.clone().finish().is_none());
        assert!(tree.push(&[0; 5]));
        assert!(!tree.push(&[]));
        assert_eq!(tree.finish().unwrap(), *blake3::hash(&vec![0; CHUNK_LEN + 5]).as_bytes());
    }

    #[test]
    fn sizes_at_the_end_of_the_scale_do_not_overflow() {
        let chunks = Chunks::of(u64::MAX);
        assert_eq!(chunks.count(), 1 << 46);
        assert_eq!(chunks.len_of(chunks.count() - 1), CHUNK_LEN - 1);
        assert_eq!(chunks.len_of(u64::MAX), 0);
        assert_eq!(Chunks::of(0).count(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn any_length_hashes_as_the_whole_does(len in 0..5 * CHUNK_LEN) {
            let content = content(len);
            prop_assert_eq!(tree_hash(&content), *blake3::hash(&content).as_bytes());
        }
    }
}
