//! `μ_k = (1/n_k) Σ_{i: y_i = k} x_i`: the mean row of each class, over one block or two of
//! rows together (SSAN: class centroids, prototypes, and `q_k` from softmax rows).
//!
//! A class without rows has `n_k = 0` and mean 0. Backward: `dx_i = dμ_{y_i} / n_{y_i}`, 0 for
//! rows labelled −1.

use atomic_refcell::AtomicRef;

use super::{Op, class};
use crate::device::Buffers;
use crate::device::cpu::for_rows;
use crate::device::launch::{Arg, Launch};
use crate::graph::{Graph, Labels, Var, Want};
use crate::real::Real;

struct Means {
    parts: Vec<(Var, Labels)>,
    means: Var,
    counts: Var,
}

/// What [`class_means`] records.
#[derive(Clone, Copy, Debug)]
pub struct ClassMeans {
    /// Mean row per class, `[P, K, d]`.
    pub means: Var,
    /// Rows per class, `[P, 1, K]`.
    pub counts: Var,
}

impl ClassMeans {
    /// The means and the counts, to read.
    pub(super) fn read<T: Real>(
        self,
        buffers: &Buffers<T>,
    ) -> (AtomicRef<'_, Vec<T>>, AtomicRef<'_, Vec<T>>) {
        (buffers.value(self.means), buffers.value(self.counts))
    }
}

/// Records the class means of one or two `parts` together: each a block of rows `[P, n, d]` with its
/// labels below `classes`, or −1.
pub fn class_means<T: Real>(
    g: &mut Graph<T>,
    parts: &[(Var, Labels)],
    classes: usize,
) -> ClassMeans {
    assert!(matches!(parts.len(), 1 | 2), "class_means: one part or two");
    let inputs: Vec<Var> = parts.iter().map(|(x, _)| *x).collect();
    for (x, labels) in parts {
        assert_eq!(x.shape.rows, labels.rows, "class_means: rows and labels");
        assert_eq!(x.shape.cols, inputs[0].shape.cols, "class_means: columns");
    }
    let means = g.computed("class_means", classes, inputs[0].shape.cols, &inputs);
    let counts = g.buffer("class_means.counts", 1, classes);
    let parts = parts.to_vec();
    g.push(Means {
        parts,
        means,
        counts,
    });
    ClassMeans { means, counts }
}

impl<T: Real> Op<T> for Means {
    fn name(&self) -> &'static str {
        "class_means"
    }

    fn inputs(&self) -> Vec<Var> {
        self.parts.iter().map(|(x, _)| *x).collect()
    }

    fn output(&self) -> Option<Var> {
        Some(self.means)
    }

    fn forward(&self, buffers: &Buffers<T>) {
        let (mut means, mut counts) = (
            buffers.value_mut(self.means),
            buffers.value_mut(self.counts),
        );
        means.fill(T::zero());
        counts.fill(T::zero());
        let cols = self.means.shape.cols;
        for (x, labels) in &self.parts {
            let (values, tags) = (buffers.value(*x), buffers.labels(*labels));
            let rows = values.chunks_exact(cols);
            for (row, &label) in rows.zip(tags.iter()) {
                let Some(k) = class(label) else { continue };
                counts[k] += T::one();
                for (mean, &x) in means[k * cols..].iter_mut().zip(row) {
                    *mean += x;
                }
            }
        }
        for (mean, &count) in means.chunks_exact_mut(cols).zip(counts.iter()) {
            if count > T::zero() {
                mean.iter_mut().for_each(|m| *m = *m / count);
            }
        }
    }

    fn backward(&self, buffers: &Buffers<T>, wants: &[Want]) {
        let (dmeans, counts) = (buffers.grad(self.means), buffers.value(self.counts));
        let cols = self.means.shape.cols;
        for ((x, labels), &want) in self.parts.iter().zip(wants) {
            if want == Want::No {
                continue;
            }
            let (mut dx, tags) = (buffers.grad_mut(*x), buffers.labels(*labels));
            for_rows(cols, [(&mut dx, cols)], |i, [row]| match class(tags[i]) {
                Some(k) => {
                    let dmean = &dmeans[k * cols..(k + 1) * cols];
                    for (dx, &dmean) in row.iter_mut().zip(dmean) {
                        want.put(dx, dmean / counts[k]);
                    }
                }
                None if want == Want::Write => row.fill(T::zero()),
                None => {}
            });
        }
    }

    fn launches(&self) -> Vec<Launch> {
        let shape = self.means.shape;
        let (x, labels) = self.parts[0];
        let (x2, labels2) = *self.parts.last().expect("at least one");
        let rows2 = match self.parts.len() {
            1 => 0,
            _ => x2.shape.rows,
        };
        let args = vec![
            Arg::value(x),
            Arg::labels(labels),
            Arg::value(x2),
            Arg::labels(labels2),
            Arg::value_mut(self.means),
            Arg::value_mut(self.counts),
            Arg::int(shape.cols),
            Arg::int(x.shape.rows),
            Arg::int(x.shape.stride()),
            Arg::int(labels.stride()),
            Arg::int(rows2),
            Arg::int(x2.shape.stride()),
            Arg::int(labels2.stride()),
        ];
        let rows = x.shape.rows + rows2;
        vec![Launch::per_class("class_means", shape, rows, args)]
    }

    fn backward_launches(&self, wants: &[Want]) -> Vec<Launch> {
        let wanted = self.parts.iter().zip(wants);
        let wanted = wanted.filter(|(_, want)| **want != Want::No);
        let launch = |((x, labels), &want): (&(Var, Labels), &Want)| {
            let args = vec![
                Arg::grad(self.means),
                Arg::value(self.counts),
                Arg::labels(*labels),
                Arg::grad_mut(*x),
                Arg::int(x.shape.rows),
                Arg::int(x.shape.cols),
                Arg::int(self.means.shape.rows),
                Arg::int(labels.stride()),
                Arg::want(want),
            ];
            let (n, partitions) = (x.shape.block(), x.shape.partitions);
            Launch::per_element("class_means_backward", n, partitions, args)
        };
        wanted.map(launch).collect()
    }
}
