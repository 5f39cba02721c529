//! The config file: TOML, one key for each global flag, nothing else.

use core::fmt::Display;
use core::net::SocketAddr;
use core::str::FromStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use p2pchat_client::{BrokerAddress, Failure};
use p2pchat_proto::Name;
use serde::{Deserialize, Deserializer};

use crate::args::{Accept, Color};
use crate::span::Lifetime;

/// Most bytes of a config file. It holds a few lines.
const CONFIG_MAX: u64 = 64 * 1024;

/// What stands in the file. `docs/config.md` describes each key.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "each key is the global flag of its name")]
pub struct ConfigFile {
    pub home: Option<PathBuf>,
    #[serde(deserialize_with = "parsed")]
    pub name: Option<Name>,
    #[serde(deserialize_with = "parsed")]
    pub default_profile: Option<Name>,
    pub anonymous: bool,
    #[serde(deserialize_with = "parsed")]
    pub broker: Option<BrokerAddress>,
    pub plain: bool,
    pub json: bool,
    pub quiet: bool,
    pub verbose: u8,
    pub log: Option<PathBuf>,
    pub color: Option<Color>,
    pub bind: Vec<SocketAddr>,
    pub advertise: Vec<SocketAddr>,
    pub bind_tcp: Vec<SocketAddr>,
    pub advertise_tcp: Vec<SocketAddr>,
    pub accept: Option<Accept>,
    pub accept_files: Option<Accept>,
    pub require_verified: bool,
    pub read_receipts: Option<bool>,
    #[serde(deserialize_with = "parsed")]
    pub expire: Option<Lifetime>,
    pub download_dir: Option<PathBuf>,
    pub passphrase_file: Option<PathBuf>,
    pub passphrase_fd: Option<u32>,
    pub linger: Option<u32>,
    pub timeout: Option<u32>,
}

impl ConfigFile {
    /// Reads a file; the empty one where there is none.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] with the place of the mistake; [`Failure::Local`] if it cannot be read.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        match fs::metadata(path) {
            Ok(metadata) if metadata.len() > CONFIG_MAX => {
                return Err(Failure::Usage(format!("{}: more than {CONFIG_MAX} bytes", path.display())));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(unreadable(path, &error)),
        }
        let text = fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
        Self::parse(&text).map_err(|what| Failure::Usage(format!("{}: {what}", path.display())))
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    ///
    /// What is wrong and where, in one line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: Self = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let what: Vec<_> = error.message().split_whitespace().collect();
            format!("line {line}: {}", what.join(" "))
        })?;
        if file.plain && file.json {
            return Err("plain and json exclude each other".to_owned());
        }
        Ok(file)
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::Local { what: format!("cannot read {}", path.display()), reason: error.to_string() }
}

fn parsed<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr,
    T::Err: Display,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn every_global_flag_has_a_key_of_its_name() {
        let command = crate::args::Cli::command();
        for flag in command.get_arguments().filter(|arg| arg.is_global_set()) {
            let key = flag.get_long().unwrap().replace('-', "_");
            let values =
                ["true", "1", "\"x1\"", "\"a:1\"", "[\"1.2.3.4:5\"]", "\"auto\"", "\"ask\"", "\"1h\""];
            let accepted = values.iter().any(|value| ConfigFile::parse(&format!("{key} = {value}")).is_ok());
            assert!(accepted, "{key}");
        }
    }

    #[test]
    fn an_unknown_key_is_an_error_with_its_line() {
        let error = ConfigFile::parse("broker = \"a:1\"\nbrocker = \"b:1\"\n").unwrap_err();
        assert!(error.starts_with("line 2: unknown field `brocker`"), "{error}");
        assert!(!error.contains('\n'));
    }

    #[test]
    fn values_are_checked_as_on_the_command_line() {
        assert!(ConfigFile::parse("name = \"Alice\"").unwrap_err().contains("a name is"));
        assert!(ConfigFile::parse("broker = \"nowhere\"").unwrap_err().contains("HOST:PORT"));
        assert!(ConfigFile::parse("plain = true\njson = true").is_err());
        assert!(ConfigFile::parse("accept = \"all\"").is_err());
    }

    #[test]
    fn an_absent_file_is_an_empty_one_and_a_large_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        assert_eq!(ConfigFile::read(&path), Ok(ConfigFile::default()));
        fs::write(&path, "#".repeat(70_000)).unwrap();
        assert_eq!(ConfigFile::read(&path).unwrap_err().code(), "usage");
    }
}
