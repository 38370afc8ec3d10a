//! `L = Σ_k max(0, ‖a − p‖² − ‖a − n‖² + m)`: for class `k` the anchor is the source centroid
//! `a = μs_k`, the positive `p = μt_k`, the negative `n` the target centroid of another class
//! nearest to the anchor, `m` the margin. Classes without rows in either domain, and classes with
//! no other target centroid, add nothing. Which centroid is nearest is a constant.
//!
//! Backward, where the term is positive: `da = 2(n − p)`, `dp = −2(a − p)`, `dn = 2(a − n)`.

use super::{ClassMeans, Op, class, squared_distance};
use crate::device::Buffers;
use crate::device::launch::{Arg, Launch};
use crate::graph::{Graph, Labels, Var, Want};
use crate::real::Real;

struct TripletMargin<T> {
    source: ClassMeans,
    target: ClassMeans,
    margin: T,
    loss: Var,
    /// Class of the nearest other target centroid, −1 where the class adds nothing, `[P, K]`.
    nearest: Labels,
    /// What each class adds, `[P, 1, K]`.
    terms: Var,
}

/// Records the margin form of the alignment of `source` and `target` centroids: `[P, 1, 1]`.
pub fn triplet_margin<T: Real>(
    g: &mut Graph<T>,
    source: ClassMeans,
    target: ClassMeans,
    margin: f64,
) -> Var {
    assert_eq!(
        source.means.shape, target.means.shape,
        "triplet_margin: centroids of one shape"
    );
    let loss = g.computed("triplet_margin", 1, 1, &[source.means, target.means]);
    let (classes, margin) = (source.means.shape.rows, T::of(margin));
    let nearest = g.labels(classes);
    let terms = g.buffer("triplet_margin.terms", 1, classes);
    g.push(TripletMargin {
        source,
        target,
        margin,
        loss,
        nearest,
        terms,
    });
    loss
}

/// The target centroid other than class `k`'s nearest to the anchor of class `k`, and the term;
/// `None` where there is none or it is not positive.
fn term<T: Real>(
    (s, ns): (&[T], &[T]),
    (t, nt): (&[T], &[T]),
    margin: T,
    k: usize,
) -> Option<(usize, T)> {
    let (classes, cols) = (ns.len(), s.len() / ns.len());
    if ns[k] == T::zero() || nt[k] == T::zero() {
        return None;
    }
    let distance =
        |j: usize| squared_distance(&s[k * cols..(k + 1) * cols], &t[j * cols..(j + 1) * cols]);
    let mut nearest: Option<(usize, T)> = None;
    for j in (0..classes).filter(|&j| j != k && nt[j] > T::zero()) {
        let away = distance(j);
        if nearest.is_none_or(|(_, best)| away < best) {
            nearest = Some((j, away));
        }
    }
    let (j, away) = nearest?;
    let term = distance(k) - away + margin;
    (term > T::zero()).then_some((j, term))
}

impl<T: Real> Op<T> for TripletMargin<T> {
    fn name(&self) -> &'static str {
        "triplet_margin"
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
        let (mut nearest, mut terms) = (
            buffers.labels_mut(self.nearest),
            buffers.value_mut(self.terms),
        );
        let mut loss = buffers.value_mut(self.loss);
        let (source, target) = ((&s[..], &ns[..]), (&t[..], &nt[..]));
        for (k, (nearest, slot)) in nearest.iter_mut().zip(terms.iter_mut()).enumerate() {
            (*nearest, *slot) = match term(source, target, self.margin, k) {
                Some((j, term)) => (j as i32, term),
                None => (-1, T::zero()),
            };
        }
        loss[0] = terms.iter().copied().sum();
    }

    fn backward(&self, buffers: &Buffers<T>, wants: &[Want]) {
        let (s, t) = (
            buffers.value(self.source.means),
            buffers.value(self.target.means),
        );
        let (nearest, dloss) = (buffers.labels(self.nearest), buffers.grad(self.loss));
        let mut ds = buffers.grad_mut(self.source.means);
        let mut dt = buffers.grad_mut(self.target.means);
        for (gradient, want) in [(&mut ds, wants[0]), (&mut dt, wants[1])] {
            if want == Want::Write {
                gradient.fill(T::zero());
            }
        }
        let cols = self.source.means.shape.cols;
        let two = T::of(2.0) * dloss[0];
        for (k, &j) in nearest.iter().enumerate() {
            let Some(j) = class(j) else { continue };
            for c in 0..cols {
                let (kc, jc) = (k * cols + c, j * cols + c);
                let (a, p, n) = (s[kc], t[kc], t[jc]);
                if wants[0] != Want::No {
                    ds[kc] += two * (n - p);
                }
                if wants[1] != Want::No {
                    dt[kc] -= two * (a - p);
                    dt[jc] += two * (a - n);
                }
            }
        }
    }

    fn launches(&self) -> Vec<Launch> {
        let shape = self.source.means.shape;
        let terms = vec![
            Arg::value(self.source.means),
            Arg::value(self.target.means),
            Arg::value(self.source.counts),
            Arg::value(self.target.counts),
            Arg::labels_mut(self.nearest),
            Arg::value_mut(self.terms),
            Arg::int(shape.rows),
            Arg::int(shape.cols),
            Arg::real(self.margin),
        ];
        let sum = vec![
            Arg::value(self.terms),
            Arg::value_mut(self.loss),
            Arg::int(shape.rows),
        ];
        let grid = [shape.rows, 1, shape.partitions];
        vec![
            Launch::new("triplet_margin_terms", grid, 256, terms),
            Launch::per_partition("triplet_margin_sum", shape.rows, shape.partitions, sum),
        ]
    }

    fn backward_launches(&self, wants: &[Want]) -> Vec<Launch> {
        let shape = self.source.means.shape;
        let args = vec![
            Arg::value(self.source.means),
            Arg::value(self.target.means),
            Arg::labels(self.nearest),
            Arg::grad(self.loss),
            Arg::grad_mut(self.source.means),
            Arg::grad_mut(self.target.means),
            Arg::int(shape.rows),
            Arg::int(shape.cols),
            Arg::want(wants[0]),
            Arg::want(wants[1]),
        ];
        let (n, partitions) = (shape.block(), shape.partitions);
        vec![Launch::per_element(
            "triplet_margin_backward",
            n,
            partitions,
            args,
        )]
    }
}
