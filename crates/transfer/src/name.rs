//! File names that are safe to create: in one directory, on every file system, shown anywhere.

use core::fmt;

use p2pchat_proto::text::cut;

/// Most bytes of a name: `NAME_MAX` of Linux; Windows allows 255 UTF-16 units, which are never
/// more than the UTF-8 bytes.
pub const SAFE_NAME_MAX: usize = 255;
/// What a file is called whose offered name holds nothing that can be kept.
pub const NAMELESS: &str = "file";

/// Stands where a character stood that may not.
const STAND_IN: char = '_';
/// Longest extension that is kept when a name is shortened, in bytes, with its dot.
const EXTENSION_MAX: usize = 16;

/// A name under which a file from a stranger may be created in a directory.
///
/// It is one component and never empty, `.` or `..`; holds no separator, drive letter, stream of
/// NTFS, control, bidirectional or invisible character; is no device of Windows; does not begin
/// with a dot, so that nothing hidden (`.profile`) comes to be; does not end with a dot or a space,
/// which Windows drops; and has at most [`SAFE_NAME_MAX`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SafeName(String);

impl SafeName {
    /// The safe name nearest to `offered`. A safe name stays as it is.
    pub fn parse_or_rename(offered: &str) -> Self {
        let mut name: String = offered.chars().map(|c| if is_safe(c) { c } else { STAND_IN }).collect();
        if name.trim().is_empty() {
            NAMELESS.clone_into(&mut name);
        }
        if name.starts_with('.') || name.starts_with(is_combining) {
            let len = if name.starts_with('.') { 1 } else { 0 };
            name.replace_range(..len, &STAND_IN.to_string());
        }
        name = shortened(&name, "");
        if is_device(&name) {
            name = shortened(&format!("{STAND_IN}{name}"), "");
        }
        replace_dropped_ending(&mut name);
        Self(name)
    }

    /// This name, told apart from others by a number: `song (1).mp3`.
    pub fn numbered(&self, number: u32) -> Self {
        Self(shortened(&self.0, &format!(" ({number})")))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SafeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `name` with `suffix` before its extension, the stem cut so that all of it fits.
fn shortened(name: &str, suffix: &str) -> String {
    let dot = name.rfind('.').filter(|at| name.len() - at <= EXTENSION_MAX);
    let (stem, extension) = name.split_at(dot.unwrap_or(name.len()));
    let room = SAFE_NAME_MAX - extension.len() - suffix.len();
    format!("{}{suffix}{extension}", cut(stem, room))
}

/// Windows drops dots and spaces at the end of a name, and so would find another file.
fn replace_dropped_ending(name: &mut String) {
    let kept = name.trim_end_matches(|c: char| c == '.' || c.is_whitespace()).len();
    let dropped = name.split_off(kept);
    name.extend(dropped.chars().map(|_| STAND_IN));
}

/// Whether a device of Windows has this name, whatever the extension ("Naming Files, Paths, and
/// Namespaces", Microsoft): the superscript digits count as digits there.
fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_uppercase();
    match stem.as_str() {
        "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$" => true,
        stem => {
            let number = stem.strip_prefix("COM").or_else(|| stem.strip_prefix("LPT"));
            let mut digits = number.unwrap_or_default().chars();
            matches!((digits.next(), digits.next()), (Some('0'..='9' | '\u{b9}' | '\u{b2}' | '\u{b3}'), None))
        }
    }
}

/// Whether `c` may stand in a name.
fn is_safe(c: char) -> bool {
    let reserved = matches!(c, '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|');
    // Spaces other than U+0020 are shown like it, or break a line.
    let odd_space = c.is_whitespace() && c != ' ';
    !(c.is_control() || reserved || odd_space || is_invisible(c))
}

/// Characters without a shape of their own that hide or reorder what stands around them: Unicode's
/// format characters (Cf), its default-ignorable ones, and the replacement of interlinear text.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{600}'..='\u{605}' | '\u{6dd}' | '\u{70f}'
        | '\u{890}'..='\u{891}' | '\u{8e2}' | '\u{110bd}' | '\u{110cd}'
        | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Whether `c` is drawn onto the character before it: at the beginning of a name it would change
/// what stands in front of the name. The blocks named "Combining …" of Unicode.
fn is_combining(c: char) -> bool {
    matches!(c,
        '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{591}'..='\u{5bd}' | '\u{610}'..='\u{61a}'
        | '\u{64b}'..='\u{65f}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}'
        | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}'
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn renamed(offered: &str) -> String {
        SafeName::parse_or_rename(offered).0
    }

    #[test]
    fn an_ordinary_name_stays_as_it_is() {
        for name in [
            "song.mp3",
            "song of the sea.mp3",
            "archive.tar.gz",
            "README",
            "\u{e9}t\u{e9}.txt",
            "\u{1f3b5}.ogg",
            "\u{5e9}\u{5dc}\u{5d5}\u{5dd}.pdf",
            "-rf",
            "console.log",
            "com10.txt",
            "nul_.txt",
            "a (1).b",
        ] {
            assert_eq!(renamed(name), name);
        }
    }

    #[test]
    fn a_name_is_shown_as_it_is() {
        assert_eq!(SafeName::parse_or_rename("song.mp3").to_string(), "song.mp3");
    }

    #[test]
    fn a_name_that_points_elsewhere_stays_in_its_directory() {
        let cases = [
            ("", "file"),
            (" ", "file"),
            (".", "_"),
            ("..", "__"),
            ("...", "___"),
            ("a/../b", "a_.._b"),
            ("/etc/x", "_etc_x"),
            ("../../.ssh/authorized_keys", "_._.._.ssh_authorized_keys"),
            ("\\\\srv\\x", "__srv_x"),
            ("C:x", "C_x"),
            ("C:\\x", "C__x"),
            ("\\\\?\\", "____"),
            ("a\0b", "a_b"),
            (".profile", "_profile"),
        ];
        for (offered, safe) in cases {
            assert_eq!(renamed(offered), safe, "{offered:?}");
        }
    }

    #[test]
    fn a_name_that_means_something_else_to_windows_is_renamed() {
        let cases = [
            ("CON", "_CON"),
            ("nul.txt", "_nul.txt"),
            ("nul .txt", "_nul .txt"),
            ("Aux.tar.gz", "_Aux.tar.gz"),
            ("COM1", "_COM1"),
            ("com9.log", "_com9.log"),
            ("COM\u{b9}", "_COM\u{b9}"),
            ("lpt\u{b2}.x", "_lpt\u{b2}.x"),
            ("conin$", "_conin$"),
            ("x.", "x_"),
            ("x ", "x_"),
            ("x. .", "x___"),
            ("CON.", "_CON_"),
            ("a:b", "a_b"),
            ("a:b:$DATA", "a_b_$DATA"),
            ("a<b>|?*\".txt", "a_b_____.txt"),
        ];
        for (offered, safe) in cases {
            assert_eq!(renamed(offered), safe, "{offered:?}");
        }
    }

    #[test]
    fn a_name_that_would_be_shown_as_another_is_renamed() {
        let cases = [
            ("\u{1b}[2Jx", "_[2Jx"),
            ("\u{9b}31m", "_31m"),
            ("a\nalice: hi", "a_alice_ hi"),
            ("a\r\u{8}b", "a__b"),
            ("gpj\u{202e}exe.", "gpj_exe_"),
            ("a\u{2066}b\u{2069}", "a_b_"),
            ("a\u{200b}b", "a_b"),
            ("a\u{a0}b\u{2003}c", "a_b_c"),
            ("\u{301}\u{301}", "_\u{301}\u{301}"),
            ("a\u{e0041}b", "a_b"),
        ];
        for (offered, safe) in cases {
            assert_eq!(renamed(offered), safe, "{offered:?}");
        }
    }

    #[test]
    fn a_long_name_is_cut_before_its_extension() {
        let name = renamed(&format!("{}.mp3", "\u{e9}".repeat(400)));
        assert_eq!(name.len(), SAFE_NAME_MAX - 1, "a half character is left out");
        assert!(name.ends_with("\u{e9}.mp3"));
        assert_eq!(renamed(&format!("nul{}x.txt", " ".repeat(300))).get(..5), Some("_nul "));
        assert_eq!(renamed(&"a".repeat(256)).len(), SAFE_NAME_MAX);
        let odd = renamed(&format!("a.{}", "b".repeat(400)));
        assert_eq!(odd.len(), SAFE_NAME_MAX);
    }

    #[test]
    fn names_are_numbered_before_the_extension_and_stay_within_the_limit() {
        let numbered = |name: &str, n| SafeName::parse_or_rename(name).numbered(n).0;
        assert_eq!(numbered("song.mp3", 1), "song (1).mp3");
        assert_eq!(numbered("README", 2), "README (2)");
        let long = numbered(&format!("{}.mp3", "a".repeat(300)), u32::MAX);
        assert_eq!(long.len(), SAFE_NAME_MAX);
        assert!(long.ends_with("a (4294967295).mp3"));
    }

    /// Characters that matter to the rule, more often than chance would bring them.
    fn hostile() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            any::<char>().prop_map(String::from),
            "[./\\\\: \u{202e}\u{0}\u{1b}\u{300}a]{1,3}",
            Just("con".to_owned()),
            Just("COM\u{b9}".to_owned()),
            Just("\u{e9}".repeat(90)),
        ];
        proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn every_offered_name_becomes_one_safe_component(offered in hostile(), number in 1u32..) {
            for name in [SafeName::parse_or_rename(&offered), SafeName::parse_or_rename(&offered).numbered(number)] {
                let text = name.as_str();
                prop_assert!(!text.is_empty() && text.len() <= SAFE_NAME_MAX, "{text:?}");
                prop_assert!(text.chars().all(is_safe), "{text:?}");
                prop_assert!(!text.starts_with('.') && !text.ends_with(['.', ' ']), "{text:?}");
                prop_assert!(!is_device(text), "{text:?}");
                let path = std::path::Path::new("/downloads").join(text);
                prop_assert_eq!(path.parent(), Some(std::path::Path::new("/downloads")));
                prop_assert_eq!(path.file_name(), Some(std::ffi::OsStr::new(text)));
            }
        }

        #[test]
        fn a_safe_name_stays_as_it_is(offered in hostile()) {
            let name = SafeName::parse_or_rename(&offered);
            prop_assert_eq!(SafeName::parse_or_rename(name.as_str()), name);
        }
    }
}
