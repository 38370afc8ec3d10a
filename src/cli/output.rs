//! Where text for people and for programs goes. A reader that has gone away ends nothing.

use std::io::{ErrorKind, Write};

use crate::error::{Error, Result};

/// Writes a line to standard error.
pub(super) fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Writes a line to standard output. A reader that has gone away is no error.
///
/// # Errors
/// It cannot be written, for instance to a disk that is full.
pub(super) fn print(line: &str) -> Result<()> {
    match writeln!(std::io::stdout(), "{line}") {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            let cause = format!("cannot be written: {e}");
            Err(Error::file("standard output", cause))
        }
        _ => Ok(()),
    }
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
