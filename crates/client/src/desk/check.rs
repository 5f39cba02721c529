//! What `p2pchat doctor` finds: one thing a check.

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// As it should be.
    Ok,
    /// It works, and could be better; or it could not be told.
    Warning,
    /// It does not work.
    Fault,
}

impl Health {
    /// In a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Fault => "fault",
        }
    }
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was looked at, in a word.
    pub what: &'static str,
    /// How it is.
    pub health: Health,
    /// What was found.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Check {
    /// As it should be.
    pub fn ok(what: &'static str, message: impl Into<String>) -> Self {
        Self { what, health: Health::Ok, message: message.into(), hint: None }
    }

    /// It could be better.
    pub fn warning(what: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what, health: Health::Warning, message: message.into(), hint: Some(hint.into()) }
    }

    /// It does not work.
    pub fn fault(what: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what, health: Health::Fault, message: message.into(), hint: Some(hint.into()) }
    }

    /// It does not work, because of a failure.
    pub fn failed(what: &'static str, failure: &p2pchat_engine::Failure) -> Self {
        let hint = failure.hint().map(String::from);
        Self { what, health: Health::Fault, message: failure.message(), hint }
    }
}
