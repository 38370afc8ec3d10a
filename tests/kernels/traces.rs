//! The traces of the released code, followed through the kernels on the host in double.

use ssan::device::Device;

use crate::build::Mode;
use crate::executor::HostKernels;
use crate::golden;

fn follow(epochs: usize, mode: Mode) {
    for name in golden::TRACES {
        println!("{name}");
        golden::follow(&golden::path(name), epochs, |graph| {
            Ok(Box::new(HostKernels::load(graph, mode)) as Box<dyn Device<f64>>)
        });
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
