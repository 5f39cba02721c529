//! A file's name that a stranger chose.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::path::{Component, Path};

use p2pchat_transfer::SafeName;

fuzz_target!(|offered: &str| {
    let name = SafeName::parse_or_rename(offered);
    for name in [name.numbered(1), name.numbered(u32::MAX), name] {
        let text = name.as_str();
        assert!(!text.is_empty() && text.len() <= 255);
        assert!(!text.chars().any(|c| c.is_control() || c == '/' || c == '\\'));
        let mut components = Path::new(text).components();
        assert!(matches!(components.next(), Some(Component::Normal(_))));
        assert_eq!(components.next(), None);
    }
});
