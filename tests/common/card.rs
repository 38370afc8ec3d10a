//! Tests that need a card.

#[path = "requirement.rs"]
mod requirement;

use requirement::not_run;
use ssan::device::{Request, available, choose};

/// Whether there is a card; if not, says that `check` does not run.
pub fn present(check: &str) -> bool {
    let Err(why) = available() else {
        choose(Request::Cuda(0)).unwrap_or_else(|e| panic!("a card that cannot be used: {e}"));
        return true;
    };
    not_run(check, "SSAN_REQUIRE_CUDA", why);
    false
}
