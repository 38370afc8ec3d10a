//! Stochastic gradient descent, with PyTorch's update for every parameter `w` of gradient `g`:
//! `g ← g + δ w`; `b ← μ b + g`; `w ← w − η (g + μ b)` with Nesterov, `w − η b` without.
//! The buffer `b` starts at 0, so that the first step has `b = g`. `δ` is the weight decay.

use super::Op;
use crate::device::Buffers;
use crate::device::cpu::for_rows;
use crate::device::launch::{Arg, Launch, Span, spans};
use crate::graph::{Graph, Var};
use crate::real::Real;

/// The constants of SGD; [`Sgd::record`] puts it into a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Momentum μ; 0 for none.
    pub momentum: f64,
    /// Nesterov's look-ahead.
    pub nesterov: bool,
    /// Weight decay δ, on every parameter.
    pub weight_decay: f64,
}

struct SgdUpdate {
    constants: Sgd,
    rate: Var,
    /// Parameter and its momentum buffer.
    parameters: Vec<[Var; 2]>,
}

impl Sgd {
    /// Records the update of all parameters that the loss depends on, at the learning rate
    /// η `rate [1, 1, 1]`.
    pub fn record<T: Real>(self, g: &mut Graph<T>, rate: Var) {
        let parameters = g.trained().into_iter();
        let parameters = parameters
            .map(|w| {
                let momentum = g.buffer("sgd.momentum", w.shape.rows, w.shape.cols);
                [w, g.remember(momentum)]
            })
            .collect();
        let constants = self;
        g.push_update(SgdUpdate {
            constants,
            rate,
            parameters,
        });
    }
}

impl<T: Real> Op<T> for SgdUpdate {
    fn name(&self) -> &'static str {
        "sgd"
    }

    fn forward(&self, buffers: &Buffers<T>) {
        let Sgd {
            momentum,
            nesterov,
            weight_decay,
        } = self.constants;
        let lr = buffers.value(self.rate)[0];
        let (momentum, decay) = (T::of(momentum), T::of(weight_decay));
        for &[w, b] in &self.parameters {
            let (gradient, mut w_all, mut b_all) =
                (buffers.grad(w), buffers.value_mut(w), buffers.value_mut(b));
            let cols = w.shape.cols;
            for_rows(
                cols,
                [(&mut w_all, cols), (&mut b_all, cols)],
                |i, [w, b]| {
                    for ((w, b), &g) in w.iter_mut().zip(b).zip(&gradient[i * cols..]) {
                        let g = g + decay * *w;
                        *b = momentum * *b + g;
                        let direction = if nesterov { g + momentum * *b } else { *b };
                        *w -= lr * direction;
                    }
                },
            );
        }
    }

    fn launches(&self) -> Vec<Launch> {
        let constants = self.constants;
        let launch = |span: Span<2>| {
            let args = vec![
                Arg::In(span.grads(0)),
                Arg::value(self.rate),
                Arg::Out(span.values(0)),
                Arg::Out(span.values(1)),
                Arg::int(span.len),
                Arg::Real(constants.momentum),
                Arg::Real(constants.weight_decay),
                Arg::flag(constants.nesterov),
            ];
            Launch::per_element("sgd", span.len, 1, args)
        };
        spans(&self.parameters).into_iter().map(launch).collect()
    }
}
