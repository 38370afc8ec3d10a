//! Tests that need a card.

use ssan::device::{Request, available, choose};

use crate::requirement::not_run;

/// How often something is done on a card, or on the stand-in for one of `tests/stand_in/`, which is
/// thousands of times slower.
#[allow(dead_code, reason = "not all tests do the same thing often")]
pub fn times(on_a_card: usize, on_the_stand_in: usize) -> usize {
    match std::env::var_os("SSAN_STAND_IN_FOLDER") {
        None => on_a_card,
        Some(_) => on_the_stand_in,
    }
}

/// Whether there is a card; if not, says that `check` does not run.
pub fn present(check: &str) -> bool {
    let Err(why) = available() else {
        choose(Request::Cuda(0)).unwrap_or_else(|e| panic!("a card that cannot be used: {e}"));
        return true;
    };
    not_run(check, "SSAN_REQUIRE_CUDA", why);
    false
}
