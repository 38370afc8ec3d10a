//! Every operation through the kernels on the host, every access checked, against the CPU.

use ssan::device::Device;
use ssan::real::Real;

use crate::build::Mode;
use crate::cases::{cases, draws, random_cases};
use crate::executor::HostKernels;

fn every_operation_agrees<T: Real>(mode: Mode) {
    let load = move |graph| {
        let device = HostKernels::load(graph, mode);
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
    every_operation_agrees::<f32>(Mode::Checked);
}

#[test]
fn every_operation_agrees_with_the_cpu_in_double() {
    every_operation_agrees::<f64>(Mode::Plain);
}

/// One draw in four with every access checked, which takes several times as long.
#[test]
fn every_operation_agrees_at_random() {
    let (count, seed) = draws();
    for n in 0..count {
        let mode = [Mode::Checked, Mode::Plain][usize::from(n % 4 > 0)];
        let load = move |graph| {
            let device = HostKernels::load(graph, mode);
            Ok(Box::new(device) as Box<dyn Device<f64>>)
        };
        for case in random_cases::<f64>(seed, n) {
            let compared = case.compare(&load);
            compared.unwrap_or_else(|e| panic!("SSAN_CASES_SEED={seed}, draw {n}: {e}"));
        }
    }
}
