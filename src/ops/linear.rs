//! `y = x·wᵀ + b`, a fully connected layer; with a slope fused in, `y = LeakyReLU(x·wᵀ + b)`.
//!
//! Shapes: `x [P|1, n, in]`, `w [P, out, in]` (as PyTorch stores it), `b [P, 1, out]`,
//! `y [P, n, out]`. Backward, with `g` the gradient at `x·wᵀ + b`:
//! `dx = g·w`, `dw = gᵀ·x`, `db = Σ_rows g`.

use super::{Op, leaky_relu};
use crate::device::Cpu;
use crate::device::cpu::{View, for_rows, product};
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

    fn forward(&self, cpu: &Cpu<T>) {
        let (x, w, b) = (cpu.value(self.x), cpu.value(self.w), cpu.value(self.b));
        let mut y = cpu.value_mut(self.y);
        let (inner, out) = (self.w.shape.cols, self.w.shape.rows);
        // Without a LeakyReLU the slope is 1: x > 0 ? x : 1·x.
        let slope = self.slope.unwrap_or(T::one());
        for p in 0..self.y.shape.partitions {
            let y = &mut y[self.y.at(p)];
            let w = View::new(&w[self.w.at(p)], inner).transposed();
            product(y, View::new(&x[self.x.at(p)], inner), w, false);
            let b = &b[self.b.at(p)];
            for_rows(out, [(y, out)], |_, [row]| {
                for (y, &b) in row.iter_mut().zip(b) {
                    *y = leaky_relu::value(*y + b, slope);
                }
            });
        }
    }

    fn backward(&self, cpu: &Cpu<T>, wants: &[Want]) {
        let (x, w) = (cpu.value(self.x), cpu.value(self.w));
        let mut g = cpu.grad_mut(self.y);
        let (inner, out) = (self.w.shape.cols, self.w.shape.rows);
        if let Some(slope) = self.slope {
            let y = cpu.value(self.y);
            for_rows(out, [(&mut g, out)], |i, [row]| {
                for (g, &y) in row.iter_mut().zip(&y[i * out..]) {
                    *g *= leaky_relu::derivative(y, slope);
                }
            });
        }
        for p in 0..self.y.shape.partitions {
            let g = View::new(&g[self.y.at(p)], out);
            if wants[0] != Want::No {
                let dx = &mut cpu.grad_mut(self.x)[self.x.at(p)];
                let w = View::new(&w[self.w.at(p)], inner);
                product(dx, g, w, wants[0] == Want::Add);
            }
            if wants[1] != Want::No {
                let dw = &mut cpu.grad_mut(self.w)[self.w.at(p)];
                let x = View::new(&x[self.x.at(p)], inner);
                product(dw, g.transposed(), x, wants[1] == Want::Add);
            }
        }
        if wants[2] != Want::No {
            let mut db = cpu.grad_mut(self.b);
            for p in 0..self.y.shape.partitions {
                let db = &mut db[self.b.at(p)];
                if wants[2] == Want::Write {
                    db.fill(T::zero());
                }
                for row in g[self.y.at(p)].chunks_exact(out) {
                    for (db, &g) in db.iter_mut().zip(row) {
                        *db += g;
                    }
                }
            }
        }
    }

    fn fuse_leaky_relu(&mut self, slope: T) -> bool {
        let fused = self.slope.is_none();
        self.slope.get_or_insert(slope);
        fused
    }
}
