//! What row K11 has to see: the MAC of a hello, handled as nobody should.

use std::hint::black_box;

use p2pchat_crypto::carrier::{CarrierSecret, hello_mac};

use crate::{Bench, Done, Operation};

/// A comparison that ends where the two differ.
pub const ENDS_EARLY: &str = "double-ends-early";
/// A table that is read where a secret says.
pub const LOOKS_UP: &str = "double-looks-up";

/// These doubles.
pub const DOUBLES: &[Operation] =
    &[Operation { name: ENDS_EARLY, run: ends_early }, Operation { name: LOOKS_UP, run: looks_up }];

const SECRET: [u8; 32] = [7; 32];

/// A byte for each byte.
static TABLE: [u8; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < table.len() {
        table[at] = (at as u8).wrapping_mul(5) ^ 0x5a;
        at += 1;
    }
    table
};

fn macs(bench: &mut Bench<'_>) -> [[u8; 16]; 2] {
    let secret = CarrierSecret::from_bytes(bench.secret(SECRET));
    [hello_mac(&secret, &[b"D"]), hello_mac(&CarrierSecret::from_bytes(SECRET), &[b"D"])]
}

fn ends_early(bench: &mut Bench<'_>) -> Done {
    let [secret, public] = macs(bench);
    // What a branch decides is as public as the branch: memcheck only sees the branch.
    if !secret.iter().zip(&public).all(|(one, other)| black_box(*one) == black_box(*other)) {
        return Err("the MACs differ".into());
    }
    bench.gives(&secret, &public)
}

fn looks_up(bench: &mut Bench<'_>) -> Done {
    let [secret, public] = macs(bench);
    // What is read is as public as the table: memcheck only sees where it is read.
    let look_up = |mac: [u8; 16]| mac.map(|byte| byte ^ black_box(&TABLE)[usize::from(byte)]);
    bench.gives(&look_up(secret), &look_up(public))
}
