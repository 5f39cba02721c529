//! Text that must fit a bound.

/// The longest beginning of `text` that has at most `max` bytes and ends between characters.
pub fn cut(text: &str, max: usize) -> &str {
    let end = (0..=max.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters_only() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abc", 2), "ab");
        assert_eq!(cut("a\u{e9}", 2), "a");
        assert_eq!(cut("\u{e9}", 1), "");
        assert_eq!(cut("", 0), "");
    }
}
