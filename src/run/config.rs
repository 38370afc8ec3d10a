//! `config.toml`: all that a run was told.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files;

/// Everything that a run depends on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What trained.
    #[serde(default)]
    pub program: Program,
    /// What was read.
    #[serde(default)]
    pub data: Fingerprints,
    /// Options of `ssan train` by their long names.
    #[serde(default)]
    pub options: toml::Table,
}

/// The program of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Its version.
    pub version: String,
    /// The device it trained on.
    pub device: String,
    /// Partitions of the largest group that trained side by side, where it was not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions_at_once: Option<usize>,
}

/// SHA-256 of the files that a run reads, in hexadecimal; `None` for what it does not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fingerprints {
    /// Of `--source`.
    pub source: Option<String>,
    /// Of `--target`.
    pub target: Option<String>,
    /// Of `--split`.
    pub split: Option<String>,
    /// Of `--init`.
    pub init: Option<String>,
}

impl Config {
    /// The file's text.
    pub fn to_toml(&self) -> String {
        let text = toml::to_string(self).expect("tables of plain values");
        format!("# `ssan train --config` with this file repeats the run.\n\n{text}")
    }

    /// Reads a `config.toml`, or one written by hand with a table `[options]` alone.
    ///
    /// # Errors
    /// The file cannot be read or is none.
    pub fn load(path: &Path) -> Result<Config> {
        let text = files::read_text(path)?;
        files::parse_toml(&text)
            .map_err(|cause| Error::file(path, format!("{cause}; options stand under [options]")))
    }
}

impl Fingerprints {
    /// Each with the option that names its file.
    pub fn named(&self) -> [(&'static str, &Option<String>); 4] {
        [
            ("source", &self.source),
            ("target", &self.target),
            ("split", &self.split),
            ("init", &self.init),
        ]
    }
}
