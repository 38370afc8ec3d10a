//! `y = a·s + k·c + b`, a fully connected layer in Gram form; with a slope fused in, LeakyReLU of
//! it.
//!
//! The gradient of the weight `w` of a layer whose input `x` never changes is always `gᵀ·x`, with
//! `g` the gradient at its output. An update that is linear in weight, buffers and gradient (SGD
//! with momentum, Nesterov's look-ahead and decay) hence never leaves `w = a·w₀ + cᵀ·x`: with the
//! Gram matrix `k = x·xᵀ` and `s = x·w₀ᵀ`, both computed once, `x·wᵀ = a·s + k·c`, and the
//! optimiser's own rule moves `a` and `c` as it would move `w`, given `g` in place of the gradient
//! of `c` and 0 in place of that of `a`. No product with the columns of `x` is left in the step.
//!
//! Shapes: `k [1, n, n]`, `s [P, n, out]`, `a [P, 1, 1]` starting at 1, `c [P, n, out]` starting at
//! 0, `b [P, 1, out]`, `y [P, n, out]`. Backward: `dc = g`, `da = 0`, `db = Σ_rows g`. The first
//! two are **not** derivatives of the loss by `c` and `a`, which would be `k·g` and `⟨s, g⟩`; they
//! are what `w`'s gradient `gᵀ·x` is in the coordinates `(c, a)`. That of `b` is a derivative.
//!
//! The kernels are in `kernels/linear.cu`, whose tiles they share.

use super::linear::{backward_b, launch_backward_b};
use super::{Op, leaky_relu};
use crate::device::Buffers;
use crate::device::cpu::{View, for_rows, product};
use crate::device::launch::{Arg, Launch};
use crate::device::rung::Product;
use crate::graph::{Graph, Var, Want};
use crate::real::Real;

/// What a layer in Gram form is made of.
#[derive(Clone, Copy, Debug)]
pub struct GramLayer {
    /// `k = x·xᵀ`.
    pub gram: Var,
    /// `s = x·w₀ᵀ`.
    pub start: Var,
    /// `a`, a parameter that starts at 1.
    pub scale: Var,
    /// `c`, a parameter that starts at 0.
    pub coefficients: Var,
    /// `b`, a parameter.
    pub bias: Var,
}

struct GramLinear<T> {
    layer: GramLayer,
    y: Var,
    /// LeakyReLU of the result, taken in by [`Op::fuse_leaky_relu`].
    slope: Option<T>,
}

/// Records `a·s + k·c + b`.
pub fn gram_linear<T: Real>(g: &mut Graph<T>, layer: GramLayer) -> Var {
    let GramLayer {
        gram,
        start,
        scale,
        coefficients,
        bias,
    } = layer;
    let (rows, out) = (gram.shape.rows, coefficients.shape.cols);
    assert_eq!(gram.shape.stride(), 0, "gram_linear: partitions share k");
    assert_eq!(gram.shape.cols, rows, "gram_linear: k is square");
    assert_eq!(
        coefficients.shape.rows, rows,
        "gram_linear: rows of k and c"
    );
    assert_eq!(start.shape, coefficients.shape, "gram_linear: s is like c");
    assert_eq!(scale.shape.block(), 1, "gram_linear: a is a number");
    assert_eq!(
        (bias.shape.rows, bias.shape.cols),
        (1, out),
        "gram_linear: the bias is one row of `out` columns"
    );
    let y = g.computed("gram_linear", rows, out, &[coefficients, scale, bias]);
    let slope = None;
    g.push(GramLinear { layer, y, slope });
    y
}

impl<T: Real> Op<T> for GramLinear<T> {
    fn name(&self) -> &'static str {
        "gram_linear"
    }

    fn inputs(&self) -> Vec<Var> {
        vec![self.layer.coefficients, self.layer.scale, self.layer.bias]
    }

    fn output(&self) -> Option<Var> {
        Some(self.y)
    }

    fn forward(&self, buffers: &Buffers<T>) {
        let (gram, start) = (
            buffers.value(self.layer.gram),
            buffers.value(self.layer.start),
        );
        let (scale, coefficients, b) = (
            buffers.value(self.layer.scale),
            buffers.value(self.layer.coefficients),
            buffers.value(self.layer.bias),
        );
        let mut y = buffers.value_mut(self.y);
        let (rows, out) = (self.y.shape.rows, self.y.shape.cols);
        // Without a LeakyReLU the slope is 1: x > 0 ? x : 1·x.
        let slope = self.slope.unwrap_or(T::one());
        let c = View::new(&coefficients, out);
        product(&mut y, View::new(&gram, rows), c, false);
        let scale = scale[0];
        for_rows(out, [(&mut y, out)], |i, [row]| {
            for ((y, &s), &b) in row.iter_mut().zip(&start[i * out..]).zip(b.iter()) {
                *y = leaky_relu::value(*y + scale * s + b, slope);
            }
        });
    }

    fn backward(&self, buffers: &Buffers<T>, wants: &[Want]) {
        backward_b(buffers, self.y, self.slope, self.layer.bias, wants[2]);
        let mut g = buffers.grad_mut(self.y);
        match wants[0] {
            Want::No => {}
            // Nothing reads the gradient of y any more: its buffer becomes that of c.
            Want::Write => std::mem::swap(&mut *g, &mut *buffers.grad_mut(self.layer.coefficients)),
            Want::Add => {
                let mut dc = buffers.grad_mut(self.layer.coefficients);
                dc.iter_mut().zip(&*g).for_each(|(dc, &g)| *dc += g);
            }
        }
        // The gradient of a is 0 from the start and never written.
    }

    fn fuse_leaky_relu(&mut self, slope: T) -> bool {
        leaky_relu::fuse(&mut self.slope, slope)
    }

    fn launches(&self) -> Vec<Launch> {
        let (rows, out) = (self.y.shape.rows, self.y.shape.cols);
        let args = vec![
            Arg::value(self.layer.gram),
            Arg::value(self.layer.start),
            Arg::value(self.layer.scale),
            Arg::value(self.layer.coefficients),
            Arg::value(self.layer.bias),
            Arg::value_mut(self.y),
            Arg::int(rows),
            Arg::int(out),
            Arg::real(self.slope.unwrap_or(T::one())),
        ];
        let product = Product {
            partitions: self.y.shape.partitions,
            rows,
            cols: out,
            inner: rows,
        };
        vec![Launch::product("gram_linear", product, args)]
    }

    fn backward_launches(&self, wants: &[Want]) -> Vec<Launch> {
        let args = vec![
            Arg::value(self.y),
            Arg::grad(self.y),
            Arg::grad_mut(self.layer.coefficients),
            Arg::grad_mut(self.layer.bias),
            Arg::int(self.y.shape.rows),
            Arg::int(self.y.shape.cols),
            Arg::real(self.slope.unwrap_or(T::one())),
            Arg::want(wants[0]),
            Arg::want(wants[2]),
        ];
        vec![launch_backward_b("gram_linear_backward", self.y, args)]
    }
}
