//! Where text for people and for programs goes. A reader that has gone away ends nothing.

use std::io::Write;

/// Writes a line to standard error.
pub(super) fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Text for people: on standard output, or on standard error where that is kept for JSON.
pub(super) struct Text {
    pub json: bool,
}

impl Text {
    /// Writes a line.
    pub fn line(&self, line: impl std::fmt::Display) {
        if self.json {
            complain(&line.to_string());
        } else {
            let _ = writeln!(std::io::stdout(), "{line}");
        }
    }
}
