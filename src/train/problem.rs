//! A task and its splits as the arrays that a step works on.

use super::Options;
use crate::data::{Matrix, Split, Task};
use crate::model::Dimensions;

/// Labels of one partition, one per row of the problem's matrices; −1 where a row has no part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionLabels {
    /// Class of the source rows in use.
    pub source: Vec<i32>,
    /// Class of the labelled target rows.
    pub labelled: Vec<i32>,
    /// 0 on unlabelled target rows.
    pub unlabelled: Vec<i32>,
    /// Class of unlabelled target rows where it is known.
    pub truth: Vec<i32>,
}

/// What is trained on: both domains' rows that any partition uses, and each partition's labels.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Number of classes `K`.
    pub classes: usize,
    /// Source rows of unit length.
    pub source: Matrix,
    /// Target rows of unit length.
    pub target: Matrix,
    /// One entry per partition.
    pub partitions: Vec<PartitionLabels>,
}

impl Problem {
    /// The rows and labels of `task` that `splits` use, one partition per split.
    pub fn new(task: &Task, splits: &[Split]) -> Problem {
        let used = |rows: usize, of: &dyn Fn(&Split) -> Vec<usize>| {
            let mut used = vec![false; rows];
            for row in splits.iter().flat_map(of) {
                used[row] = true;
            }
            (0..rows).filter(|&i| used[i]).collect::<Vec<usize>>()
        };
        let source = used(task.source.features.rows, &|s| s.source.clone());
        let target = used(task.target.features.rows, &|s| {
            [&s.labelled[..], &s.unlabelled[..]].concat()
        });
        let class = |label: Option<usize>| label.map_or(-1, |k| k as i32);
        let partitions = splits.iter().map(|split| {
            let truth = spread(&target, &split.unlabelled, |i| class(task.target_labels[i]));
            PartitionLabels {
                source: spread(&source, &split.source, |i| class(task.source_labels[i])),
                labelled: spread(&target, &split.labelled, |i| class(task.target_labels[i])),
                unlabelled: spread(&target, &split.unlabelled, |_| 0),
                truth,
            }
        });
        Problem {
            classes: task.classes.len(),
            partitions: partitions.collect(),
            source: task.source.features.select_rows(&source),
            target: task.target.features.select_rows(&target),
        }
    }

    /// Sizes of the model that `options` make for it.
    pub fn dimensions(&self, options: &Options) -> Dimensions {
        options.dimensions(self.source.cols, self.target.cols, self.classes)
    }
}

/// One label per entry of the sorted `used`: `label(i)` for those in `rows`, −1 for the others.
fn spread(used: &[usize], rows: &[usize], label: impl Fn(usize) -> i32) -> Vec<i32> {
    let mut labels = vec![-1; used.len()];
    for &i in rows {
        let at = used.binary_search(&i).expect("a row in use");
        labels[at] = label(i);
    }
    labels
}
