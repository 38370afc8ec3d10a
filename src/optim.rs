//! The optimisers of the method, by the release's names.

use crate::graph::Graph;
use crate::ops::{Adam, Schedule, Sgd};
use crate::real::Real;

/// Which optimiser updates all parameters (`--optimizer`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Optimizer {
    /// Plain SGD without decay.
    Sgd,
    /// SGD with Nesterov momentum 0.9 and weight decay.
    MomentumSgd,
    /// Adam with betas (0.9, 0.99) and ε = 1e-8.
    Adam,
}

impl Optimizer {
    /// Whether the update is linear in parameters, its own state and gradients.
    pub fn is_linear(self) -> bool {
        self != Optimizer::Adam
    }

    /// Records the update at the schedule's learning rate. `weight_decay` is [`Self::MomentumSgd`]'s
    /// alone.
    pub fn record<T: Real>(self, g: &mut Graph<T>, weight_decay: f64, schedule: &Schedule) {
        let sgd = |momentum, weight_decay| Sgd {
            momentum,
            nesterov: momentum > 0.0,
            weight_decay,
        };
        match self {
            Optimizer::Sgd => sgd(0.0, 0.0).record(g, schedule.rate),
            Optimizer::MomentumSgd => sgd(0.9, weight_decay).record(g, schedule.rate),
            Optimizer::Adam => Adam {
                beta1: 0.9,
                beta2: 0.99,
                epsilon: 1e-8,
            }
            .record(g, schedule.epoch, schedule.rate),
        }
    }
}
