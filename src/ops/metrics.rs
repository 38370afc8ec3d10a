//! Keeps scalars of each epoch in a ring, to be read back in batches; off the tape.

use super::Op;
use crate::device::Buffers;
use crate::device::launch::{Arg, Launch, WARP};
use crate::graph::{Graph, Var};
use crate::real::Real;

/// Scalars that one launch of the kernel takes.
const ARITY: usize = 12;

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
    g.remember(ring);
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

    fn forward(&self, buffers: &Buffers<T>) {
        let epoch = buffers.value(self.epoch)[0].wide() as usize;
        let row = epoch % self.ring.shape.rows;
        let mut ring = buffers.value_mut(self.ring);
        let start = row * self.scalars.len();
        for (slot, scalar) in ring[start..].iter_mut().zip(&self.scalars) {
            *slot = buffers.value(*scalar)[0];
        }
    }

    fn launches(&self) -> Vec<Launch> {
        let shape = self.ring.shape;
        let launch = |(i, scalars): (usize, &[Var])| {
            let mut args = vec![Arg::value(self.epoch)];
            let padded = scalars.iter().chain(std::iter::repeat(&scalars[0]));
            args.extend(padded.take(ARITY).map(|s| Arg::value(*s)));
            let shared = scalars.iter().enumerate();
            let shared = shared.map(|(j, s)| i32::from(s.shape.partitions == 1) << j);
            args.extend([
                Arg::value_mut(self.ring),
                Arg::int(shape.rows),
                Arg::int(shape.cols),
                Arg::int(i * ARITY),
                Arg::int(scalars.len()),
                Arg::Int(shared.sum()),
            ]);
            Launch::new("metrics", [1, 1, shape.partitions], WARP, args)
        };
        self.scalars.chunks(ARITY).enumerate().map(launch).collect()
    }
}
