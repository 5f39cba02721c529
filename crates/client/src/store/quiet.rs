//! A panic of redb on a damaged file, as a value.
//!
//! redb takes a good part of what it reads for what it wrote: some damaged bytes make it panic
//! where an error would do. At the start, where damage is found, that must not be the last word.

use std::cell::Cell;
use std::panic::{self, UnwindSafe};
use std::sync::Once;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}
static HOOK: Once = Once::new();

/// A panic that was caught, its message unsaid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Panicked;

/// What `work` gives, or that it panicked. Panics of other threads are reported as ever.
pub(crate) fn quietly<T>(work: impl FnOnce() -> T + UnwindSafe) -> Result<T, Panicked> {
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                usual(info);
            }
        }));
    });
    QUIET.set(true);
    let result = panic::catch_unwind(work).map_err(|_| Panicked);
    QUIET.set(false);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_value() {
        assert_eq!(quietly(|| panic!("not shown")), Err::<(), _>(Panicked));
        assert_eq!(quietly(|| 7), Ok(7));
        assert!(!QUIET.get());
    }
}
