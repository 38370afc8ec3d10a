//! Binary cross-entropy of the domain discriminator, the mean over all rows in use (SSAN, L_adv):
//! `L = (1/m) Σ_i −log σ(z_i)` for rows of domain 1, `−log(1 − σ(z_i))` for rows of domain 0.
//!
//! As PyTorch's `BCELoss`: each logarithm is at least −100, and the gradient is
//! `dz = (σ − y)·σ(1−σ)/max(σ(1−σ), 1e-12)/m`, which is `(σ − y)/m` until σ saturates.

use super::Op;
use crate::device::Cpu;
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
    let parts = parts.to_vec();
    g.push(DomainBce { parts, loss });
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
    /// 1/m for partition `p`, 0 without rows.
    fn mean_weight<T: Real>(&self, cpu: &Cpu<T>, p: usize) -> T {
        let used = |part: &DomainRows| {
            let rows = cpu.labels(part.rows);
            rows[part.rows.at(p)].iter().filter(|&&l| l >= 0).count()
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

    fn forward(&self, cpu: &Cpu<T>) {
        let mut loss = cpu.value_mut(self.loss);
        for (p, loss) in loss.iter_mut().enumerate() {
            *loss = T::zero();
            for part in &self.parts {
                let (z, rows) = (cpu.value(part.logits), cpu.labels(part.rows));
                let rows = rows[part.rows.at(p)].iter();
                for (&z, _) in z[part.logits.at(p)]
                    .iter()
                    .zip(rows)
                    .filter(|(_, r)| **r >= 0)
                {
                    *loss += negative_log_sigmoid(if part.positive { z } else { -z });
                }
            }
            *loss *= self.mean_weight(cpu, p);
        }
    }

    fn backward(&self, cpu: &Cpu<T>, wants: &[Want]) {
        let dloss = cpu.grad(self.loss);
        for (part, &want) in self.parts.iter().zip(wants) {
            if want == Want::No {
                continue;
            }
            let (z, rows) = (cpu.value(part.logits), cpu.labels(part.rows));
            let mut dz = cpu.grad_mut(part.logits);
            let y = if part.positive { T::one() } else { T::zero() };
            for p in 0..part.logits.shape.partitions {
                let weight = dloss[p] * self.mean_weight(cpu, p);
                let at = part.logits.at(p);
                let values = z[at.clone()].iter().zip(&rows[part.rows.at(p)]);
                for (dz, (&z, &row)) in dz[at].iter_mut().zip(values) {
                    let used = if row >= 0 { weight } else { T::zero() };
                    want.put(dz, used * derivative(z, y));
                }
            }
        }
    }
}
