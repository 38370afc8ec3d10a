//! The traces of the released code, followed through the kernels on the host in double.

use ssan::device::Device;
use ssan::train::FirstLayer;

use crate::build::Mode;
use crate::executor::HostKernels;
use crate::golden;

fn follow(epochs: usize, mode: Mode) {
    for first_layer in [FirstLayer::Direct, FirstLayer::Gram] {
        for name in golden::TRACES {
            println!("{name}, {first_layer:?}");
            golden::follow(&golden::path(name), epochs, first_layer, |graph| {
                Ok(Box::new(HostKernels::load(graph, mode)) as Box<dyn Device<f64>>)
            });
        }
    }
}

#[test]
fn kernels_follow_every_trace() {
    follow(usize::MAX, Mode::Plain);
}

#[test]
fn steps_of_every_trace_pass_the_checker() {
    follow(3, Mode::Checked);
}
