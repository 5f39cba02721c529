//! Characters that steer or hide. A list of the harness's own, so that the product is not its own judge.

use std::ops::RangeInclusive;

/// C0 and DEL, C1 (ECMA-48).
const CONTROLS: [RangeInclusive<u32>; 2] = [0x00..=0x1f, 0x7f..=0x9f];

/// Bidirectional controls, zero-width characters, fillers, separators, tags (Unicode 17:
/// `Bidi_Control`, `Default_Ignorable_Code_Point`, `Zl`, `Zp`), apart from joiners and variation
/// selectors, without which several scripts and emoji cannot be written.
const INVISIBLE: [RangeInclusive<u32>; 13] = [
    0xad..=0xad,
    0x34f..=0x34f,
    0x61c..=0x61c,
    0x115f..=0x1160,
    0x180e..=0x180e,
    0x200b..=0x200b,
    0x200e..=0x200f,
    0x2028..=0x202e,
    0x2060..=0x206f,
    0x3164..=0x3164,
    0xfeff..=0xfeff,
    0xfff9..=0xfffb,
    0xe_0000..=0xe_007f,
];

/// Whether nobody sees `c`, while it changes how others are read or what a terminal does.
pub(super) fn steers(c: char) -> bool {
    let number = u32::from(c);
    CONTROLS.iter().chain(&INVISIBLE).any(|range| range.contains(&number))
}

/// Whether any character of a line does.
pub(super) fn any_steers(line: &str) -> bool {
    line.chars().any(steers)
}

/// Every invisible one.
pub(super) fn invisible() -> impl Iterator<Item = char> {
    INVISIBLE.into_iter().flatten().filter_map(char::from_u32)
}
