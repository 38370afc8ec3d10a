//! Keeps scalars of each epoch in a ring, to be read back in batches; off the tape.

use super::Op;
use crate::device::Cpu;
use crate::graph::{Graph, Var};
use crate::real::Real;

struct RecordMetrics {
    epoch: Var,
    scalars: Vec<Var>,
    ring: Var,
}

/// Records the copy of `scalars` (each `[P, 1, 1]` or shared) to row `epoch mod capacity` of a
/// ring `[P, capacity, scalars]`, which it returns.
pub fn record_metrics<T: Real>(
    g: &mut Graph<T>,
    epoch: Var,
    scalars: &[Var],
    capacity: usize,
) -> Var {
    let ring = g.buffer("metrics", capacity, scalars.len());
    let scalars = scalars.to_vec();
    g.push(RecordMetrics {
        epoch,
        scalars,
        ring,
    });
    ring
}

impl<T: Real> Op<T> for RecordMetrics {
    fn name(&self) -> &'static str {
        "metrics"
    }

    fn forward(&self, cpu: &Cpu<T>) {
        let epoch = cpu.value(self.epoch)[0].wide() as usize;
        let row = epoch % self.ring.shape.rows;
        let mut ring = cpu.value_mut(self.ring);
        for p in 0..self.ring.shape.partitions {
            let start = self.ring.at(p).start + row * self.scalars.len();
            for (slot, scalar) in ring[start..].iter_mut().zip(&self.scalars) {
                *slot = cpu.value(*scalar)[scalar.at(p)][0];
            }
        }
    }
}
