//! The traces of the released code, followed through the kernels on the host in double, and the
//! recipe that has none beside the CPU.

use approx::assert_relative_eq;
use ssan::Result;
use ssan::device::{Cpu, Device};
use ssan::graph::Graph;
use ssan::optim::Optimizer;
use ssan::real::Real;
use ssan::train::{FirstLayer, Neighbours, Options, Outcome, Problem, Session, train};

use crate::build::Mode;
use crate::executor::HostKernels;
use crate::golden;
use crate::gradients::problem;

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

type Load = fn(Graph<f64>) -> Result<Box<dyn Device<f64>>>;

/// Learning-rate schedule, several networks, pseudo-labels written between replays.
#[test]
fn robust_recipe_trains_as_on_the_cpu() {
    let options = Options {
        epochs: 40,
        common: 6,
        members: 2,
        ..Options::ROBUST
    };
    let problem = problem();
    let problem = Problem {
        members: 2,
        neighbours: Some(Neighbours::new(&problem.target)),
        ..problem
    };
    let initial = problem.initial_parameters(&options, 2020);
    let run = |load: Load| -> (Outcome, Vec<f64>) {
        let mut terms = Vec::new();
        let outcome = train(&problem, &options, &initial, load, &mut |m| {
            terms.extend([m.total, m.soft, m.alignment, m.pseudo_ce]);
            Ok(())
        });
        (outcome.unwrap(), terms)
    };
    let (cpu, expected) = run(|graph| Ok(Box::new(Cpu::load(graph))));
    let (host, found) = run(|graph| Ok(Box::new(HostKernels::load(graph, Mode::Plain))));
    assert_relative_eq!(
        found[..],
        expected[..],
        max_relative = 1e-9,
        epsilon = 1e-12
    );
    assert!(
        expected[expected.len() - 1] > 0.0,
        "pseudo-labels took part"
    );
    for (a, b) in host
        .parameters
        .iter()
        .flatten()
        .zip(cpu.parameters.iter().flatten())
    {
        assert_relative_eq!(a[..], b[..], max_relative = 1e-9, epsilon = 1e-12);
    }
}

/// Eight steps are five, and three in another session from a snapshot of the first.
pub fn a_snapshot_goes_on<T: Real>(load: impl Fn(Graph<T>) -> Result<Box<dyn Device<T>>>) {
    for options in [Options::PAPER, Options::ROBUST] {
        for optimizer in [Optimizer::MomentumSgd, Optimizer::Adam] {
            let options = Options {
                optimizer,
                epochs: 8,
                common: 6,
                pseudo_labels: None,
                members: 1,
                ..options
            };
            let problem = problem();
            let initial = problem.initial_parameters(&options, 2020);
            let session = || Session::new(&problem, &options, &initial, &load).unwrap();
            let (mut whole, mut first, mut second) = (session(), session(), session());
            let mut expected = whole.run(8).unwrap();
            expected.extend(whole.finish().unwrap());
            let mut found = first.run(5).unwrap();
            second.restore(&first.snapshot().unwrap()).unwrap().unwrap();
            found.extend(second.run(3).unwrap());
            found.extend(second.finish().unwrap());
            assert_eq!(found, expected, "{options:?}");
            let [a, b] = [second, whole].map(|s| s.parameters().unwrap());
            assert!(a == b, "{options:?}");
        }
    }
}

#[test]
fn a_snapshot_of_host_kernels_goes_on() {
    a_snapshot_goes_on::<f32>(|graph| Ok(Box::new(HostKernels::load(graph, Mode::Plain))));
}
