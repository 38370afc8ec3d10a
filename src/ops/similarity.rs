//! Similarity of every row to every class prototype; off the tape (SSAN, refinement):
//! `Cosine`: `f_i·c_k / (‖f_i‖ ‖c_k‖)`; `Euclidean`: `−‖f_i − c_k‖²`. A class without a prototype
//! is at −∞ of every row, so that it is never the most similar.

use super::{ClassMeans, Op, dot, squared_distance};
use crate::device::Buffers;
use crate::device::cpu::{View, for_rows, product};
use crate::device::launch::{Arg, Launch};
use crate::graph::{Graph, Var};
use crate::real::Real;

/// How rows and prototypes are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Similarity {
    /// The cosine of the angle between them.
    Cosine,
    /// Minus the squared distance.
    Euclidean,
}

/// Smallest product of norms to divide by, as in PyTorch's `cosine_similarity`.
const EPSILON: f64 = 1e-8;

struct PrototypeSimilarity {
    x: Var,
    prototypes: ClassMeans,
    kind: Similarity,
    y: Var,
    /// Norm of each prototype, `[P, 1, K]`.
    norms: Var,
}

/// Records the similarity of the rows of `x [P, n, d]` to `prototypes`: `[P, n, K]`.
pub fn similarity<T: Real>(
    g: &mut Graph<T>,
    x: Var,
    prototypes: ClassMeans,
    kind: Similarity,
) -> Var {
    assert_eq!(
        x.shape.cols, prototypes.means.shape.cols,
        "similarity: columns of rows and prototypes"
    );
    let y = g.buffer("similarity", x.shape.rows, prototypes.means.shape.rows);
    let norms = g.buffer("similarity.norms", 1, prototypes.means.shape.rows);
    g.push(PrototypeSimilarity {
        x,
        prototypes,
        kind,
        y,
        norms,
    });
    y
}

impl<T: Real> Op<T> for PrototypeSimilarity {
    fn name(&self) -> &'static str {
        "similarity"
    }

    fn forward(&self, buffers: &Buffers<T>) {
        let x = buffers.value(self.x);
        let (means, counts) = self.prototypes.read(buffers);
        let (mut y, mut norms) = (buffers.value_mut(self.y), buffers.value_mut(self.norms));
        let (cols, classes) = (self.x.shape.cols, self.y.shape.cols);
        let mean = |k: usize| &means[k * cols..(k + 1) * cols];
        if self.kind == Similarity::Cosine {
            let prototypes = View::new(&means, cols).transposed();
            product(&mut y, View::new(&x, cols), prototypes, false);
            for (k, norm) in norms.iter_mut().enumerate() {
                *norm = dot(mean(k), mean(k)).sqrt();
            }
        }
        for_rows(cols * classes, [(&mut y, classes)], |i, [y]| {
            let x = &x[i * cols..(i + 1) * cols];
            let length = dot(x, x).sqrt();
            for (k, y) in y.iter_mut().enumerate() {
                *y = match self.kind {
                    _ if counts[k] == T::zero() => T::neg_infinity(),
                    Similarity::Cosine => *y / (length * norms[k]).max(T::of(EPSILON)),
                    Similarity::Euclidean => -squared_distance(x, mean(k)),
                };
            }
        });
    }

    fn launches(&self) -> Vec<Launch> {
        let (shape, classes) = (self.x.shape, self.y.shape.cols);
        let (rows, partitions) = (shape.rows, self.y.shape.partitions);
        let sizes = [
            Arg::int(rows),
            Arg::int(shape.cols),
            Arg::int(classes),
            Arg::int(shape.stride()),
        ];
        let mut args = vec![
            Arg::value(self.x),
            Arg::value(self.prototypes.means),
            Arg::value(self.prototypes.counts),
        ];
        match self.kind {
            Similarity::Cosine => {
                let norms = vec![
                    Arg::value(self.prototypes.means),
                    Arg::value_mut(self.norms),
                    Arg::int(classes),
                    Arg::int(shape.cols),
                ];
                args.extend([Arg::value(self.norms), Arg::value_mut(self.y)]);
                args.extend(sizes);
                vec![
                    Launch::per_row("similarity_norms", classes, partitions, norms),
                    Launch::per_row("similarity_cosine", rows, partitions, args),
                ]
            }
            Similarity::Euclidean => {
                args.push(Arg::value_mut(self.y));
                args.extend(sizes);
                vec![Launch::per_row(
                    "similarity_euclidean",
                    rows,
                    partitions,
                    args,
                )]
            }
        }
    }
}
