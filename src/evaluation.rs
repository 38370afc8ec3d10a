//! How good predictions are where the truth is known.

use serde::{Deserialize, Serialize};

/// Bins of equal width of the probability, from 0 to 1, that the calibration error is taken over.
pub const CALIBRATION_BINS: usize = 15;

/// Predictions beside the truth. Accuracies, F1 and calibration error in percent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Rows of known class: all figures are of them.
    pub rows: usize,
    /// Rows labelled right.
    pub accuracy: f64,
    /// Of the rows of each class those labelled right (recall); `None` where a class has no row.
    pub per_class_accuracy: Vec<Option<f64>>,
    /// Mean over the classes, among truth or predictions, of `2·TP/(2·TP + FP + FN)`.
    pub macro_f1: f64,
    /// Rows by true class (rows) and predicted class (columns), `K × K`.
    pub confusion: Vec<Vec<usize>>,
    /// Expected calibration error: over [`CALIBRATION_BINS`] bins of equal width of the predicted
    /// class's probability, `Σ_b n_b/n · |accuracy of b − mean probability in b|`.
    pub calibration_error: f64,
}

/// Evaluates `probabilities`, `n × classes` row by row, of rows whose class is `truth`, where it is
/// known. The largest probability predicts, ties the first. `None` where no row's class is known.
pub fn evaluate(
    truth: &[Option<usize>],
    probabilities: &[f64],
    classes: usize,
) -> Option<Evaluation> {
    assert_eq!(truth.len() * classes, probabilities.len(), "a row each");
    /// Rows, rows labelled right, sum of probabilities.
    type Bin = (usize, usize, f64);
    let mut confusion = vec![vec![0; classes]; classes];
    let mut bins = [Bin::default(); CALIBRATION_BINS];
    for (truth, row) in truth.iter().zip(probabilities.chunks_exact(classes)) {
        let Some(truth) = *truth else { continue };
        let class = largest(row);
        confusion[truth][class] += 1;
        // Bin b is (b/B, (b + 1)/B].
        let at = (row[class] * CALIBRATION_BINS as f64).ceil() as usize;
        let (rows, right, sum) = &mut bins[at.clamp(1, CALIBRATION_BINS) - 1];
        *rows += 1;
        *right += usize::from(class == truth);
        *sum += row[class];
    }
    let rows = bins.iter().map(|bin| bin.0).sum();
    if rows == 0 {
        return None;
    }
    let percent = |n: f64, of: usize| 100.0 * n / of as f64;
    let right: usize = (0..classes).map(|k| confusion[k][k]).sum();
    let of_class: Vec<usize> = confusion.iter().map(|row| row.iter().sum()).collect();
    let as_class = |k: usize| -> usize { confusion.iter().map(|row| row[k]).sum() };
    let f1 = (0..classes).filter_map(|k| match of_class[k] + as_class(k) {
        0 => None,
        n => Some(percent(2.0 * confusion[k][k] as f64, n)),
    });
    let f1: Vec<f64> = f1.collect();
    let gaps = bins.iter().map(|&(_, right, sum)| right as f64 - sum);
    Some(Evaluation {
        rows,
        accuracy: percent(right as f64, rows),
        per_class_accuracy: (0..classes)
            .map(|k| (of_class[k] > 0).then(|| percent(confusion[k][k] as f64, of_class[k])))
            .collect(),
        macro_f1: f1.iter().sum::<f64>() / f1.len() as f64,
        calibration_error: percent(gaps.map(f64::abs).sum(), rows),
        confusion,
    })
}

/// Place of the largest entry, ties the first.
pub fn largest(row: &[f64]) -> usize {
    let larger = |best, k| if row[k] > row[best] { k } else { best };
    (1..row.len()).fold(0, larger)
}

/// Mean and standard deviation (squares divided by their number) of `values`.
pub(crate) fn mean_and_std(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|x| (x - mean) * (x - mean)).sum();
    (mean, (squares / n).sqrt())
}

/// Student's t with so many `degrees` of freedom, which its absolute value exceeds once in twenty
/// times. Above ten degrees by the expansion around the normal distribution (Abramowitz & Stegun,
/// 26.7.5), to 0.001.
pub(crate) fn student_t_95(degrees: usize) -> f64 {
    const FEW: [f64; 10] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    ];
    match degrees {
        0 => f64::INFINITY,
        1..=10 => FEW[degrees - 1],
        _ => {
            let n = degrees as f64;
            1.959_964 + 2.372_271 / n + 2.822_495 / (n * n) + 2.555_860 / (n * n * n)
        }
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    /// Six rows, one of them of unknown class, one class of four that nothing has.
    #[test]
    fn figures_are_those_computed_by_hand() {
        let truth = [Some(0), Some(0), Some(0), Some(1), Some(2), None];
        #[rustfmt::skip]
        let probabilities = [
            0.85, 0.05, 0.10, 0.0, // right
            0.84, 0.06, 0.10, 0.0, // right
            0.20, 0.50, 0.30, 0.0, // 0 as 1
            0.20, 0.50, 0.30, 0.0, // right
            0.50, 0.50, 0.00, 0.0, // 2 as 0: a tie goes to the first
            0.00, 0.00, 0.00, 1.0,
        ];
        let found = evaluate(&truth, &probabilities, 4).unwrap();
        assert_eq!(found.rows, 5);
        assert_relative_eq!(found.accuracy, 60.0);
        let per_class = [Some(200.0 / 3.0), Some(100.0), Some(0.0), None];
        for (found, expected) in found.per_class_accuracy.iter().zip(per_class) {
            assert_eq!(found.is_some(), expected.is_some());
            assert_relative_eq!(found.unwrap_or(0.0), expected.unwrap_or(0.0));
        }
        let confusion = [[2, 1, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0; 4]];
        assert_eq!(found.confusion, confusion.map(Vec::from));
        // F1 of the classes: 2·2/(3 + 3), 2·1/(1 + 2), 0/(1 + 0); the fourth has none.
        assert_relative_eq!(found.macro_f1, 100.0 * (4.0 / 9.0), epsilon = 1e-9);
        // Bins (12/15, 13/15]: |2 − 1.69|; (7/15, 8/15]: |1 − 1.5|; of 5 rows.
        assert_relative_eq!(
            found.calibration_error,
            100.0 * (0.31 + 0.5) / 5.0,
            epsilon = 1e-9
        );
    }

    #[test]
    fn without_truth_there_is_no_figure() {
        assert_eq!(evaluate(&[None, None], &[0.5, 0.5, 1.0, 0.0], 2), None);
        assert_eq!(evaluate(&[], &[], 2), None);
    }

    /// Probabilities 0 and 1 are in the first and the last bin; bins are closed above.
    #[test]
    fn edges_of_bins() {
        let perfect = evaluate(&[Some(1), Some(0)], &[0.0, 1.0, 1.0, 0.0], 2).unwrap();
        assert_relative_eq!(perfect.calibration_error, 0.0);
        // 0.6 = 9/15 and 0.62 are in neighbouring bins, so that their gaps do not cancel.
        let rows = [0.6, 0.4, 0.0, 0.62, 0.38, 0.0];
        let found = evaluate(&[Some(1), Some(0)], &rows, 3).unwrap();
        assert_relative_eq!(
            found.calibration_error,
            100.0 * (0.6 + 0.38) / 2.0,
            epsilon = 1e-9
        );
    }

    /// Quantiles as tables have them, on both sides of the tabulated ones.
    #[test]
    fn student_t_is_that_of_tables() {
        assert_eq!(student_t_95(0), f64::INFINITY);
        for (degrees, t) in [
            (1, 12.706),
            (10, 2.228),
            (11, 2.201),
            (20, 2.086),
            (60, 2.000),
        ] {
            assert_relative_eq!(student_t_95(degrees), t, epsilon = 1e-3);
        }
    }
}
