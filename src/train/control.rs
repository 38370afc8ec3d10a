//! Runs to compare a run with: what is its source worth?

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

use super::{Options, PartitionLabels, Problem};
use crate::data::Matrix;
use crate::objective::{Objective, Refinement};

/// What is trained on in the place of a run's own data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Control {
    /// The labelled target rows alone: neither source nor unlabelled rows have a part in the
    /// objective, which is the cross-entropy of the labelled rows.
    TargetOnly,
    /// Gaussian noise of the same shape as the source's features, with the source's labels; all
    /// else as in the run. Noise has been found to help as much as some real sources (Yao et al.,
    /// "Heterogeneous Domain Adaptation: Does the Source Matter?").
    Noise,
}

impl Control {
    /// All of them.
    pub const ALL: [Control; 2] = [Control::TargetOnly, Control::Noise];

    /// Its name in options and results.
    pub fn name(self) -> &'static str {
        match self {
            Control::TargetOnly => "target-only",
            Control::Noise => "noise",
        }
    }

    /// Problem and options of the control of a run of `problem` with `options`: the same networks,
    /// optimiser, labelled rows and initial parameters.
    pub fn of(self, problem: &Problem, options: &Options, seed: u64) -> (Problem, Options) {
        match self {
            Control::TargetOnly => {
                let partitions = problem.partitions.iter().map(|labels| PartitionLabels {
                    source: vec![-1],
                    ..labels.clone()
                });
                let alone = Problem {
                    // A row without label has no part in anything.
                    source: problem.source.select_rows(&[0]),
                    partitions: partitions.collect(),
                    ..problem.clone()
                };
                let objective = Objective {
                    alpha: 1.0,
                    beta: 0.0,
                    gamma: 0.0,
                    refinement: Refinement::None,
                    ..options.objective
                };
                let options = Options {
                    objective,
                    pseudo_labels: None,
                    ..*options
                };
                (alone, options)
            }
            Control::Noise => {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                // No network or split draws from it.
                rng.set_stream(u64::MAX);
                let mut noise = problem.clone();
                let (rows, cols) = (noise.source.rows(), noise.source.cols());
                let values = StandardNormal
                    .sample_iter(&mut rng)
                    .take(rows * cols)
                    .collect();
                noise.source = Matrix { rows, cols, values }.into();
                noise.source.normalise(noise.normalisation[0]);
                (noise, *options)
            }
        }
    }
}
