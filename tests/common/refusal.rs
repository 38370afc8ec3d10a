//! Command lines that are refused.

use std::path::Path;

use crate::command::ssan;

/// Runs what must fail with `code`, and one line of error on standard error that has all of `words`.
pub fn fails(folder: &Path, line: &str, code: i32, words: &[&str]) {
    let output = ssan(folder, line);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{line}: {error}");
    let lines: Vec<&str> = error.lines().filter(|l| l.starts_with("error: ")).collect();
    assert_eq!(lines.len(), 1, "{line}: {error}");
    for word in words {
        assert!(
            lines[0].contains(word),
            "{line}: {word:?} is not in {error}"
        );
    }
}
