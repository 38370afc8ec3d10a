//! Explicit alignment of class centroids (SSAN, L_esa), over classes that have rows in both
//! domains:
//!
//! - two prototypes: `Σ_k ‖μs_k − μt_k‖²`;
//! - three: `Σ_k ‖μs_k − μt_k‖² + ‖μs_k − μst_k‖² + ‖μt_k − μst_k‖²`, with `μst_k` the mean of all
//!   rows of class `k`, source and target together.
//!
//! `μst = (ns μs + nt μt)/(ns + nt)`, so `μs − μst = nt/(ns+nt)·(μs − μt)` and
//! `μt − μst = −ns/(ns+nt)·(μs − μt)`: three prototypes weigh the one distance by
//! `w_k = 1 + (ns² + nt²)/(ns + nt)²`, and no third mean is needed. With two, `w_k = 1`.
//! Backward: `dμs_k = 2 w_k (μs_k − μt_k)`, `dμt_k = −dμs_k`; counts are constants.

use super::{ClassMeans, Op, squared_distance};
use crate::device::Buffers;
use crate::device::launch::{Arg, Launch};
use crate::graph::{Graph, Var, Want};
use crate::real::Real;

/// How many centroids per class are drawn together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prototypes {
    /// Source and target.
    Two,
    /// Source, target, and both together.
    Three,
}

struct PairwiseAlignment {
    source: ClassMeans,
    target: ClassMeans,
    prototypes: Prototypes,
    loss: Var,
}

/// Records the alignment of `source` and `target` centroids: `[P, 1, 1]`.
pub fn pairwise_alignment<T: Real>(
    g: &mut Graph<T>,
    source: ClassMeans,
    target: ClassMeans,
    prototypes: Prototypes,
) -> Var {
    assert_eq!(
        source.means.shape, target.means.shape,
        "pairwise_alignment: centroids of one shape"
    );
    let loss = g.computed("pairwise_alignment", 1, 1, &[source.means, target.means]);
    g.push(PairwiseAlignment {
        source,
        target,
        prototypes,
        loss,
    });
    loss
}

impl Prototypes {
    /// `w_k` for a class of `ns` source and `nt` target rows.
    fn weight<T: Real>(self, ns: T, nt: T) -> T {
        if ns == T::zero() || nt == T::zero() {
            return T::zero();
        }
        match self {
            Prototypes::Two => T::one(),
            Prototypes::Three => T::one() + (ns * ns + nt * nt) / ((ns + nt) * (ns + nt)),
        }
    }
}

impl<T: Real> Op<T> for PairwiseAlignment {
    fn name(&self) -> &'static str {
        "pairwise_alignment"
    }

    fn inputs(&self) -> Vec<Var> {
        vec![self.source.means, self.target.means]
    }

    fn output(&self) -> Option<Var> {
        Some(self.loss)
    }

    fn forward(&self, buffers: &Buffers<T>) {
        let (s, ns) = self.source.read(buffers);
        let (t, nt) = self.target.read(buffers);
        let mut loss = buffers.value_mut(self.loss);
        let shape = self.source.means.shape;
        loss[0] = T::zero();
        for k in 0..shape.rows {
            let at = k * shape.cols..(k + 1) * shape.cols;
            let weight = self.prototypes.weight(ns[k], nt[k]);
            loss[0] += weight * squared_distance(&s[at.clone()], &t[at]);
        }
    }

    fn backward(&self, buffers: &Buffers<T>, wants: &[Want]) {
        let (s, ns) = self.source.read(buffers);
        let (t, nt) = self.target.read(buffers);
        let dloss = buffers.grad(self.loss);
        let shape = self.source.means.shape;
        let sides = [
            (self.source.means, T::one()),
            (self.target.means, -T::one()),
        ];
        for ((var, sign), &want) in sides.into_iter().zip(wants) {
            if want == Want::No {
                continue;
            }
            let mut gradient = buffers.grad_mut(var);
            for k in 0..shape.rows {
                let weight = self.prototypes.weight(ns[k], nt[k]);
                let factor = sign * T::of(2.0) * weight * dloss[0];
                for at in k * shape.cols..(k + 1) * shape.cols {
                    want.put(&mut gradient[at], factor * (s[at] - t[at]));
                }
            }
        }
    }

    fn launches(&self) -> Vec<Launch> {
        let shape = self.source.means.shape;
        let args = vec![
            Arg::value(self.source.means),
            Arg::value(self.target.means),
            Arg::value(self.source.counts),
            Arg::value(self.target.counts),
            Arg::value_mut(self.loss),
            Arg::int(shape.rows),
            Arg::int(shape.cols),
            Arg::flag(self.prototypes == Prototypes::Three),
        ];
        let (kernel, n) = ("pairwise_alignment", shape.block());
        vec![Launch::per_partition(kernel, n, shape.partitions, args)]
    }

    fn backward_launches(&self, wants: &[Want]) -> Vec<Launch> {
        let shape = self.source.means.shape;
        let args = vec![
            Arg::value(self.source.means),
            Arg::value(self.target.means),
            Arg::value(self.source.counts),
            Arg::value(self.target.counts),
            Arg::grad(self.loss),
            Arg::grad_mut(self.source.means),
            Arg::grad_mut(self.target.means),
            Arg::int(shape.rows),
            Arg::int(shape.cols),
            Arg::flag(self.prototypes == Prototypes::Three),
            Arg::want(wants[0]),
            Arg::want(wants[1]),
        ];
        let (n, partitions) = (shape.block(), shape.partitions);
        vec![Launch::per_element(
            "pairwise_alignment_backward",
            n,
            partitions,
            args,
        )]
    }
}
