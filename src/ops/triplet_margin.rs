//! `L = Σ_k max(0, ‖a − p‖² − ‖a − n‖² + m)`: for class `k` the anchor is the source centroid
//! `a = μs_k`, the positive `p = μt_k`, the negative `n` the target centroid of another class
//! nearest to the anchor, `m` the margin. Classes without rows in either domain, and classes with
//! no other target centroid, add nothing. Which centroid is nearest is a constant.
//!
//! Backward, where the term is positive: `da = 2(n − p)`, `dp = −2(a − p)`, `dn = 2(a − n)`.

use super::{ClassMeans, Op, squared_distance};
use crate::device::Cpu;
use crate::graph::{Graph, Var, Want};
use crate::real::Real;

struct TripletMargin<T> {
    source: ClassMeans,
    target: ClassMeans,
    margin: T,
    loss: Var,
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
    let margin = T::of(margin);
    g.push(TripletMargin {
        source,
        target,
        margin,
        loss,
    });
    loss
}

/// Calls `f(k, j, term)` for every class `k` of one partition with its nearest other target
/// centroid `j` and its positive term.
fn terms<T: Real>(
    (s, ns): (&[T], &[T]),
    (t, nt): (&[T], &[T]),
    margin: T,
    mut f: impl FnMut(usize, usize, T),
) {
    let (classes, cols) = (ns.len(), s.len() / ns.len());
    let (s, t) = (
        |k: usize| &s[k * cols..(k + 1) * cols],
        |k: usize| &t[k * cols..(k + 1) * cols],
    );
    for k in (0..classes).filter(|&k| ns[k] > T::zero() && nt[k] > T::zero()) {
        let mut nearest: Option<(usize, T)> = None;
        for j in (0..classes).filter(|&j| j != k && nt[j] > T::zero()) {
            let distance = squared_distance(s(k), t(j));
            if nearest.is_none_or(|(_, best)| distance < best) {
                nearest = Some((j, distance));
            }
        }
        let Some((j, away)) = nearest else { continue };
        let term = squared_distance(s(k), t(k)) - away + margin;
        if term > T::zero() {
            f(k, j, term);
        }
    }
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

    fn forward(&self, cpu: &Cpu<T>) {
        let (s, t) = (cpu.value(self.source.means), cpu.value(self.target.means));
        let (ns, nt) = (cpu.value(self.source.counts), cpu.value(self.target.counts));
        let mut loss = cpu.value_mut(self.loss);
        for (p, loss) in loss.iter_mut().enumerate() {
            let (at, of) = (self.source.means.at(p), self.source.counts.at(p));
            *loss = T::zero();
            terms(
                (&s[at.clone()], &ns[of.clone()]),
                (&t[at], &nt[of]),
                self.margin,
                |_, _, term| *loss += term,
            );
        }
    }

    fn backward(&self, cpu: &Cpu<T>, wants: &[Want]) {
        let (s, t) = (cpu.value(self.source.means), cpu.value(self.target.means));
        let (ns, nt) = (cpu.value(self.source.counts), cpu.value(self.target.counts));
        let dloss = cpu.grad(self.loss);
        let mut ds = cpu.grad_mut(self.source.means);
        let mut dt = cpu.grad_mut(self.target.means);
        for (gradient, want) in [(&mut ds, wants[0]), (&mut dt, wants[1])] {
            if want == Want::Write {
                gradient.fill(T::zero());
            }
        }
        let cols = self.source.means.shape.cols;
        for (p, &dloss) in dloss.iter().enumerate() {
            let (at, of) = (self.source.means.at(p), self.source.counts.at(p));
            let (s, t) = (&s[at.clone()], &t[at.clone()]);
            let two = T::of(2.0) * dloss;
            terms(
                (s, &ns[of.clone()]),
                (t, &nt[of]),
                self.margin,
                |k, j, _| {
                    for c in 0..cols {
                        let (kc, jc) = (k * cols + c, j * cols + c);
                        let (a, p, n) = (s[kc], t[kc], t[jc]);
                        if wants[0] != Want::No {
                            ds[at.start + kc] += two * (n - p);
                        }
                        if wants[1] != Want::No {
                            dt[at.start + kc] -= two * (a - p);
                            dt[at.start + jc] += two * (a - n);
                        }
                    }
                },
            );
        }
    }
}
