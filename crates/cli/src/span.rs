//! How long something lasts, as users write it: `90s`, `30m`, `12h`, `2d`, `4w`.

use core::fmt;
use core::str::FromStr;
use core::time::Duration;

/// Units and their seconds, the longest first.
const UNITS: [(char, u64); 5] = [('w', 7 * 86_400), ('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// A whole number of one unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(Duration);

/// For how long, or for ever: a [`Span`] that is not nothing, `never` or `forever`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime(pub Option<Duration>);

/// A text that is neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidSpan;

impl Span {
    /// That long.
    pub const fn new(duration: Duration) -> Self {
        Self(duration)
    }

    /// That long.
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl FromStr for Span {
    type Err = InvalidSpan;

    fn from_str(text: &str) -> Result<Self, InvalidSpan> {
        let unit = text.chars().last().and_then(|last| UNITS.iter().find(|(unit, _)| *unit == last));
        let (unit, seconds) = unit.ok_or(InvalidSpan)?;
        let number = text.strip_suffix(*unit).unwrap_or_default();
        if !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidSpan);
        }
        let seconds = number.parse().ok().and_then(|number: u64| number.checked_mul(*seconds));
        // So that it fits in milliseconds, too.
        let seconds = seconds.filter(|seconds| (0..=u64::MAX / 1_000).contains(seconds));
        seconds.map(|seconds| Self(Duration::from_secs(seconds))).ok_or(InvalidSpan)
    }
}

/// In the longest unit of which it is a whole number.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.0.as_secs();
        let whole = UNITS.iter().find(|(_, seconds)| all.is_multiple_of(*seconds));
        let (unit, seconds) = whole.copied().unwrap_or(('s', 1));
        write!(f, "{}{unit}", all / seconds)
    }
}

impl FromStr for Lifetime {
    type Err = InvalidSpan;

    fn from_str(text: &str) -> Result<Self, InvalidSpan> {
        match text {
            "never" | "forever" => Ok(Self(None)),
            span => match span.parse()? {
                Span(Duration::ZERO) => Err(InvalidSpan),
                Span(duration) => Ok(Self(Some(duration))),
            },
        }
    }
}

impl fmt::Display for InvalidSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("say how long: 90s, 30m, 12h, 2d or 4w; never or forever for no end")
    }
}

impl core::error::Error for InvalidSpan {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_a_number_of_one_unit_and_is_shown_in_the_longest() {
        for (text, seconds, shown) in [
            ("90s", 90, "90s"),
            ("120s", 120, "2m"),
            ("30m", 1_800, "30m"),
            ("36h", 129_600, "36h"),
            ("30d", 2_592_000, "30d"),
            ("14d", 1_209_600, "2w"),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!((span.duration(), span.to_string()), (Duration::from_secs(seconds), shown.to_owned()));
            assert_eq!(text.parse(), Ok(Lifetime(Some(span.duration()))));
        }
        for forever in ["never", "forever"] {
            assert_eq!(forever.parse(), Ok(Lifetime(None)));
        }
    }

    #[test]
    fn what_is_no_span_is_refused() {
        for wrong in ["", "h", "-1h", "+1h", "1.5h", "3x", "3", "1 h", "18446744073709551615w", "ever", "é"]
        {
            assert_eq!(wrong.parse::<Span>(), Err(InvalidSpan), "{wrong}");
            assert_eq!(wrong.parse::<Lifetime>(), Err(InvalidSpan), "{wrong}");
        }
        assert_eq!("0d".parse::<Lifetime>(), Err(InvalidSpan), "that long, nothing lasts");
    }
}
