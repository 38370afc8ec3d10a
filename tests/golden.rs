//! The CPU follows every trace of the released code.

#[path = "common/golden.rs"]
mod golden;

use ssan::device::{Cpu, Device};

#[test]
fn cpu_follows_every_trace() {
    for name in golden::TRACES {
        println!("{name}");
        golden::follow(&golden::path(name), usize::MAX, |graph| {
            Ok(Box::new(Cpu::load(graph)) as Box<dyn Device<f64>>)
        });
    }
}
