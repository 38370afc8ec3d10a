//! The CPU follows every trace of the released code.

#[path = "common/golden.rs"]
mod golden;

use ssan::device::{Cpu, Device};
use ssan::train::FirstLayer;

#[test]
fn cpu_follows_every_trace() {
    // Adam's trace is followed directly either way.
    for first_layer in [FirstLayer::Direct, FirstLayer::Gram] {
        for name in golden::TRACES {
            println!("{name}, {first_layer:?}");
            golden::follow(&golden::path(name), usize::MAX, first_layer, |graph| {
                Ok(Box::new(Cpu::load(graph)) as Box<dyn Device<f64>>)
            });
        }
    }
}
