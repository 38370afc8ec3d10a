//! Does the source help? Cross-validation on the labelled target rows, which needs no test label.
//!
//! In each fold some labelled rows of every class count as unlabelled, the run and its controls train
//! on the others, and what they say of the held-out rows is compared, fold by fold.

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

/// Mean and standard error over folds of what `run` is more accurate than `control` on the rows held
/// out.
pub fn gain(run: &[PartitionResult], control: &[PartitionResult]) -> Option<(f64, f64)> {
    let both = run.iter().zip(control);
    let gains = both.map(|(run, control)| Some(run.accuracy_chosen? - control.accuracy_chosen?));
    let gains: Vec<f64> = gains.collect::<Option<_>>()?;
    let (mean, std) = mean_and_std(&gains);
    Some((mean, std / (gains.len() as f64 - 1.0).sqrt()))
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

    /// Of the gains 1, 1, 1, 1 and 6 the mean is 2, and its standard error √5/√5.
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
        let run = [51.0, 52.0, 53.0, 54.0, 66.0].map(|x| result(Some(x)));
        let control = [50.0, 51.0, 52.0, 53.0, 60.0].map(|x| result(Some(x)));
        assert_eq!(gain(&run, &control), Some((2.0, 1.0)));
        assert_eq!(gain(&run[..2], &[result(Some(50.0)), result(None)]), None);
    }
}
