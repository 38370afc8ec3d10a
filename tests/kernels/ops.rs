//! Every operation through the kernels on the host, every access checked, against the CPU.

use ssan::device::Device;
use ssan::real::Real;

use crate::build::Mode;
use crate::cases::cases;
use crate::executor::HostKernels;

fn every_operation_agrees<T: Real>() {
    let load = |graph| {
        let device = HostKernels::load(graph, Mode::Checked);
        Ok(Box::new(device) as Box<dyn Device<T>>)
    };
    let cases = cases::<T>().into_iter();
    let failed: Vec<String> = cases.filter_map(|c| c.compare(&load).err()).collect();
    assert!(
        failed.is_empty(),
        "{} cases fail:\n{}",
        failed.len(),
        failed.join("\n")
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
