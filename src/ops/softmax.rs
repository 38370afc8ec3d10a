//! `q_ic = exp(z_ic/τ) / Σ_j exp(z_ij/τ)`: softmax with temperature `τ`, row by row.
//!
//! Backward: `dz_ic = q_ic (dq_ic − Σ_j q_ij dq_ij) / τ`.

use super::{Op, dot, log_sum_exp};
use crate::device::Buffers;
use crate::device::cpu::for_rows;
use crate::device::launch::{Arg, Launch};
use crate::graph::{Graph, Var, Want};
use crate::real::Real;

/// Softmax of each row of `cols` logits.
pub(crate) fn softmax_rows<T: Real>(logits: &[T], cols: usize) -> Vec<f64> {
    let rows = logits.chunks_exact(cols);
    let softmax = rows.flat_map(|row| {
        let row = row.iter().map(|z| z.wide());
        let log_sum = log_sum_exp(row.clone());
        row.map(move |z| (z - log_sum).exp())
    });
    softmax.collect()
}

struct Softmax<T> {
    z: Var,
    q: Var,
    temperature: T,
}

/// Records the softmax of `z [P, n, K]` at a positive temperature.
pub fn softmax<T: Real>(g: &mut Graph<T>, z: Var, temperature: f64) -> Var {
    assert!(temperature > 0.0, "softmax: the temperature is positive");
    let q = g.computed("softmax", z.shape.rows, z.shape.cols, &[z]);
    let temperature = T::of(temperature);
    g.push(Softmax { z, q, temperature });
    q
}

impl<T: Real> Op<T> for Softmax<T> {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn inputs(&self) -> Vec<Var> {
        vec![self.z]
    }

    fn output(&self) -> Option<Var> {
        Some(self.q)
    }

    fn forward(&self, buffers: &Buffers<T>) {
        let z = buffers.value(self.z);
        let cols = self.z.shape.cols;
        for_rows(
            cols,
            [(&mut buffers.value_mut(self.q), cols)],
            |i, [row]| {
                let scaled = z[i * cols..(i + 1) * cols]
                    .iter()
                    .map(|&z| z / self.temperature);
                let log_sum = log_sum_exp(scaled.clone());
                for (q, z) in row.iter_mut().zip(scaled) {
                    *q = (z - log_sum).exp();
                }
            },
        );
    }

    fn backward(&self, buffers: &Buffers<T>, wants: &[Want]) {
        let (q, dq) = (buffers.value(self.q), buffers.grad(self.q));
        let cols = self.z.shape.cols;
        for_rows(cols, [(&mut buffers.grad_mut(self.z), cols)], |i, [row]| {
            let at = i * cols..(i + 1) * cols;
            let (q, dq) = (&q[at.clone()], &dq[at]);
            let mean = dot(q, dq);
            for ((dz, &q), &dq) in row.iter_mut().zip(q).zip(dq) {
                wants[0].put(dz, q * (dq - mean) / self.temperature);
            }
        });
    }

    fn launches(&self) -> Vec<Launch> {
        let shape = self.z.shape;
        let args = vec![
            Arg::value(self.z),
            Arg::value_mut(self.q),
            Arg::int(shape.rows),
            Arg::int(shape.cols),
            Arg::real(self.temperature),
        ];
        vec![Launch::per_row(
            "softmax",
            shape.rows,
            shape.partitions,
            args,
        )]
    }

    fn backward_launches(&self, wants: &[Want]) -> Vec<Launch> {
        let shape = self.z.shape;
        let args = vec![
            Arg::value(self.q),
            Arg::grad(self.q),
            Arg::grad_mut(self.z),
            Arg::int(shape.rows),
            Arg::int(shape.cols),
            Arg::real(self.temperature),
            Arg::want(wants[0]),
        ];
        vec![Launch::per_row(
            "softmax_backward",
            shape.rows,
            shape.partitions,
            args,
        )]
    }
}
