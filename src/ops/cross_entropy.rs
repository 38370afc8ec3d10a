//! `L = −(1/m) Σ_{i: y_i ≥ 0} log softmax(z_i)_{y_i}`, the mean over the `m` labelled rows; 0 when
//! there is none (SSAN, L_src and the hard part of L_isc).
//!
//! Backward: `dz_ic = (softmax(z_i)_c − [c = y_i]) / m` on labelled rows, 0 elsewhere.

use super::{Op, class, log_sum_exp};
use crate::device::Buffers;
use crate::device::cpu::for_rows;
use crate::device::launch::{Arg, Launch};
use crate::graph::{Graph, Labels, Var, Want};
use crate::real::Real;

struct CrossEntropy {
    z: Var,
    labels: Labels,
    loss: Var,
    /// Per row: `log Σ exp z_i` in column 0, the row's term of the sum in column 1.
    saved: Var,
    /// 1/m, 0 without labelled rows, `[P, 1, 1]`.
    weight: Var,
}

/// Records the mean cross-entropy of logits `z [P, n, K]` over the rows whose label is not −1:
/// `[P, 1, 1]`.
pub fn cross_entropy<T: Real>(g: &mut Graph<T>, z: Var, labels: Labels) -> Var {
    assert_eq!(z.shape.rows, labels.rows, "cross_entropy: rows and labels");
    let loss = g.computed("cross_entropy", 1, 1, &[z]);
    let saved = g.buffer("cross_entropy.saved", z.shape.rows, 2);
    let weight = g.buffer("cross_entropy.weight", 1, 1);
    g.push(CrossEntropy {
        z,
        labels,
        loss,
        saved,
        weight,
    });
    loss
}

/// 1/m over the rows with a label, 0 where there is none.
fn mean_weight<T: Real>(labels: &[i32]) -> T {
    match labels.iter().filter(|&&l| l >= 0).count() {
        0 => T::zero(),
        m => T::one() / T::of(m as f64),
    }
}

impl<T: Real> Op<T> for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn inputs(&self) -> Vec<Var> {
        vec![self.z]
    }

    fn output(&self) -> Option<Var> {
        Some(self.loss)
    }

    fn forward(&self, buffers: &Buffers<T>) {
        let (z, labels) = (buffers.value(self.z), buffers.labels(self.labels));
        let (mut saved, mut loss) = (buffers.value_mut(self.saved), buffers.value_mut(self.loss));
        let mut weight = buffers.value_mut(self.weight);
        let cols = self.z.shape.cols;
        for_rows(cols, [(&mut saved, 2)], |i, [saved]| {
            if let Some(k) = class(labels[i]) {
                let z = &z[i * cols..(i + 1) * cols];
                saved[0] = log_sum_exp(z.iter().copied());
                saved[1] = saved[0] - z[k];
            } else {
                saved.fill(T::zero());
            }
        });
        let sum: T = saved.chunks_exact(2).map(|row| row[1]).sum();
        weight[0] = mean_weight(&labels);
        loss[0] = sum * weight[0];
    }

    fn backward(&self, buffers: &Buffers<T>, wants: &[Want]) {
        let (z, labels) = (buffers.value(self.z), buffers.labels(self.labels));
        let (saved, dloss) = (buffers.value(self.saved), buffers.grad(self.loss));
        let weight = buffers.value(self.weight);
        let mut dz = buffers.grad_mut(self.z);
        let cols = self.z.shape.cols;
        let weight = dloss[0] * weight[0];
        for_rows(cols, [(&mut dz, cols)], |i, [dz]| {
            let label = class(labels[i]);
            for (c, (dz, &z)) in dz.iter_mut().zip(&z[i * cols..]).enumerate() {
                let gradient = match label {
                    None => T::zero(),
                    Some(k) => {
                        let hit = if c == k { T::one() } else { T::zero() };
                        weight * ((z - saved[2 * i]).exp() - hit)
                    }
                };
                wants[0].put(dz, gradient);
            }
        });
    }

    fn launches(&self) -> Vec<Launch> {
        let shape = self.z.shape;
        let rows = vec![
            Arg::value(self.z),
            Arg::labels(self.labels),
            Arg::value_mut(self.saved),
            Arg::int(shape.rows),
            Arg::int(shape.cols),
            Arg::int(self.labels.stride()),
        ];
        let mean = vec![
            Arg::value(self.saved),
            Arg::labels(self.labels),
            Arg::value_mut(self.weight),
            Arg::value_mut(self.loss),
            Arg::int(shape.rows),
            Arg::int(self.labels.stride()),
        ];
        vec![
            Launch::per_row("cross_entropy_rows", shape.rows, shape.partitions, rows),
            Launch::per_partition("cross_entropy_mean", shape.rows, shape.partitions, mean),
        ]
    }

    fn backward_launches(&self, wants: &[Want]) -> Vec<Launch> {
        let shape = self.z.shape;
        let args = vec![
            Arg::value(self.z),
            Arg::labels(self.labels),
            Arg::value(self.saved),
            Arg::value(self.weight),
            Arg::grad(self.loss),
            Arg::grad_mut(self.z),
            Arg::int(shape.rows),
            Arg::int(shape.cols),
            Arg::int(self.labels.stride()),
            Arg::want(wants[0]),
        ];
        let (n, partitions) = (shape.block(), shape.partitions);
        vec![Launch::per_element(
            "cross_entropy_backward",
            n,
            partitions,
            args,
        )]
    }
}
