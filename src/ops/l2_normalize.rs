//! `y_i = x_i / max(‖x_i‖₂, 1e-12)`, row by row (PyTorch's `F.normalize`).
//!
//! Backward: `dx_i = (dy_i − y_i (y_i·dy_i)) / ‖x_i‖`; where the norm is below 1e-12 the divisor is
//! a constant and `dx_i = dy_i / 1e-12`.

use super::{Op, dot};
use crate::device::Buffers;
use crate::device::cpu::for_rows;
use crate::device::launch::{Arg, Launch};
use crate::graph::{Graph, Var, Want};
use crate::real::Real;

/// The smallest divisor.
const EPSILON: f64 = 1e-12;

struct L2Normalize {
    x: Var,
    y: Var,
    /// `max(‖x_i‖, 1e-12)`, `[P, n, 1]`, kept for the backward pass.
    norms: Var,
}

/// What a row is divided by: `max(‖x‖, 1e-12)`.
pub(crate) fn norm<T: Real>(x: &[T]) -> T {
    dot(x, x).sqrt().max(T::of(EPSILON))
}

/// Records the rows of `x [P, n, d]` scaled to unit length; a zero row stays zero.
pub fn l2_normalize<T: Real>(g: &mut Graph<T>, x: Var) -> Var {
    let y = g.computed("l2_normalize", x.shape.rows, x.shape.cols, &[x]);
    let norms = g.buffer("l2_normalize.norms", x.shape.rows, 1);
    g.push(L2Normalize { x, y, norms });
    y
}

impl<T: Real> Op<T> for L2Normalize {
    fn name(&self) -> &'static str {
        "l2_normalize"
    }

    fn inputs(&self) -> Vec<Var> {
        vec![self.x]
    }

    fn output(&self) -> Option<Var> {
        Some(self.y)
    }

    fn forward(&self, buffers: &Buffers<T>) {
        let x = buffers.value(self.x);
        let mut norms = buffers.value_mut(self.norms);
        let cols = self.x.shape.cols;
        let mut y = buffers.value_mut(self.y);
        for_rows(cols, [(&mut y, cols), (&mut norms, 1)], |i, [y, norm]| {
            let x = &x[i * cols..(i + 1) * cols];
            norm[0] = super::norm(x);
            for (y, &x) in y.iter_mut().zip(x) {
                *y = x / norm[0];
            }
        });
    }

    fn backward(&self, buffers: &Buffers<T>, wants: &[Want]) {
        let (y, dy, norms) = (
            buffers.value(self.y),
            buffers.grad(self.y),
            buffers.value(self.norms),
        );
        let cols = self.x.shape.cols;
        for_rows(cols, [(&mut buffers.grad_mut(self.x), cols)], |i, [row]| {
            let at = i * cols..(i + 1) * cols;
            let (y, dy, norm) = (&y[at.clone()], &dy[at], norms[i]);
            let along = if norm > T::of(EPSILON) {
                dot(y, dy)
            } else {
                T::zero()
            };
            for ((dx, &y), &dy) in row.iter_mut().zip(y).zip(dy) {
                wants[0].put(dx, (dy - y * along) / norm);
            }
        });
    }

    fn launches(&self) -> Vec<Launch> {
        let shape = self.x.shape;
        let args = vec![
            Arg::value(self.x),
            Arg::value_mut(self.y),
            Arg::value_mut(self.norms),
            Arg::int(shape.rows),
            Arg::int(shape.cols),
        ];
        vec![Launch::per_row(
            "l2_normalize",
            shape.rows,
            shape.partitions,
            args,
        )]
    }

    fn backward_launches(&self, wants: &[Want]) -> Vec<Launch> {
        let shape = self.x.shape;
        let args = vec![
            Arg::value(self.y),
            Arg::grad(self.y),
            Arg::value(self.norms),
            Arg::grad_mut(self.x),
            Arg::int(shape.rows),
            Arg::int(shape.cols),
            Arg::want(wants[0]),
        ];
        vec![Launch::per_row(
            "l2_normalize_backward",
            shape.rows,
            shape.partitions,
            args,
        )]
    }
}
