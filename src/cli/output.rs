//! Where text for people and for programs goes. A reader that has gone away ends nothing.

use std::io::{ErrorKind, Write};
use std::path::Path;

use clap::Args;
use comfy_table::{Table, presets};

use crate::error::{Error, Result};
use crate::run::RunDirectory;

/// Writes a line to standard error.
pub(super) fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Writes bytes to standard output. A reader that has gone away is no error.
///
/// # Errors
/// They cannot be written, for instance to a disk that is full.
pub(super) fn write(bytes: &[u8]) -> Result<()> {
    match std::io::stdout().write_all(bytes) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            let cause = format!("cannot be written: {e}");
            Err(Error::file("standard output", cause))
        }
        _ => Ok(()),
    }
}

/// Writes a line to standard output. A reader that has gone away is no error.
///
/// # Errors
/// It cannot be written, for instance to a disk that is full.
pub(super) fn print(line: &str) -> Result<()> {
    write(format!("{line}\n").as_bytes())
}

/// Refuses to write where, without `force`, a file is, and in any case over a file of a run but those
/// in `renewed`. `elsewhere` is how another place is named.
///
/// # Errors
/// It is so.
pub(super) fn may_write(path: &Path, force: bool, renewed: &[&str], elsewhere: &str) -> Result<()> {
    let own = RunDirectory::file_of_run(path);
    if own.is_some_and(|name| !renewed.contains(&&name[..])) {
        let cause = format!("belongs to the run in its folder: {elsewhere} names another place");
        return Err(Error::file(path, cause));
    }
    match path.is_file() && !force {
        true => Err(Error::file(
            path,
            format!("is there already: --force replaces it, {elsewhere} names another place"),
        )),
        false => Ok(()),
    }
}

/// How much a command says beside its result.
#[derive(Args, Clone, Copy, Default)]
pub(super) struct Talk {
    /// Say nothing but errors: no text, no notes, no progress
    #[arg(long, short, conflicts_with = "verbose", help_heading = "Output")]
    pub quiet: bool,

    /// Say more: memory, model, how it is computed
    #[arg(long, short, help_heading = "Output")]
    pub verbose: bool,
}

/// Text for people: on standard output, or on standard error where that is kept for JSON.
#[derive(Clone, Copy, Default)]
pub(super) struct Text {
    pub json: bool,
    pub talk: Talk,
}

impl Text {
    /// Writes a line that is asked for with `--verbose`.
    ///
    /// # Errors
    /// As [`print`].
    pub fn detail(&self, line: impl std::fmt::Display) -> Result<()> {
        match self.talk.verbose {
            true => self.line(line),
            false => Ok(()),
        }
    }

    /// Writes a note to standard error.
    pub fn note(&self, note: impl std::fmt::Display) {
        if !self.talk.quiet {
            complain(&format!("note: {note}"));
        }
    }

    /// Writes a line.
    ///
    /// # Errors
    /// As [`print`].
    pub fn line(&self, line: impl std::fmt::Display) -> Result<()> {
        if self.talk.quiet {
            return Ok(());
        }
        if self.json {
            complain(&line.to_string());
            return Ok(());
        }
        print(&line.to_string())
    }
}

/// The first few of many names.
pub(super) fn abridged(names: &[String]) -> String {
    const SHOWN: usize = 12;
    match names.len() {
        n if n <= SHOWN => names.join(", "),
        n => format!("{}, … {}", names[..SHOWN].join(", "), names[n - 1]),
    }
}

/// `1 row`, `2 rows`.
pub(super) fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// A table without lines.
pub(super) fn table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}
