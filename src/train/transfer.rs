//! Does the source help? Cross-validation on the labelled target rows, which needs no test label.
//!
//! In each fold some labelled rows of every class count as unlabelled, the run and its controls train
//! on the others, and what they say of the held-out rows is compared, fold by fold.

use std::collections::BTreeMap;

use super::{Options, PartitionLabels, PartitionResult, Problem, Select};
use crate::evaluation::mean_and_std;

/// Folds of a partition: more cost more and hold out less.
const MOST_FOLDS: usize = 5;

/// Folds of each partition of `problem`; `None` where a class with labelled rows has but one.
pub fn folds_each(problem: &Problem) -> Option<usize> {
    let counts = problem.partitions.iter().flat_map(|labels| {
        let mut counts = vec![0usize; problem.classes];
        let classes = labels.labelled.iter().filter(|&&k| k >= 0);
        classes.for_each(|&k| counts[k as usize] += 1);
        counts.into_iter().filter(|&n| n > 0)
    });
    let folds = counts.min()?.min(MOST_FOLDS);
    (folds > 1).then_some(folds)
}

/// The `folds` of each partition of `problem`, see [`folds_each`], a partition each. The labels of
/// unlabelled rows are not in it.
pub fn folds(problem: &Problem, folds: usize) -> Problem {
    let partitions = problem.partitions.iter();
    let partitions =
        partitions.flat_map(|labels| (0..folds).map(|f| fold(labels, problem, f, folds)));
    Problem {
        partitions: partitions.collect(),
        members: 1,
        ..problem.clone()
    }
}

/// The options of a run with `options` on its folds: one network each, and nothing chosen by the
/// labels that are held out.
pub fn options(options: &Options) -> Options {
    let select = match options.select {
        Select::BestTest => Select::Last,
        other => other,
    };
    Options {
        members: 1,
        select,
        ..*options
    }
}

/// Fold `f` of `folds`: of each class every `folds`th labelled row is held out.
fn fold(labels: &PartitionLabels, problem: &Problem, f: usize, folds: usize) -> PartitionLabels {
    let mut seen = vec![0usize; problem.classes];
    let mut fold = PartitionLabels {
        truth: vec![-1; labels.truth.len()],
        ..labels.clone()
    };
    for (i, &class) in labels.labelled.iter().enumerate() {
        let Ok(k) = usize::try_from(class) else {
            continue;
        };
        if seen[k] % folds == f {
            fold.labelled[i] = -1;
            fold.unlabelled[i] = 0;
            fold.truth[i] = class;
        }
        seen[k] += 1;
    }
    fold
}

/// What a run has more than a control on held-out rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gain {
    /// Mean over the folds of the difference of accuracies, in percent.
    pub mean: f64,
    /// Its standard error, at least one held-out row: accuracies are not known more finely.
    pub standard_error: f64,
    /// Folds that hold out different rows; where they share some, as many as these rows fill.
    pub folds: usize,
}

/// What `run` gains over `control` on `folds`, see [`folds`]. To the standard error folds that hold out
/// the same rows are one, as those of several partitions with the same labelled rows, and folds that
/// share rows are no more than these rows fill: more networks are no more rows. `None` where an
/// accuracy is not known.
pub fn gain(folds: &Problem, run: &[PartitionResult], control: &[PartitionResult]) -> Option<Gain> {
    let mut gains: BTreeMap<&[i32], Vec<f64>> = BTreeMap::new();
    for ((run, control), labels) in run.iter().zip(control).zip(&folds.partitions) {
        let gain = run.accuracy_chosen? - control.accuracy_chosen?;
        gains.entry(&labels.truth).or_default().push(gain);
    }
    let held_out = |truth: &&[i32]| truth.iter().filter(|&&class| class >= 0).count();
    let all: usize = gains.keys().map(held_out).sum();
    let is_held_out = |row: &usize| gains.keys().any(|truth| truth[*row] >= 0);
    let rows = (0..gains.keys().next()?.len()).filter(is_held_out).count();
    let folds = gains.len() * rows / all;
    let gains: Vec<f64> = gains.values().map(|same| mean_and_std(same).0).collect();
    let (mean, std) = mean_and_std(&gains);
    Some(Gain {
        mean,
        standard_error: (std / (folds as f64 - 1.0).sqrt()).max(100.0 / rows as f64),
        folds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Features, Matrix, Normalisation};

    fn problem(labelled: Vec<i32>) -> Problem {
        let n = labelled.len();
        let unlabelled = labelled.iter().map(|&k| if k < 0 { 0 } else { -1 });
        let rows = |rows| Matrix {
            rows,
            cols: 1,
            values: vec![1.0; rows],
        };
        let rows = |n| Features::from(rows(n));
        Problem {
            classes: 3,
            source: rows(2),
            target: rows(n),
            partitions: vec![PartitionLabels {
                source: vec![0, 1],
                unlabelled: unlabelled.collect(),
                truth: labelled
                    .iter()
                    .map(|&k| if k < 0 { 1 } else { -1 })
                    .collect(),
                labelled,
            }],
            members: 3,
            normalisation: [Normalisation::L2; 2],
            means: None,
            neighbours: None,
        }
    }

    /// Every labelled row is held out once, and no test label is left.
    #[test]
    fn every_labelled_row_is_held_out_once() {
        let whole = problem(vec![0, -1, 1, 0, 1, -1, 1, 0]);
        let folds = folds(&whole, folds_each(&whole).unwrap());
        assert_eq!((folds.partitions.len(), folds.members), (3, 1));
        let labelled = &whole.partitions[0].labelled;
        for (i, &label) in labelled.iter().enumerate() {
            let held = folds.partitions.iter().filter(|fold| fold.truth[i] >= 0);
            let held: Vec<i32> = held.map(|fold| fold.truth[i]).collect();
            match label {
                -1 => assert!(held.is_empty()),
                class => assert_eq!(held, [class]),
            }
            for fold in &folds.partitions {
                assert!((fold.labelled[i] >= 0) != (fold.unlabelled[i] >= 0));
                assert!(fold.labelled[i] < 0 || fold.labelled[i] == label);
            }
        }
        for fold in &folds.partitions {
            for k in 0..2 {
                assert_eq!(fold.labelled.iter().filter(|&&l| l == k).count(), 2);
            }
        }
        assert_eq!(folds_each(&problem(vec![0, 0, 1, -1, 1])), Some(2));
        assert!(folds_each(&problem(vec![0, 0, 1, -1])).is_none());
        assert!(folds_each(&problem(vec![-1, -1])).is_none());
    }

    /// The rows held out choose nothing that they are then the measure of.
    #[test]
    fn no_oracle_chooses_on_folds() {
        for select in [Select::Last, Select::Consensus, Select::BestTest] {
            let asked = Options {
                select,
                ..Options::ROBUST
            };
            let kept = options(&asked);
            let oracle = select == Select::BestTest;
            assert_eq!(kept.select, if oracle { Select::Last } else { select });
            assert_eq!(kept.members, 1);
        }
    }

    /// Of the gains 1, 1, 1, 1 and 6 the mean is 2, and its standard error √5/√5; trained again on the
    /// same rows, they are no more certain. Nor is anything by less than a row of those held out.
    #[test]
    fn a_gain_has_its_error() {
        let result = |accuracy| PartitionResult {
            partition: 0,
            epochs: 1,
            accuracy_last: None,
            accuracy_best: None,
            accuracy_chosen: accuracy,
            epoch_chosen: 1,
            source_accuracy: None,
            labelled_accuracy: None,
            pseudo_labelled: None,
        };
        let results = |accuracies: &[f64]| -> Vec<PartitionResult> {
            accuracies.iter().map(|&x| result(Some(x))).collect()
        };
        // Sixty labelled rows a class.
        let labelled: Vec<i32> = (0..120).map(|i| i % 2).collect();
        let mut folds = folds(&problem(labelled), 5);
        let run = results(&[51.0, 52.0, 53.0, 54.0, 66.0]);
        let control = results(&[50.0, 51.0, 52.0, 53.0, 60.0]);
        let expected = Gain {
            mean: 2.0,
            standard_error: 1.0,
            folds: 5,
        };
        assert_eq!(gain(&folds, &run, &control), Some(expected));

        folds.partitions.extend_from_within(..);
        let twice = |results: &[PartitionResult]| [results, results].concat();
        let repeated = gain(&folds, &twice(&run), &twice(&control));
        assert_eq!(repeated, Some(expected));

        // Folds of the same rows, cut otherwise.
        let mut shared = folds.clone();
        for labels in &mut shared.partitions[5..] {
            labels.truth.rotate_left(1);
        }
        let shared = gain(&shared, &twice(&run), &twice(&control)).unwrap();
        assert_eq!((shared.mean, shared.standard_error), (2.0, 1.0));
        assert_eq!(shared.folds, 5);

        let equal = gain(&folds, &results(&[51.0; 10]), &results(&[50.0; 10])).unwrap();
        assert_eq!((equal.mean, equal.standard_error), (1.0, 100.0 / 120.0));
        assert_eq!(
            gain(&folds, &run, &[result(Some(50.0)), result(None)]),
            None
        );
    }
}
