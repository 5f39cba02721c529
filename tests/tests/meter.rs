//! The meter of memory, in a process of its own: tests beside it would be measured, too.
#![allow(missing_docs)]

use std::hint::black_box;

use p2pchat_harness::meter::measure;

const MIB: usize = 1 << 20;

#[test]
fn what_was_given_back_counts_for_the_peak_and_what_was_kept_for_both() {
    let (kept, took) = measure(|| {
        drop(black_box(vec![1_u8; 64 * MIB]));
        black_box(vec![1_u8; 32 * MIB])
    });
    assert!((64 * MIB..65 * MIB).contains(&took.peak), "{took:?}");
    assert!((32 * MIB..33 * MIB).contains(&took.kept), "{took:?} of {}", kept.len());
}
