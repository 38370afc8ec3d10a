//! `y = x·wᵀ + b`, a fully connected layer; with a slope fused in, `y = LeakyReLU(x·wᵀ + b)`.
//!
//! Shapes: `x [P|1, n, in]`, `w [P, out, in]` (as PyTorch stores it), `b [P, 1, out]`,
//! `y [P, n, out]`. Backward, with `g` the gradient at `x·wᵀ + b`:
//! `dx = g·w`, `dw = gᵀ·x`, `db = Σ_rows g`.

use super::{Op, leaky_relu};
use crate::device::Buffers;
use crate::device::cpu::{View, add_rows, for_rows, product};
use crate::device::launch::{Arg, Launch};
use crate::device::rung::Product;
use crate::graph::{Graph, Var, Want};
use crate::real::Real;

struct Linear<T> {
    x: Var,
    w: Var,
    b: Var,
    y: Var,
    /// LeakyReLU of the result, taken in by [`Op::fuse_leaky_relu`].
    slope: Option<T>,
}

/// Records `x·wᵀ + b`.
pub fn linear<T: Real>(g: &mut Graph<T>, x: Var, w: Var, b: Var) -> Var {
    assert_eq!(x.shape.cols, w.shape.cols, "linear: columns of x and w");
    assert_eq!(
        (b.shape.rows, b.shape.cols),
        (1, w.shape.rows),
        "linear: the bias is one row of `out` columns"
    );
    let y = g.computed("linear", x.shape.rows, w.shape.rows, &[x, w, b]);
    let slope = None;
    g.push(Linear { x, w, b, y, slope });
    y
}

/// The launch of a kernel that runs once over the gradient of `y`, and sums up its rows.
pub(super) fn launch_backward_b(kernel: &'static str, y: Var, args: Vec<Arg>) -> Launch {
    let grid = [y.shape.cols.div_ceil(32), 1, y.shape.partitions];
    Launch::new(kernel, grid, 1024, args)
}

/// Turns the gradient of `y`, where that is a LeakyReLU's value, into that of its argument, in
/// place, and sums up its rows into the gradient of the bias `b`.
pub(super) fn backward_b<T: Real>(
    buffers: &Buffers<T>,
    y: Var,
    slope: Option<T>,
    b: Var,
    want: Want,
) {
    let mut g = buffers.grad_mut(y);
    let out = y.shape.cols;
    if let Some(slope) = slope {
        let y = buffers.value(y);
        for_rows(out, [(&mut g, out)], |i, [row]| {
            for (g, &y) in row.iter_mut().zip(&y[i * out..]) {
                *g *= leaky_relu::derivative(y, slope);
            }
        });
    }
    if want == Want::No {
        return;
    }
    let mut db = buffers.grad_mut(b);
    if want == Want::Write {
        db.fill(T::zero());
    }
    add_rows(&mut db, &g);
}

impl<T> Linear<T> {
    /// The launch of a product of `rows × cols` sums of `inner` terms for each partition.
    fn product(
        &self,
        kernel: &'static str,
        [rows, cols, inner]: [usize; 3],
        args: Vec<Arg>,
    ) -> Launch {
        let product = Product {
            partitions: self.y.shape.partitions,
            rows,
            cols,
            inner,
        };
        Launch::product(kernel, product, args)
    }
}

impl<T: Real> Op<T> for Linear<T> {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn inputs(&self) -> Vec<Var> {
        vec![self.x, self.w, self.b]
    }

    fn output(&self) -> Option<Var> {
        Some(self.y)
    }

    fn forward(&self, buffers: &Buffers<T>) {
        let (x, w, b) = (
            buffers.value(self.x),
            buffers.value(self.w),
            buffers.value(self.b),
        );
        let mut y = buffers.value_mut(self.y);
        let (inner, out) = (self.w.shape.cols, self.w.shape.rows);
        // Without a LeakyReLU the slope is 1: x > 0 ? x : 1·x.
        let slope = self.slope.unwrap_or(T::one());
        let w = View::new(&w, inner).transposed();
        product(&mut y, View::new(&x, inner), w, false);
        for_rows(out, [(&mut y, out)], |_, [row]| {
            for (y, &b) in row.iter_mut().zip(b.iter()) {
                *y = leaky_relu::value(*y + b, slope);
            }
        });
    }

    fn backward(&self, buffers: &Buffers<T>, wants: &[Want]) {
        backward_b(buffers, self.y, self.slope, self.b, wants[2]);
        let (x, w, g) = (
            buffers.value(self.x),
            buffers.value(self.w),
            buffers.grad(self.y),
        );
        let (inner, out) = (self.w.shape.cols, self.w.shape.rows);
        let g = View::new(&g, out);
        if wants[0] != Want::No {
            let dx = &mut buffers.grad_mut(self.x);
            let w = View::new(&w, inner);
            product(dx, g, w, wants[0] == Want::Add);
        }
        if wants[1] != Want::No {
            let dw = &mut buffers.grad_mut(self.w);
            let x = View::new(&x, inner);
            product(dw, g.transposed(), x, wants[1] == Want::Add);
        }
    }

    fn fuse_leaky_relu(&mut self, slope: T) -> bool {
        leaky_relu::fuse(&mut self.slope, slope)
    }

    fn launches(&self) -> Vec<Launch> {
        let (rows, out) = (self.y.shape.rows, self.y.shape.cols);
        let args = vec![
            Arg::value(self.x),
            Arg::value(self.w),
            Arg::value(self.b),
            Arg::value_mut(self.y),
            Arg::int(rows),
            Arg::int(self.w.shape.cols),
            Arg::int(out),
            Arg::int(self.x.shape.stride()),
            Arg::real(self.slope.unwrap_or(T::one())),
        ];
        vec![self.product("linear", [rows, out, self.w.shape.cols], args)]
    }

    fn backward_launches(&self, wants: &[Want]) -> Vec<Launch> {
        let (rows, inner, out) = (self.y.shape.rows, self.w.shape.cols, self.w.shape.rows);
        let mut launches = Vec::new();
        // First: with a LeakyReLU it turns the gradient of y into that of x·wᵀ + b, in place.
        if self.slope.is_some() || wants[2] != Want::No {
            let args = vec![
                Arg::value(self.y),
                Arg::grad_mut(self.y),
                Arg::grad_mut(self.b),
                Arg::int(rows),
                Arg::int(out),
                Arg::real(self.slope.unwrap_or(T::one())),
                Arg::want(wants[2]),
            ];
            launches.push(launch_backward_b("linear_backward_b", self.y, args));
        }
        if wants[0] != Want::No {
            let args = vec![
                Arg::grad(self.y),
                Arg::value(self.w),
                Arg::grad_mut(self.x),
                Arg::int(rows),
                Arg::int(inner),
                Arg::int(out),
                Arg::want(wants[0]),
            ];
            launches.push(self.product("linear_backward_x", [rows, inner, out], args));
        }
        if wants[1] != Want::No {
            let args = vec![
                Arg::grad(self.y),
                Arg::value(self.x),
                Arg::grad_mut(self.w),
                Arg::int(rows),
                Arg::int(inner),
                Arg::int(out),
                Arg::int(self.x.shape.stride()),
                Arg::want(wants[1]),
            ];
            launches.push(self.product("linear_backward_w", [out, inner, rows], args));
        }
        launches
    }
}
