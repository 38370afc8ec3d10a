//! `y = x` where `x > 0`, else `slope·x`; the derivative at 0 is the slope.
//!
//! For a positive slope `y` has the sign of `x`, so backward needs `y` alone:
//! `dx = dy` where `y > 0`, else `slope·dy`.

use super::Op;
use crate::device::Buffers;
use crate::device::cpu::for_rows;
use crate::device::launch::{Arg, Launch};
use crate::graph::{Graph, Var, Want};
use crate::real::Real;

struct LeakyRelu<T> {
    x: Var,
    y: Var,
    slope: T,
}

/// LeakyReLU of one number.
pub(crate) fn value<T: Real>(x: T, slope: T) -> T {
    if x > T::zero() { x } else { slope * x }
}

/// Its derivative, from its value.
pub(super) fn derivative<T: Real>(y: T, slope: T) -> T {
    if y > T::zero() { T::one() } else { slope }
}

/// Takes a LeakyReLU into an operation that has room for one; whether it had.
pub(super) fn fuse<T>(room: &mut Option<T>, slope: T) -> bool {
    let fused = room.is_none();
    room.get_or_insert(slope);
    fused
}

/// Records LeakyReLU of `x` with a positive slope. Straight after the operation that made `x`, and
/// where that can take it in, it becomes part of it: the result is then `x` itself.
pub fn leaky_relu<T: Real>(g: &mut Graph<T>, x: Var, slope: f64) -> Var {
    assert!(slope > 0.0, "leaky_relu: the slope is positive");
    let slope = T::of(slope);
    if let Some(op) = g.producer_if_last(x)
        && op.fuse_leaky_relu(slope)
    {
        return x;
    }
    let y = g.computed("leaky_relu", x.shape.rows, x.shape.cols, &[x]);
    g.push(LeakyRelu { x, y, slope });
    y
}

impl<T: Real> Op<T> for LeakyRelu<T> {
    fn name(&self) -> &'static str {
        "leaky_relu"
    }

    fn inputs(&self) -> Vec<Var> {
        vec![self.x]
    }

    fn output(&self) -> Option<Var> {
        Some(self.y)
    }

    fn forward(&self, buffers: &Buffers<T>) {
        let x = buffers.value(self.x);
        let cols = self.x.shape.cols;
        for_rows(
            cols,
            [(&mut buffers.value_mut(self.y), cols)],
            |i, [row]| {
                for (y, &x) in row.iter_mut().zip(&x[i * cols..]) {
                    *y = value(x, self.slope);
                }
            },
        );
    }

    fn backward(&self, buffers: &Buffers<T>, wants: &[Want]) {
        let (y, dy) = (buffers.value(self.y), buffers.grad(self.y));
        let cols = self.x.shape.cols;
        for_rows(cols, [(&mut buffers.grad_mut(self.x), cols)], |i, [row]| {
            let at = i * cols..(i + 1) * cols;
            for ((dx, &y), &dy) in row.iter_mut().zip(&y[at.clone()]).zip(&dy[at]) {
                wants[0].put(dx, derivative(y, self.slope) * dy);
            }
        });
    }

    fn launches(&self) -> Vec<Launch> {
        let (n, partitions) = (self.x.shape.block(), self.x.shape.partitions);
        let args = vec![
            Arg::value(self.x),
            Arg::value_mut(self.y),
            Arg::int(n),
            Arg::real(self.slope),
        ];
        vec![Launch::per_element("leaky_relu", n, partitions, args)]
    }

    fn backward_launches(&self, wants: &[Want]) -> Vec<Launch> {
        let (n, partitions) = (self.x.shape.block(), self.x.shape.partitions);
        let args = vec![
            Arg::value(self.y),
            Arg::grad(self.y),
            Arg::grad_mut(self.x),
            Arg::int(n),
            Arg::real(self.slope),
            Arg::want(wants[0]),
        ];
        vec![Launch::per_element(
            "leaky_relu_backward",
            n,
            partitions,
            args,
        )]
    }
}
