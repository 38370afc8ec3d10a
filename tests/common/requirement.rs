//! Checks that need what a machine may lack.

use std::fmt::Display;
use std::io::Write;

/// Says that `check` does not run, and why; fails where the environment's `variable` is 1.
pub fn not_run(check: &str, variable: &str, why: impl Display) {
    let required = std::env::var_os(variable).is_some_and(|v| v == "1");
    assert!(!required, "{check}: {variable}=1, but it cannot run: {why}");
    // Not `eprintln!`, which the test harness keeps back where a test passes.
    let line = format!("NOT RUN: {check}: {why}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}
