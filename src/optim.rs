//! The optimisers of the method, by the release's names.

use crate::graph::{Graph, Var};
use crate::ops::{Adam, Sgd};
use crate::real::Real;

/// Which optimiser updates all parameters (`--optimizer`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Optimizer {
    /// Plain SGD without decay.
    Sgd,
    /// SGD with Nesterov momentum 0.9 and weight decay 0.001.
    MomentumSgd,
    /// Adam with betas (0.9, 0.99) and ε = 1e-8.
    Adam,
}

impl Optimizer {
    /// Whether the update is linear in parameters, its own state and gradients.
    pub fn is_linear(self) -> bool {
        self != Optimizer::Adam
    }

    /// Records the update at learning rate `lr`; `epoch [1, 1, 1]` counts steps from 0.
    pub fn record<T: Real>(self, g: &mut Graph<T>, lr: f64, epoch: Var) {
        let sgd = |momentum, weight_decay| Sgd {
            lr,
            momentum,
            nesterov: momentum > 0.0,
            weight_decay,
        };
        match self {
            Optimizer::Sgd => sgd(0.0, 0.0).record(g),
            Optimizer::MomentumSgd => sgd(0.9, 0.001).record(g),
            Optimizer::Adam => Adam {
                lr,
                beta1: 0.9,
                beta2: 0.99,
                epsilon: 1e-8,
            }
            .record(g, epoch),
        }
    }
}
