//! Where text for people and for programs goes. A reader that has gone away ends nothing.

use std::io::{ErrorKind, Write};

use comfy_table::{Table, presets};

use crate::error::{Error, Result};

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

/// Text for people: on standard output, or on standard error where that is kept for JSON.
pub(super) struct Text {
    pub json: bool,
}

impl Text {
    /// Writes a line.
    ///
    /// # Errors
    /// As [`print`].
    pub fn line(&self, line: impl std::fmt::Display) -> Result<()> {
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
