//! Every operation through the kernels on the host, every access checked, against the CPU.

use ssan::device::Device;
use ssan::real::Real;

use crate::build::Mode;
use crate::cases::cases;
use crate::executor::HostKernels;

fn every_operation_agrees<T: Real>() {
    let mut failed = Vec::new();
    for case in cases::<T>() {
        let run = || {
            case.compare(&|graph| {
                Ok(Box::new(HostKernels::load(graph, Mode::Checked)) as Box<dyn Device<T>>)
            })
        };
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err() {
            failed.push(case.name);
        }
    }
    assert!(
        failed.is_empty(),
        "{} cases fail: {failed:#?}",
        failed.len()
    );
}

#[test]
fn every_operation_agrees_with_the_cpu_in_float() {
    every_operation_agrees::<f32>();
}

#[test]
fn every_operation_agrees_with_the_cpu_in_double() {
    every_operation_agrees::<f64>();
}
