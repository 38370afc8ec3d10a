//! A task and its splits as the arrays that a step works on.

use std::collections::BTreeSet;
use std::ops::Range;

use super::{Neighbours, Opinions, Options, vote};
use crate::data::{Features, Normalisation, Split, Task};
use crate::evaluation::{Evaluation, evaluate, largest};
use crate::model::{self, Dimensions, Parameters};

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

impl PartitionLabels {
    /// How well the vote of `opinions` labels the unlabelled rows; `None` where no class of one is
    /// known.
    pub fn evaluate(&self, opinions: &[Opinions], classes: usize) -> Option<Evaluation> {
        let truth = self.truth.iter().map(|&k| usize::try_from(k).ok());
        let truth: Vec<Option<usize>> = truth.collect();
        evaluate(&truth, &vote(opinions), classes)
    }

    /// The class of each target row: its label, else what `vote [n, K]` says.
    pub(super) fn voted(&self, vote: &[f64], classes: usize) -> Vec<usize> {
        let rows = vote.chunks_exact(classes).zip(&self.labelled);
        rows.map(|(row, &label)| usize::try_from(label).unwrap_or_else(|_| largest(row)))
            .collect()
    }
}

/// What is trained on: both domains' rows that any partition uses, and each partition's labels.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Number of classes `K`.
    pub classes: usize,
    /// Source rows of unit length.
    pub source: Features,
    /// Target rows of unit length.
    pub target: Features,
    /// One entry per partition.
    pub partitions: Vec<PartitionLabels>,
    /// Networks of each partition.
    pub members: usize,
    /// How the rows of source and target were brought to unit length.
    pub normalisation: [Normalisation; 2],
    /// Mean of the unit rows of source and target, where it was taken off.
    pub means: Option<[Vec<f64>; 2]>,
    /// Graph of the target rows, where pseudo-labels or the selection of a state need it.
    pub neighbours: Option<Neighbours>,
}

impl Problem {
    /// The rows and labels of `task` that `splits` use, one partition per split.
    pub fn new(task: &Task, splits: &[Split], options: &Options) -> Problem {
        let source = in_use(splits.iter().flat_map(|s| &s.source));
        let target = target_rows(splits);
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
        let partitions = partitions.collect();
        let mut source = task.source.features.select_rows(&source);
        let mut target = task.target.features.select_rows(&target);
        let normalisation = [&task.source, &task.target].map(|domain| options.normalise.of(domain));
        let [of_source, of_target] = normalisation;
        let means = source.normalise(of_source).zip(target.normalise(of_target));
        let neighbours = options.needs_neighbours().then(|| Neighbours::new(&target));
        Problem {
            classes: task.classes.len(),
            partitions,
            members: options.members,
            source,
            target,
            normalisation,
            means: means.map(|(source, target)| [source, target]),
            neighbours,
        }
    }

    /// Whether the class of any unlabelled row is known.
    pub fn has_truth(&self) -> bool {
        let mut truth = self.partitions.iter().flat_map(|labels| &labels.truth);
        truth.any(|&k| k >= 0)
    }

    /// Networks: the members of the first partition, of the second, …
    pub fn networks(&self) -> usize {
        self.partitions.len() * self.members
    }

    /// The numbers of all partitions.
    pub fn all(&self) -> Range<usize> {
        0..self.partitions.len()
    }

    /// Initial parameters of every network, see [`model::initial_parameters`].
    pub fn initial_parameters(&self, options: &Options, seed: u64) -> Vec<Parameters> {
        self.initial_parameters_of(self.all(), options, seed)
    }

    /// Initial parameters of every network of the group `partitions`, see
    /// [`model::initial_parameters`].
    pub fn initial_parameters_of(
        &self,
        partitions: Range<usize>,
        options: &Options,
        seed: u64,
    ) -> Vec<Parameters> {
        let dimensions = self.dimensions(options);
        let draw = |network| {
            let (partition, member) = (network / self.members, network % self.members);
            let how = options.initialisation;
            model::initial_parameters(&dimensions, how, seed, partition, member)
        };
        let networks = partitions.start * self.members..partitions.end * self.members;
        networks.map(draw).collect()
    }

    /// Sizes of the model that `options` make for it.
    pub fn dimensions(&self, options: &Options) -> Dimensions {
        options.dimensions(self.source.cols(), self.target.cols(), self.classes)
    }
}

/// Which rows of the task's target the target matrix of [`Problem::new`] has, in its order.
pub fn target_rows(splits: &[Split]) -> Vec<usize> {
    let rows = splits
        .iter()
        .flat_map(|s| s.labelled.iter().chain(&s.unlabelled));
    in_use(rows)
}

fn in_use<'a>(rows: impl Iterator<Item = &'a usize>) -> Vec<usize> {
    let rows: BTreeSet<usize> = rows.copied().collect();
    rows.into_iter().collect()
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
