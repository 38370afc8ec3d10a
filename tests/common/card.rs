//! Tests that need a card.

use std::io::Write;

use ssan::device::{Request, available, choose};

/// Whether there is a card; if not, says that `check` does not run.
pub fn present(check: &str) -> bool {
    let Err(why) = available() else {
        choose(Request::Cuda(0)).unwrap_or_else(|e| panic!("a card that cannot be used: {e}"));
        return true;
    };
    let required = std::env::var_os("SSAN_REQUIRE_CUDA").is_some_and(|v| v == "1");
    assert!(
        !required,
        "{check}: SSAN_REQUIRE_CUDA=1, but it cannot run: {why}"
    );
    // Not `eprintln!`, which the test harness keeps back where a test passes.
    let line = format!("NOT RUN: {check}: {why}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    false
}
