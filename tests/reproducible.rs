//! Figures that no change moves unnoticed: short runs on the bundled digits, both recipes.
//!
//! The same seed gives the same bytes on one machine with one build (`tests/cli.rs`). Between
//! machines, numbers of threads and devices sums come in other orders, which training then makes more
//! of: so the first losses agree closely, and later accuracies within what a few rows change.

use approx::assert_relative_eq;
use ssan::data::{Labelling, Task, digits};
use ssan::device::{Cpu, Device};
use ssan::graph::Graph;
use ssan::train::{Options, Problem, train};

fn on_cpu(graph: Graph<f32>) -> ssan::Result<Box<dyn Device<f32>>> {
    Ok(Box::new(Cpu::load(graph)))
}

/// Losses of the first network after the given epochs, and the accuracy at the end.
fn figures(options: &Options, at: [usize; 3]) -> ([f64; 3], f64) {
    let (source, target) = digits().unwrap();
    let task = Task::new(source, target).unwrap();
    let splits = task.splits(&Labelling::PerClass(3), 1, 2020).unwrap();
    let problem = Problem::new(&task, &splits, options);
    let initial = problem.initial_parameters(options, 2020);
    let mut losses = Vec::new();
    let outcome = train(&problem, options, &initial, on_cpu, &mut |m| {
        if m.member == 0 {
            losses.push(m.total);
        }
        Ok(())
    });
    let accuracy = outcome.unwrap().partitions[0].accuracy_last.unwrap();
    (at.map(|epoch| losses[epoch]), accuracy)
}

fn agree(options: &Options, at: [usize; 3], losses: [f64; 3], accuracy: f64, within: f64) {
    let (found, percent) = figures(options, at);
    for (i, (found, expected)) in found.iter().zip(losses).enumerate() {
        let tolerance = [1e-5, 1e-3, 0.05][i];
        assert_relative_eq!(*found, expected, max_relative = tolerance);
    }
    assert!(
        (percent - accuracy).abs() <= within,
        "{percent} % for {accuracy} %"
    );
}

#[test]
fn the_paper_s_recipe_comes_to_the_same_figures() {
    let options = Options {
        epochs: 150,
        ..Options::PAPER
    };
    let losses = [6.867882, 6.747279, 6.739933];
    agree(&options, [0, 20, 149], losses, 48.45, 3.0);
}

#[test]
fn the_robust_recipe_comes_to_the_same_figures() {
    let options = Options {
        epochs: 60,
        ..Options::ROBUST
    };
    let losses = [4.824065, 4.344049, 2.933488];
    agree(&options, [0, 10, 59], losses, 84.74, 3.0);
}

/// A thread that has a network to itself and threads that share its loops come to the same bytes.
#[test]
fn the_number_of_threads_and_of_networks_beside_it_change_nothing() {
    let (source, target) = digits().unwrap();
    let task = Task::new(source, target).unwrap();
    let options = Options {
        epochs: 8,
        members: 1,
        ..Options::ROBUST
    };
    let splits = task.splits(&Labelling::PerClass(3), 5, 2020).unwrap();
    let trained = |partitions: usize, threads: usize| {
        let problem = Problem::new(&task, &splits[..partitions], &options);
        let initial = problem.initial_parameters(&options, 2020);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let train = || train(&problem, &options, &initial, on_cpu, &mut |_| Ok(()));
        pool.build().unwrap().install(train).unwrap().parameters
    };
    let expected = trained(5, 1);
    for (partitions, threads) in [(5, 2), (5, 3), (3, 4), (2, 4), (1, 2)] {
        let found = trained(partitions, threads);
        assert!(
            found == expected[..partitions],
            "{partitions} networks on {threads} threads"
        );
    }
}
