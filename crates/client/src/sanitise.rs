//! Makes text from outside safe to show: the one sanitiser of every output.
//!
//! What [`line`] lets through moves no cursor, starts no escape sequence, turns no direction and
//! breaks no line, so whatever a peer writes stays within the line that was given to it. What is
//! taken out leaves a visible mark in its place. Written text of all scripts and emoji stay as they
//! are; a text is never shortened, only made visible.
//!
//! JSON escapes losslessly instead: see [`needs_escape`].

use std::borrow::Cow;
use std::fmt::Write as _;

use unicode_width::UnicodeWidthChar as _;

/// Most combining marks that are drawn over one character. Living orthographies stay within it
/// (Hebrew letters with points and an accent, Tibetan stacks, decomposed Vietnamese); what has more
/// is meant to spill over neighbouring lines.
pub const MARKS_MAX: usize = 4;

/// Stands for a tabulator, whose width would depend on what stands before it.
const TAB: &str = "    ";
/// Carries a combining mark that has nothing to combine with (Unicode 17, section 2.11).
const DOTTED_CIRCLE: char = '\u{25cc}';
/// Stands for the marks beyond [`MARKS_MAX`].
const REPLACEMENT: char = '\u{fffd}';

/// `text` as one line that is safe to show on a terminal, in a log or in a title.
///
/// Control characters become their pictures (`␛`, `␊`), invisible and reordering characters their
/// number (`\u{202e}`), marks without or beyond a base a visible sign.
pub fn line(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(Cleaner::default().clean(text))
}

/// Whether a character must not stand as it is in a JSON text that somebody may look at: JSON's own
/// escapes leave DEL, C1 controls and everything that reorders or hides text.
pub fn needs_escape(c: char) -> bool {
    c.is_control() || is_hidden(c)
}

/// What was written of the character that marks and joiners would attach to.
#[derive(Default)]
struct Cleaner {
    out: String,
    base: Option<char>,
    marks: usize,
}

impl Cleaner {
    fn clean(mut self, text: &str) -> String {
        self.out.reserve(text.len());
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '\t' => self.opaque(TAB),
                '\u{0}'..='\u{1f}' => self.picture(0x2400 + u32::from(c)),
                '\u{7f}' => self.picture(0x2421),
                '\u{200c}' | '\u{200d}' => self.joiner(c, chars.peek().copied()),
                hidden if is_hidden(hidden) => self.number(hidden),
                mark if mark.width() == Some(0) => self.mark(mark),
                visible => self.visible(visible),
            }
        }
        self.out
    }

    fn visible(&mut self, c: char) {
        self.out.push(c);
        self.base = Some(c);
        self.marks = 0;
    }

    fn opaque(&mut self, text: &str) {
        self.out.push_str(text);
        self.base = None;
        self.marks = 0;
    }

    fn picture(&mut self, number: u32) {
        self.visible(char::from_u32(number).unwrap_or(REPLACEMENT));
    }

    fn number(&mut self, c: char) {
        // Writing into a String cannot fail.
        let _ = write!(self.out, "\\u{{{:x}}}", u32::from(c));
        self.base = None;
        self.marks = 0;
    }

    fn mark(&mut self, c: char) {
        if self.base.is_none() {
            self.visible(DOTTED_CIRCLE);
        }
        self.marks += 1;
        if self.marks <= MARKS_MAX {
            self.out.push(c);
        } else if self.marks == MARKS_MAX + 1 {
            self.out.push(REPLACEMENT);
        }
    }

    /// Joiners shape words of several scripts and emoji; anywhere else they only hide a difference.
    fn joiner(&mut self, c: char, next: Option<char>) {
        let joins_before = self.base.is_some_and(|base| !base.is_ascii()) && self.marks <= MARKS_MAX;
        let joins_after = next.is_some_and(|next| {
            !next.is_ascii() && !next.is_control() && !is_hidden(next) && next.width().is_some_and(|w| w > 0)
        });
        if joins_before && joins_after {
            self.out.push(c);
            self.base = None;
        } else {
            self.number(c);
        }
    }
}

/// Characters that nobody sees and that change how others are read: C1 controls, direction marks,
/// overrides and isolates, zero-width characters, fillers, separators, tags, noncharacters
/// (Unicode 17: `Default_Ignorable_Code_Point`, `Bidi_Control`, `Cc`, `Zl`, `Zp`). Joiners and
/// variation selectors 1 to 16 are not among them.
fn is_hidden(c: char) -> bool {
    matches!(u32::from(c),
        0x80..=0x9f                 // C1 controls
        | 0xad                      // soft hyphen
        | 0x34f                     // combining grapheme joiner
        | 0x61c                     // Arabic letter mark
        | 0x115f..=0x1160           // Hangul fillers
        | 0x17b4..=0x17b5           // Khmer inherent vowels
        | 0x180b..=0x180f           // Mongolian selectors
        | 0x200b                    // zero width space
        | 0x200e..=0x200f           // direction marks
        | 0x2028..=0x202e           // separators, embeddings, overrides
        | 0x2060..=0x206f           // word joiner, invisible operators, isolates
        | 0x3164 | 0xffa0           // Hangul fillers
        | 0xfdd0..=0xfdef           // noncharacters
        | 0xfeff                    // byte order mark
        | 0xfff0..=0xfffb           // specials, interlinear annotation
        | 0x1_3430..=0x1_345f       // Egyptian format controls
        | 0x1_bca0..=0x1_bca3       // shorthand format controls
        | 0x1_d173..=0x1_d17a       // musical format controls
        | 0xe_0000..=0xe_0fff       // tags, variation selectors 17 to 256
    ) || u32::from(c) & 0xfffe == 0xfffe
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Default)]
    struct OnlyPrints {
        printed: String,
        other: usize,
    }

    impl vte::Perform for OnlyPrints {
        fn print(&mut self, c: char) {
            self.printed.push(c);
        }
        fn execute(&mut self, _: u8) {
            self.other += 1;
        }
        fn hook(&mut self, _: &vte::Params, _: &[u8], _: bool, _: char) {
            self.other += 1;
        }
        fn put(&mut self, _: u8) {
            self.other += 1;
        }
        fn unhook(&mut self) {
            self.other += 1;
        }
        fn osc_dispatch(&mut self, _: &[&[u8]], _: bool) {
            self.other += 1;
        }
        fn csi_dispatch(&mut self, _: &vte::Params, _: &[u8], _: bool, _: char) {
            self.other += 1;
        }
        fn esc_dispatch(&mut self, _: &[u8], _: bool, _: u8) {
            self.other += 1;
        }
    }

    fn hostile() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            4 => any::<char>().prop_map(String::from),
            2 => (0u32..0x20).prop_map(|c| char::from_u32(c).unwrap().to_string()),
            2 => (0x7fu32..0xa0).prop_map(|c| char::from_u32(c).unwrap().to_string()),
            2 => (0x2000u32..0x2070).prop_map(|c| char::from_u32(c).unwrap().to_string()),
            1 => (0xe_0000u32..0xe_0200).prop_map(|c| char::from_u32(c).unwrap().to_string()),
            1 => (0x300u32..0x370).prop_map(|c| char::from_u32(c).unwrap().to_string()),
            1 => Just("\u{1b}[31m".to_owned()),
            1 => Just("\u{1b}]52;c;aGk=\u{7}".to_owned()),
            1 => Just("\u{1b}P1$r\u{1b}\\".to_owned()),
            1 => Just("\u{9b}2J".to_owned()),
        ];
        proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
    }

    #[test]
    fn escape_sequences_become_pictures() {
        assert_eq!(line("\u{1b}[2Jhi\u{7}"), "␛[2Jhi␇");
        assert_eq!(line("\u{9b}2J"), "\\u{9b}2J");
        assert_eq!(line("a\u{7f}"), "a␡");
    }

    #[test]
    fn no_line_can_be_forged() {
        assert_eq!(line("hi\nalice: bye\r\u{8}"), "hi␊alice: bye␍␈");
        assert_eq!(line("a\u{2028}b\u{85}c"), "a\\u{2028}b\\u{85}c");
    }

    #[test]
    fn direction_overrides_and_isolates_are_spelled_out() {
        assert_eq!(line("abc\u{202e}gpj.exe"), "abc\\u{202e}gpj.exe");
        assert_eq!(line("\u{2066}x\u{2069}"), "\\u{2066}x\\u{2069}");
    }

    #[test]
    fn zero_width_characters_and_tags_are_spelled_out() {
        assert_eq!(line("al\u{200b}ice"), "al\\u{200b}ice");
        assert_eq!(line("al\u{200d}ice"), "al\\u{200d}ice");
        assert_eq!(line("x\u{e0041}"), "x\\u{e0041}");
    }

    #[test]
    fn written_text_of_all_scripts_and_emoji_stay_as_they_are() {
        for text in [
            "grüße, 日本語, שלום, مرحبا",
            "می\u{200c}خواهم",
            "👩\u{200d}👩\u{200d}👧 ❤\u{fe0f}\u{200d}🔥 👍🏽 🇩🇪",
            "Vi\u{1ec7}t Vie\u{323}\u{302}t",
            "क्\u{200d}ष",
        ] {
            assert_eq!(line(text), text);
        }
    }

    #[test]
    fn a_joiner_stays_only_between_two_that_it_can_join() {
        assert_eq!(line("a\u{200d}👩"), "a\\u{200d}👩", "nothing of ASCII joins before");
        assert_eq!(line("👩\u{200d}a"), "👩\\u{200d}a", "nor after");
        assert_eq!(line("👩\u{200d}"), "👩\\u{200d}");
        assert_eq!(line("👩\u{200d}\u{202e}"), "👩\\u{200d}\\u{202e}", "nothing hidden is joined");
        assert_eq!(line("👩\u{200d}\u{85}"), "👩\\u{200d}\\u{85}", "nor a control");
        assert_eq!(line("👩\u{200d}\u{301}"), "👩\\u{200d}\u{25cc}\u{301}", "nor a mark");
        let stacked = format!("ש{}", "\u{5b0}".repeat(MARKS_MAX + 1));
        assert!(line(&format!("{stacked}\u{200d}ש")).ends_with("\u{fffd}\\u{200d}ש"), "nor what spills over");
    }

    #[test]
    fn a_tabulator_becomes_spaces_that_carry_no_mark() {
        assert_eq!(line("a\tb"), "a    b");
        assert_eq!(line("a\t\u{301}"), "a    \u{25cc}\u{301}");
    }

    #[test]
    fn the_last_two_of_every_plane_are_no_characters_and_are_spelled_out() {
        assert_eq!(line("\u{fffe}\u{ffff}"), "\\u{fffe}\\u{ffff}");
        assert_eq!(line("\u{1fffe}\u{10ffff}"), "\\u{1fffe}\\u{10ffff}");
    }

    #[test]
    fn what_json_must_escape_are_controls_and_what_is_hidden_and_nothing_else() {
        assert!(
            ['\u{0}', '\n', '\u{1b}', '\u{7f}', '\u{9b}', '\u{202e}', '\u{200b}']
                .into_iter()
                .all(needs_escape)
        );
        assert!(!['a', ' ', 'ü', 'ש', '👩'].into_iter().any(needs_escape));
    }

    #[test]
    fn stacked_marks_are_bounded_and_say_so() {
        let stacked = format!("a{}b", "\u{301}".repeat(1000));
        assert_eq!(line(&stacked), format!("a{}\u{fffd}b", "\u{301}".repeat(MARKS_MAX)));
    }

    #[test]
    fn a_mark_does_not_combine_with_what_was_not_its_own() {
        assert_eq!(line("\u{338}x"), "\u{25cc}\u{338}x");
    }

    proptest! {
        #[test]
        fn a_terminal_sees_nothing_but_print_actions(text in hostile()) {
            let safe = line(&text);
            let mut terminal = OnlyPrints::default();
            vte::Parser::new().advance(&mut terminal, safe.as_bytes());
            prop_assert_eq!(terminal.other, 0, "{:?}", safe);
            prop_assert_eq!(terminal.printed.as_str(), safe.as_ref());
        }

        #[test]
        fn nothing_hidden_is_left_and_marks_are_bounded(text in hostile()) {
            let safe = line(&text);
            prop_assert!(!safe.chars().any(needs_escape), "{:?}", safe);
            let mut marks = 0;
            for c in safe.chars() {
                marks = if c.width() == Some(0) { marks + 1 } else { 0 };
                prop_assert!(marks <= MARKS_MAX + 1, "{:?}", safe);
            }
            prop_assert_ne!(safe.chars().next().and_then(|c| c.width()), Some(0), "{:?}", safe);
        }

        #[test]
        fn what_is_safe_is_left_alone(text in hostile()) {
            let safe = line(&text).into_owned();
            prop_assert_eq!(line(&safe), safe.as_str());
        }
    }
}
