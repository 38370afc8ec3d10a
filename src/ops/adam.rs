//! Adam (Kingma & Ba 2015), with PyTorch's update for every parameter `w` of gradient `g` at step
//! `t = e + 1`: `m ← β₁m + (1−β₁)g`; `v ← β₂v + (1−β₂)g²`;
//! `w ← w − η/(1−β₁ᵗ) · m / (√v/√(1−β₂ᵗ) + ε)`.

use super::Op;
use crate::device::Buffers;
use crate::device::cpu::for_rows;
use crate::device::launch::{Arg, Launch, Span, spans};
use crate::graph::{Graph, Var};
use crate::real::Real;

/// The constants of Adam; [`Adam::record`] puts it into a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Decay of the mean gradient, β₁.
    pub beta1: f64,
    /// Decay of the mean squared gradient, β₂.
    pub beta2: f64,
    /// Added to the divisor.
    pub epsilon: f64,
}

struct AdamUpdate {
    constants: Adam,
    epoch: Var,
    rate: Var,
    /// Parameter, mean gradient, mean squared gradient.
    parameters: Vec<[Var; 3]>,
}

impl Adam {
    /// Records the update of all parameters that the loss depends on; `epoch [1, 1, 1]` counts
    /// steps from 0, `rate [1, 1, 1]` is the learning rate η.
    pub fn record<T: Real>(self, g: &mut Graph<T>, epoch: Var, rate: Var) {
        let trained = g.trained();
        // All means, then all squares: each kind lies as the parameters do, for one launch.
        let mut buffers = |name: &str| -> Vec<Var> {
            let like = |w: &Var| {
                let moment = g.buffer(name, w.shape.rows, w.shape.cols);
                g.remember(moment)
            };
            trained.iter().map(like).collect()
        };
        let (means, squares) = (buffers("adam.mean"), buffers("adam.square"));
        let parameters = trained.iter().zip(means).zip(squares);
        let parameters = parameters.map(|((&w, m), v)| [w, m, v]).collect();
        let constants = self;
        g.push_update(AdamUpdate {
            constants,
            epoch,
            rate,
            parameters,
        });
    }
}

impl<T: Real> Op<T> for AdamUpdate {
    fn name(&self) -> &'static str {
        "adam"
    }

    fn forward(&self, buffers: &Buffers<T>) {
        let Adam {
            beta1,
            beta2,
            epsilon,
        } = self.constants;
        let t = buffers.value(self.epoch)[0].wide() + 1.0;
        let rate = buffers.value(self.rate)[0].wide();
        let rate = T::of(rate / (1.0 - beta1.powf(t)));
        let correction = T::of((1.0 - beta2.powf(t)).sqrt());
        let (beta1, beta2, epsilon) = (T::of(beta1), T::of(beta2), T::of(epsilon));
        let one = T::one();
        for &[w, m, v] in &self.parameters {
            let gradient = buffers.grad(w);
            let (mut ws, mut ms, mut vs) = (
                buffers.value_mut(w),
                buffers.value_mut(m),
                buffers.value_mut(v),
            );
            let cols = w.shape.cols;
            let rows = [
                (&mut ws[..], cols),
                (&mut ms[..], cols),
                (&mut vs[..], cols),
            ];
            for_rows(cols, rows, |i, [w, m, v]| {
                for (((w, m), v), &g) in w.iter_mut().zip(m).zip(v).zip(&gradient[i * cols..]) {
                    *m = beta1 * *m + (one - beta1) * g;
                    *v = beta2 * *v + (one - beta2) * g * g;
                    *w -= rate * *m / (v.sqrt() / correction + epsilon);
                }
            });
        }
    }

    fn launches(&self) -> Vec<Launch> {
        let constants = self.constants;
        let launch = |span: Span<3>| {
            let args = vec![
                Arg::In(span.grads(0)),
                Arg::value(self.epoch),
                Arg::value(self.rate),
                Arg::Out(span.values(0)),
                Arg::Out(span.values(1)),
                Arg::Out(span.values(2)),
                Arg::int(span.len),
                Arg::Real(constants.beta1),
                Arg::Real(constants.beta2),
                Arg::Real(constants.epsilon),
            ];
            Launch::per_element("adam", span.len, 1, args)
        };
        spans(&self.parameters).into_iter().map(launch).collect()
    }
}
