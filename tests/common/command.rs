//! The built binary, as a user runs it.

use std::path::Path;
use std::process::{Command, Output};

/// Runs `ssan` with the words of `line` in `folder`.
pub fn ssan(folder: &Path, line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ssan"))
        .args(line.split_whitespace())
        .current_dir(folder)
        .output()
        .expect("the binary runs")
}
