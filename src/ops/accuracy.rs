//! `c = |{i : t_i ≥ 0, l_i = t_i}|`: how many rows with a known class are labelled right; off the
//! tape.

use super::Op;
use crate::device::Buffers;
use crate::device::launch::{Arg, Launch};
use crate::graph::{Graph, Labels, Var};
use crate::real::Real;

struct CountCorrect {
    labels: Labels,
    truth: Labels,
    correct: Var,
}

/// Records the number of rows whose label equals a truth that is not −1: `[P, 1, 1]`.
pub fn count_correct<T: Real>(g: &mut Graph<T>, labels: Labels, truth: Labels) -> Var {
    assert_eq!(labels.rows, truth.rows, "count_correct: labels and truth");
    let correct = g.buffer("correct", 1, 1);
    g.push(CountCorrect {
        labels,
        truth,
        correct,
    });
    correct
}

impl<T: Real> Op<T> for CountCorrect {
    fn name(&self) -> &'static str {
        "accuracy"
    }

    fn forward(&self, buffers: &Buffers<T>) {
        let (labels, truth) = (buffers.labels(self.labels), buffers.labels(self.truth));
        let mut correct = buffers.value_mut(self.correct);
        let pairs = labels.iter().zip(truth.iter());
        correct[0] = T::of(pairs.filter(|(l, t)| **t >= 0 && l == t).count() as f64);
    }

    fn launches(&self) -> Vec<Launch> {
        let args = vec![
            Arg::labels(self.labels),
            Arg::labels(self.truth),
            Arg::value_mut(self.correct),
            Arg::int(self.labels.rows),
            Arg::int(self.labels.stride()),
            Arg::int(self.truth.stride()),
        ];
        let partitions = self.correct.shape.partitions;
        vec![Launch::per_partition(
            "count_correct",
            self.labels.rows,
            partitions,
            args,
        )]
    }
}
