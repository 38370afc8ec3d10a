//! `L = −Σ_k mean_{i: y_i = k} Σ_c q_kc log(softmax(z_i)_c + 1e-5)`: labelled target rows follow
//! the class correlations `q` that the source shows (SSAN, the soft part of L_isc). A sum over
//! classes, of which the objective may take the mean; a class without labelled rows adds nothing.
//!
//! With `s = softmax(z_i)`, `n_k` rows of class `k = y_i`, and
//! `g_c = −q_kc / (n_k (s_c + 1e-5))`: `dz_ic = s_c (g_c − Σ_j s_j g_j)`,
//! `dq_kc = −mean_i log(s_ic + 1e-5)`.

use super::{Op, class, log_sum_exp};
use crate::device::Buffers;
use crate::device::launch::{Arg, Launch};
use crate::graph::{Graph, Labels, Var, Want};
use crate::real::Real;

/// Keeps the logarithm finite, as in the released code.
const EPSILON: f64 = 1e-5;

struct SoftCorrelation {
    z: Var,
    labels: Labels,
    q: Var,
    loss: Var,
    /// softmax(z) of the labelled rows, `[P, n, K]`.
    s: Var,
    /// Labelled rows per class, `[P, 1, K]`.
    counts: Var,
}

/// Records the correlation term of logits `z [P, n, K]` against soft labels `q [P, K, K]` (row
/// `k`: the distribution for class `k`): `[P, 1, 1]`.
pub fn soft_correlation<T: Real>(g: &mut Graph<T>, z: Var, labels: Labels, q: Var) -> Var {
    let (rows, classes) = (z.shape.rows, z.shape.cols);
    assert_eq!(rows, labels.rows, "soft_correlation: rows and labels");
    assert_eq!(
        (q.shape.rows, q.shape.cols),
        (classes, classes),
        "soft_correlation: one distribution per class"
    );
    let loss = g.computed("soft_correlation", 1, 1, &[z, q]);
    let s = g.buffer("soft_correlation.s", rows, classes);
    let counts = g.buffer("soft_correlation.counts", 1, classes);
    g.push(SoftCorrelation {
        z,
        labels,
        q,
        loss,
        s,
        counts,
    });
    loss
}

impl<T: Real> Op<T> for SoftCorrelation {
    fn name(&self) -> &'static str {
        "soft_correlation"
    }

    fn inputs(&self) -> Vec<Var> {
        vec![self.z, self.q]
    }

    fn output(&self) -> Option<Var> {
        Some(self.loss)
    }

    fn forward(&self, buffers: &Buffers<T>) {
        let (z, q, labels) = (
            buffers.value(self.z),
            buffers.value(self.q),
            buffers.labels(self.labels),
        );
        let (mut s, mut counts) = (buffers.value_mut(self.s), buffers.value_mut(self.counts));
        let mut loss = buffers.value_mut(self.loss);
        let (cols, epsilon) = (self.z.shape.cols, T::of(EPSILON));
        counts.fill(T::zero());
        for k in labels.iter().filter_map(|&l| class(l)) {
            counts[k] += T::one();
        }
        loss[0] = T::zero();
        for (i, &label) in labels.iter().enumerate() {
            let Some(k) = class(label) else { continue };
            let at = i * cols..(i + 1) * cols;
            let (z, s, q) = (&z[at.clone()], &mut s[at], &q[k * cols..(k + 1) * cols]);
            let log_sum = log_sum_exp(z.iter().copied());
            for ((s, &z), &q) in s.iter_mut().zip(z).zip(q) {
                *s = (z - log_sum).exp();
                loss[0] -= q * (*s + epsilon).ln() / counts[k];
            }
        }
    }

    fn backward(&self, buffers: &Buffers<T>, wants: &[Want]) {
        let (q, s, labels) = (
            buffers.value(self.q),
            buffers.value(self.s),
            buffers.labels(self.labels),
        );
        let (counts, dloss) = (buffers.value(self.counts), buffers.grad(self.loss));
        let (cols, epsilon) = (self.z.shape.cols, T::of(EPSILON));
        if wants[0] != Want::No {
            let mut dz = buffers.grad_mut(self.z);
            let rows = s.chunks_exact(cols).zip(dz.chunks_exact_mut(cols));
            for ((s, dz), &label) in rows.zip(labels.iter()) {
                let Some(k) = class(label) else {
                    dz.iter_mut().for_each(|dz| wants[0].put(dz, T::zero()));
                    continue;
                };
                let q = &q[k * cols..(k + 1) * cols];
                let weight = -dloss[0] / counts[k];
                let g = |q: T, s: T| weight * q / (s + epsilon);
                let mean: T = q.iter().zip(s).map(|(&q, &s)| s * g(q, s)).sum();
                for ((dz, &q), &s) in dz.iter_mut().zip(q).zip(s) {
                    wants[0].put(dz, s * (g(q, s) - mean));
                }
            }
        }
        if wants[1] != Want::No {
            let mut dq = buffers.grad_mut(self.q);
            if wants[1] == Want::Write {
                dq.fill(T::zero());
            }
            for (s, &label) in s.chunks_exact(cols).zip(labels.iter()) {
                let Some(k) = class(label) else { continue };
                for (dq, &s) in dq[k * cols..].iter_mut().zip(s) {
                    *dq -= dloss[0] * (s + epsilon).ln() / counts[k];
                }
            }
        }
    }

    fn launches(&self) -> Vec<Launch> {
        let shape = self.z.shape;
        let args = vec![
            Arg::value(self.z),
            Arg::labels(self.labels),
            Arg::value(self.q),
            Arg::value_mut(self.s),
            Arg::value_mut(self.counts),
            Arg::value_mut(self.loss),
            Arg::int(shape.rows),
            Arg::int(shape.cols),
            Arg::int(self.labels.stride()),
        ];
        let grid = [1, 1, shape.partitions];
        vec![Launch::new("soft_correlation", grid, 1024, args)]
    }

    fn backward_launches(&self, wants: &[Want]) -> Vec<Launch> {
        let (shape, classes) = (self.z.shape, self.z.shape.cols);
        let (rows, partitions) = (shape.rows, shape.partitions);
        let sizes = |want| {
            [
                Arg::int(rows),
                Arg::int(classes),
                Arg::int(self.labels.stride()),
                Arg::want(want),
            ]
        };
        let mut launches = Vec::new();
        if wants[0] != Want::No {
            let mut args = vec![
                Arg::value(self.s),
                Arg::labels(self.labels),
                Arg::value(self.q),
                Arg::value(self.counts),
                Arg::grad(self.loss),
                Arg::grad_mut(self.z),
            ];
            args.extend(sizes(wants[0]));
            let kernel = "soft_correlation_backward_z";
            launches.push(Launch::per_row(kernel, rows, partitions, args));
        }
        if wants[1] != Want::No {
            let mut args = vec![
                Arg::value(self.s),
                Arg::labels(self.labels),
                Arg::grad(self.loss),
                Arg::grad_mut(self.q),
            ];
            args.extend(sizes(wants[1]));
            let kernel = "soft_correlation_backward_q";
            launches.push(Launch::per_class(kernel, self.q.shape, rows, args));
        }
        launches
    }
}
