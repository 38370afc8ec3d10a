//! Gradient reversal (Ganin & Lempitsky 2015): `y = x` forward, `dx = −λ dy` backward.
//!
//! `y` is a view of `x`: forward costs nothing. `λ` is a variable, since it changes every epoch.

use super::Op;
use crate::device::Buffers;
use crate::device::cpu::for_rows;
use crate::device::launch::{Arg, Launch};
use crate::graph::{Graph, Var, Want};
use crate::real::Real;

struct GradientReversal {
    x: Var,
    y: Var,
    lambda: Var,
}

/// Records the reversal of the gradient of `x [P, n, d]` by the scalar `lambda [1, 1, 1]`.
pub fn gradient_reversal<T: Real>(g: &mut Graph<T>, x: Var, lambda: Var) -> Var {
    assert_eq!(
        lambda.shape.len(),
        1,
        "gradient_reversal: one shared scalar"
    );
    let y = g.view(x, "gradient_reversal", true);
    g.push(GradientReversal { x, y, lambda });
    y
}

impl<T: Real> Op<T> for GradientReversal {
    fn name(&self) -> &'static str {
        "gradient_reversal"
    }

    fn inputs(&self) -> Vec<Var> {
        vec![self.x]
    }

    fn output(&self) -> Option<Var> {
        Some(self.y)
    }

    fn forward(&self, _buffers: &Buffers<T>) {}

    fn backward(&self, buffers: &Buffers<T>, wants: &[Want]) {
        let (dy, factor) = (buffers.grad(self.y), -buffers.value(self.lambda)[0]);
        let cols = self.x.shape.cols;
        for_rows(cols, [(&mut buffers.grad_mut(self.x), cols)], |i, [row]| {
            for (dx, &dy) in row.iter_mut().zip(&dy[i * cols..]) {
                wants[0].put(dx, factor * dy);
            }
        });
    }

    fn launches(&self) -> Vec<Launch> {
        Vec::new()
    }

    fn backward_launches(&self, wants: &[Want]) -> Vec<Launch> {
        let (n, partitions) = (self.x.shape.block(), self.x.shape.partitions);
        let args = vec![
            Arg::grad(self.y),
            Arg::value(self.lambda),
            Arg::grad_mut(self.x),
            Arg::int(n),
            Arg::want(wants[0]),
        ];
        vec![Launch::per_element(
            "gradient_reversal_backward",
            n,
            partitions,
            args,
        )]
    }
}
