mod build;
mod executor;
#[path = "../common/golden.rs"]
mod golden;
mod planted;

use build::Mode;
use executor::HostKernels;
use ssan::device::Device;

fn follow(mode: Mode, epochs: usize) {
    for name in golden::TRACES {
        let start = std::time::Instant::now();
        golden::follow_for(&golden::path(name), epochs, |graph| {
            Ok(Box::new(HostKernels::load(graph, mode)) as Box<dyn Device<f64>>)
        });
        println!("{name} {:?}", start.elapsed());
    }
}
#[test]
fn golden_checked() {
    follow(Mode::Checked, 2);
}
#[test]
fn golden_plain() {
    follow(Mode::Plain, usize::MAX);
}
