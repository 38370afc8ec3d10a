//! Binary cross-entropy of the domain discriminator, the mean over all rows in use (SSAN, L_adv):
//! `L = (1/m) Σ_i −log σ(z_i)` for rows of domain 1, `−log(1 − σ(z_i))` for rows of domain 0.
//!
//! As PyTorch's `BCELoss`: each logarithm is at least −100, and the gradient is
//! `dz = (σ − y)·σ(1−σ)/max(σ(1−σ), 1e-12)/m`, which is `(σ − y)/m` until σ saturates.

use super::Op;
use crate::device::Buffers;
use crate::device::launch::{Arg, Launch};
use crate::graph::{Graph, Labels, Var, Want};
use crate::real::Real;

/// The logits of one domain's rows.
#[derive(Clone, Copy, Debug)]
pub struct DomainRows {
    /// Logits `[P, n, 1]`.
    pub logits: Var,
    /// Rows in use: those whose label is not −1.
    pub rows: Labels,
    /// Whether these rows are of domain 1.
    pub positive: bool,
}

struct DomainBce {
    parts: Vec<DomainRows>,
    loss: Var,
    /// 1/m, 0 without rows in use, `[P, 1, 1]`.
    weight: Var,
}

/// Records the mean binary cross-entropy over the rows of all `parts`: `[P, 1, 1]`.
pub fn domain_bce<T: Real>(g: &mut Graph<T>, parts: &[DomainRows]) -> Var {
    let inputs: Vec<Var> = parts.iter().map(|part| part.logits).collect();
    for part in parts {
        let shape = part.logits.shape;
        assert_eq!(
            (shape.rows, shape.cols),
            (part.rows.rows, 1),
            "domain_bce: one logit per row"
        );
    }
    let loss = g.computed("domain_bce", 1, 1, &inputs);
    let weight = g.buffer("domain_bce.weight", 1, 1);
    g.push(DomainBce {
        parts: parts.to_vec(),
        loss,
        weight,
    });
    loss
}

/// `−log σ(z)`, at most 100.
fn negative_log_sigmoid<T: Real>(z: T) -> T {
    let value = (-z).max(T::zero()) + (-z.abs()).exp().ln_1p();
    value.min(T::of(100.0))
}

/// The derivative of the clamped loss at logit `z` for domain `y`, before the mean.
fn derivative<T: Real>(z: T, y: T) -> T {
    let s = T::one() / (T::one() + (-z).exp());
    let slope = s * (T::one() - s);
    (s - y) * slope / slope.max(T::of(1e-12))
}

impl DomainBce {
    /// 1/m, 0 without rows.
    fn mean_weight<T: Real>(&self, buffers: &Buffers<T>) -> T {
        let used = |part: &DomainRows| {
            let rows = buffers.labels(part.rows);
            rows.iter().filter(|&&l| l >= 0).count()
        };
        match self.parts.iter().map(used).sum::<usize>() {
            0 => T::zero(),
            m => T::one() / T::of(m as f64),
        }
    }
}

impl<T: Real> Op<T> for DomainBce {
    fn name(&self) -> &'static str {
        "domain_bce"
    }

    fn inputs(&self) -> Vec<Var> {
        self.parts.iter().map(|part| part.logits).collect()
    }

    fn output(&self) -> Option<Var> {
        Some(self.loss)
    }

    fn forward(&self, buffers: &Buffers<T>) {
        let (mut loss, mut weight) = (buffers.value_mut(self.loss), buffers.value_mut(self.weight));
        loss[0] = T::zero();
        for part in &self.parts {
            let (z, rows) = (buffers.value(part.logits), buffers.labels(part.rows));
            for (&z, _) in z.iter().zip(rows.iter()).filter(|(_, r)| **r >= 0) {
                loss[0] += negative_log_sigmoid(if part.positive { z } else { -z });
            }
        }
        weight[0] = self.mean_weight(buffers);
        loss[0] *= weight[0];
    }

    fn backward(&self, buffers: &Buffers<T>, wants: &[Want]) {
        let (dloss, weight) = (buffers.grad(self.loss), buffers.value(self.weight));
        for (part, &want) in self.parts.iter().zip(wants) {
            if want == Want::No {
                continue;
            }
            let (z, rows) = (buffers.value(part.logits), buffers.labels(part.rows));
            let mut dz = buffers.grad_mut(part.logits);
            let y = if part.positive { T::one() } else { T::zero() };
            let weight = dloss[0] * weight[0];
            let values = z.iter().zip(rows.iter());
            for (dz, (&z, &row)) in dz.iter_mut().zip(values) {
                let used = if row >= 0 { weight } else { T::zero() };
                want.put(dz, used * derivative(z, y));
            }
        }
    }

    fn launches(&self) -> Vec<Launch> {
        let launch = |(i, part): (usize, &DomainRows)| {
            let args = vec![
                Arg::value(part.logits),
                Arg::labels(part.rows),
                Arg::value_mut(self.weight),
                Arg::value_mut(self.loss),
                Arg::int(part.rows.rows),
                Arg::int(part.logits.shape.stride()),
                Arg::int(part.rows.stride()),
                Arg::flag(part.positive),
                Arg::flag(i == 0),
                Arg::flag(i + 1 == self.parts.len()),
            ];
            let partitions = self.loss.shape.partitions;
            Launch::per_partition("domain_bce", part.rows.rows, partitions, args)
        };
        self.parts.iter().enumerate().map(launch).collect()
    }

    fn backward_launches(&self, wants: &[Want]) -> Vec<Launch> {
        let wanted = self.parts.iter().zip(wants);
        let wanted = wanted.filter(|(_, want)| **want != Want::No);
        let launch = |(part, &want): (&DomainRows, &Want)| {
            let args = vec![
                Arg::value(part.logits),
                Arg::labels(part.rows),
                Arg::value(self.weight),
                Arg::grad(self.loss),
                Arg::grad_mut(part.logits),
                Arg::int(part.rows.rows),
                Arg::int(part.rows.stride()),
                Arg::flag(part.positive),
                Arg::want(want),
            ];
            let (n, partitions) = (part.rows.rows, part.logits.shape.partitions);
            Launch::per_element("domain_bce_backward", n, partitions, args)
        };
        wanted.map(launch).collect()
    }
}
