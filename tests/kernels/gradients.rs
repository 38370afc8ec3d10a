//! The whole objective's gradient through the kernels, in double, against central differences of
//! the loss that the same device computes.

use ssan::Result;
use ssan::data::{Matrix, Normalisation};
use ssan::device::Device;
use ssan::graph::Graph;
use ssan::model::{Initialisation, Parameters, initial_parameters};
use ssan::objective::{Alignment, Objective};
use ssan::train::{FirstLayer, Options, PartitionLabels, Problem, Session};

use crate::build::Mode;
use crate::executor::HostKernels;

const STEP: f64 = 1e-5;
const TOLERANCE: f64 = 1e-6;

/// Rows of one partition; class 2 has no labelled target row.
pub fn problem() -> Problem {
    let matrix = |rows: usize, cols: usize| {
        let values = (0..rows * cols).map(|i| (i as f64 * 1.7 + cols as f64).sin());
        let mut matrix = Matrix {
            rows,
            cols,
            values: values.collect(),
        };
        matrix.normalise_rows();
        matrix
    };
    Problem {
        classes: 3,
        members: 1,
        normalisation: [Normalisation::L2; 2],
        means: None,
        neighbours: None,
        source: matrix(9, 5).into(),
        target: matrix(8, 4).into(),
        partitions: vec![PartitionLabels {
            source: vec![0, 1, 2, 0, 1, 2, 0, 0, -1],
            labelled: vec![0, 1, 0, -1, -1, -1, -1, -1],
            unlabelled: vec![-1, -1, -1, 0, 0, 0, 0, 0],
            truth: vec![-1; 8],
        }],
    }
}

/// Checks three entries of every parameter, with the recorded step on the device of `load`.
pub fn check(load: &dyn Fn(Graph<f64>) -> Result<Box<dyn Device<f64>>>) {
    let problem = problem();
    for alignment in [Objective::PAPER.alignment, Alignment::Margin(0.5)] {
        let options = Options {
            objective: Objective {
                beta: 0.7,
                gamma: 0.4,
                alignment,
                ..Objective::PAPER
            },
            epochs: 10,
            common: 3,
            first_layer: FirstLayer::Direct,
            ..Options::PAPER
        };
        let dimensions = problem.dimensions(&options);
        let mut start = initial_parameters(&dimensions, Initialisation::Small, 3, 0, 0);
        // 80 times the usual scale, so that no term is negligible.
        start.iter_mut().flatten().for_each(|x| *x *= 80.0);

        // In the first epoch the reversal coefficient is 0: the projectors see nothing of the
        // adversarial term, which the discriminator sees whole.
        let losses = |parameters: &Parameters| {
            let initial = [parameters.clone()];
            let mut session = Session::new(&problem, &options, &initial, load).unwrap();
            session.finish().unwrap();
            let read = |var| session.device().read(var).unwrap()[0];
            let terms = session.terms();
            [read(terms.total), read(terms.adversarial)]
        };
        let initial = [start.clone()];
        let mut session = Session::new(&problem, &options, &initial, load).unwrap();
        session.run(1).unwrap();
        let device = session.device();
        let parameters = device.graph().parameters().to_vec();
        for (n, (var, shape)) in parameters.iter().zip(dimensions.parameters()).enumerate() {
            let gradient = device.read_grad(*var).unwrap();
            let largest = gradient.iter().fold(0.0, |m: f64, g| m.max(g.abs()));
            assert!(largest > 0.0, "the gradient of {} is 0", shape.name);
            let behind = shape.name.starts_with("source") || shape.name.starts_with("target");
            for i in [0, gradient.len() / 2, gradient.len() - 1] {
                let at = |by: f64| {
                    let mut moved = start.clone();
                    moved[n][i] += by;
                    let [total, adversarial] = losses(&moved);
                    total - if behind { 0.4 * adversarial } else { 0.0 }
                };
                let numeric = (8.0 * (at(STEP) - at(-STEP)) - (at(2.0 * STEP) - at(-2.0 * STEP)))
                    / (12.0 * STEP);
                let scale = gradient[i].abs().max(1e-2 * largest);
                assert!(
                    (gradient[i] - numeric).abs() <= TOLERANCE * scale,
                    "{alignment:?}: d/d{}[{i}] is {:e}, differences give {numeric:e}",
                    shape.name,
                    gradient[i]
                );
            }
        }
    }
}

#[test]
fn kernels_give_the_gradient_of_the_loss_they_compute() {
    check(&|graph| Ok(Box::new(HostKernels::load(graph, Mode::Plain))));
}
