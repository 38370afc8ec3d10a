//! The result of a run.

use std::fmt::{Display, Formatter};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{RunDirectory, UNFINISHED};
use crate::data::{Label, Task, legible};
use crate::error::{Error, Result};
use crate::evaluation::{Evaluation, mean_and_std, student_t_95};
use crate::files;
use crate::train::transfer::{self, Gain};
use crate::train::{Control, Outcome, PartitionResult, Problem};

/// What a run came to; accuracies in percent, `None` where no ground truth is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Name of the source domain.
    pub source: String,
    /// Name of the target domain.
    pub target: String,
    /// The device.
    pub device: String,
    /// The recipe's name.
    pub recipe: String,
    /// Classes by index.
    pub classes: Vec<Label>,
    /// One entry per partition.
    pub partitions: Vec<PartitionSummary>,
    /// Mean of the partitions' last accuracies.
    pub mean_last: Option<f64>,
    /// Their standard deviation: squares divided by the number of partitions.
    pub std_last: Option<f64>,
    /// Mean of the partitions' best accuracies, which an oracle chooses.
    pub mean_best: Option<f64>,
    /// How the networks that are kept were chosen.
    pub select: String,
    /// Mean of the accuracies of those.
    pub mean_chosen: Option<f64>,
    /// Their standard deviation.
    pub std_chosen: Option<f64>,
    /// Runs to compare with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub controls: Vec<ControlSummary>,
    /// The check for negative transfer, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<TransferSummary>,
}

/// What cross-validation on the labelled target rows says of the source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TransferSummary {
    /// See [`Gain::folds`].
    pub folds: usize,
    /// Accuracy of the run, with one network each, on the rows held out, mean over the folds.
    pub accuracy: f64,
    /// Each control's name, and what the run has more: mean over the folds and standard error.
    pub gains: Vec<TransferGain>,
    /// The same in words.
    pub verdict: String,
}

impl TransferSummary {
    /// Of the results of the run and of its controls on each of `folds`.
    ///
    /// # Panics
    /// The class of a held-out row is not known.
    pub fn new(
        folds: &Problem,
        run: &[PartitionResult],
        controls: &[(Control, Vec<PartitionResult>)],
    ) -> TransferSummary {
        let gains = controls.iter().map(|(control, results)| {
            let gain = transfer::gain(folds, run, results).expect("held-out rows are known");
            (*control, gain)
        });
        let gains: Vec<(Control, Gain)> = gains.collect();
        let verdicts: Vec<&str> = gains.iter().map(|(of, gain)| verdict(*of, gain)).collect();
        let accuracies = run.iter().filter_map(|result| result.accuracy_chosen);
        let accuracies: Vec<f64> = accuracies.collect();
        TransferSummary {
            folds: gains.first().map_or(0, |(_, gain)| gain.folds),
            accuracy: mean_and_std(&accuracies).0,
            verdict: verdicts.join("; "),
            gains: gains
                .iter()
                .map(|&(control, gain)| TransferGain {
                    control,
                    mean: gain.mean,
                    standard_error: gain.standard_error,
                })
                .collect(),
        }
    }
}

impl Display for TransferSummary {
    fn fmt(&self, f: &mut Formatter) -> std::fmt::Result {
        let gains = self.gains.iter().map(|gain| {
            let (mean, error) = (gain.mean, gain.standard_error);
            format!("{mean:+.1} ± {error:.1} to {}", gain.control.name())
        });
        let gains: Vec<String> = gains.collect();
        write!(
            f,
            "on labelled target rows held out in {} folds: {:.1} %, {} (± standard error): {}",
            self.folds,
            self.accuracy,
            gains.join(", "),
            self.verdict
        )
    }
}

/// What a run has more than a control on held-out rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TransferGain {
    /// What it is compared with.
    pub control: Control,
    /// Mean over the folds.
    pub mean: f64,
    /// Its standard error.
    pub standard_error: f64,
}

/// What a gain over `control` says of the source: something where its confidence interval of 95 %
/// leaves out 0.
fn verdict(control: Control, gain: &Gain) -> &'static str {
    let [less, more, neither] = match control {
        Control::Noise => [
            "noise in the place of the source does better: the source seems to harm",
            "the source is better than noise in its place",
            "no difference to noise in the place of the source can be told",
        ],
        Control::TargetOnly => [
            "labelled target rows alone do better: the source and the unlabelled rows seem to harm",
            "better than the labelled target rows alone",
            "no difference to the labelled target rows alone can be told",
        ],
    };
    // Accuracies on few rows often come to the limit exactly, which rounding must not decide.
    let unsure = student_t_95(gain.folds - 1) * gain.standard_error * (1.0 + 1e-9);
    match gain.mean {
        mean if mean < -unsure => less,
        mean if mean > unsure => more,
        _ => neither,
    }
}

/// The result of a control, on the same partitions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ControlSummary {
    /// Which.
    pub name: Control,
    /// Accuracy of each partition.
    pub accuracy: Vec<Option<f64>>,
    /// Their mean.
    pub mean: Option<f64>,
    /// Their standard deviation.
    pub std: Option<f64>,
    /// Mean of what the run itself has more, partition by partition.
    pub gain_mean: Option<f64>,
    /// Standard deviation of that.
    pub gain_std: Option<f64>,
}

/// The result of a partition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartitionSummary {
    /// Accuracies.
    #[serde(flatten)]
    pub result: PartitionResult,
    /// How well the vote of its networks labels the unlabelled rows whose class is known.
    pub evaluation: Option<Evaluation>,
}

impl PartitionSummary {
    /// Those of the partitions of `problem`, from `first` on, that `outcome` is of.
    pub fn of(problem: &Problem, first: usize, outcome: &Outcome) -> Vec<PartitionSummary> {
        let opinions = outcome.opinions.chunks_exact(problem.members);
        let labels = problem.partitions[first..].iter().zip(opinions);
        let partitions = outcome.partitions.iter().zip(labels);
        let partitions = partitions.map(|(result, (labels, opinions))| PartitionSummary {
            result: result.clone(),
            evaluation: labels.evaluate(opinions, problem.classes),
        });
        partitions.collect()
    }
}

impl Summary {
    /// What all `partitions` of a run on `task` come to.
    pub fn new(
        task: &Task,
        partitions: Vec<PartitionSummary>,
        device: String,
        recipe: String,
        select: String,
    ) -> Summary {
        let values = |of: fn(&PartitionResult) -> Option<f64>| -> Option<Vec<f64>> {
            partitions.iter().map(|p| of(&p.result)).collect()
        };
        let last = values(|p| p.accuracy_last).map(|values| mean_and_std(&values));
        let chosen = values(|p| p.accuracy_chosen).map(|values| mean_and_std(&values));
        let best = values(|p| p.accuracy_best).map(|values| mean_and_std(&values));
        Summary {
            source: task.source.name.clone(),
            target: task.target.name.clone(),
            device,
            recipe,
            classes: task.classes.clone(),
            partitions,
            mean_last: last.map(|(mean, _)| mean),
            std_last: last.map(|(_, std)| std),
            mean_best: best.map(|(mean, _)| mean),
            select,
            mean_chosen: chosen.map(|(mean, _)| mean),
            std_chosen: chosen.map(|(_, std)| std),
            controls: Vec::new(),
            transfer: None,
        }
    }

    /// Adds the control `name`, whose partitions came to `results`.
    pub fn add_control(&mut self, name: Control, results: &[PartitionResult]) {
        let accuracy: Vec<Option<f64>> = results.iter().map(|p| p.accuracy_chosen).collect();
        let known: Option<Vec<f64>> = accuracy.iter().copied().collect();
        let own = self.partitions.iter().zip(&accuracy);
        let gains = own.map(|(own, control)| Some(own.result.accuracy_chosen? - (*control)?));
        let gains: Option<Vec<f64>> = gains.collect();
        let (known, gains) = (
            known.map(|x| mean_and_std(&x)),
            gains.map(|x| mean_and_std(&x)),
        );
        self.controls.push(ControlSummary {
            name,
            accuracy,
            mean: known.map(|(mean, _)| mean),
            std: known.map(|(_, std)| std),
            gain_mean: gains.map(|(mean, _)| mean),
            gain_std: gains.map(|(_, std)| std),
        });
    }

    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read or is damaged.
    pub fn load(path: &Path) -> Result<Summary> {
        serde_json::from_slice(&files::read(path)?)
            .map_err(|e| Error::file(path, format!("is damaged: {}", legible(&e.to_string()))))
    }

    /// The file's text.
    pub fn to_json(&self) -> String {
        let json = serde_json::to_string_pretty(self).expect("numbers and names");
        format!("{json}\n")
    }
}

/// The result of a run whose own files are all written, while what it is compared with is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unfinished {
    /// See [`Outcome::ms_per_epoch`].
    pub ms_per_epoch: f64,
    /// The result, with the comparisons that are done.
    pub summary: Summary,
}

impl Unfinished {
    /// That of the run in `directory`, if it is there and whole: else the run goes on from its
    /// checkpoint.
    pub fn load(directory: &RunDirectory) -> Option<Unfinished> {
        let bytes = files::read(&directory.file(UNFINISHED)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Keeps it.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn save(&self, directory: &RunDirectory) -> Result<()> {
        let json = serde_json::to_vec(self).expect("numbers and names");
        directory.write(UNFINISHED, &json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// About two standard errors say something, more of few folds, but not when it takes rounding to
    /// tell that there are more.
    #[test]
    fn a_verdict_takes_more_than_chance() {
        for control in Control::ALL {
            let of = |mean, standard_error, folds| {
                let gain = Gain {
                    mean,
                    standard_error,
                    folds,
                };
                verdict(control, &gain)
            };
            assert!(of(-2.1, 1.0, 60).contains("harm"));
            assert!(of(2.1, 1.0, 60).contains("better than"));
            for unsure in [0.0, 1.9, -1.9, 2.0, -2.0, -2.000_000_000_000_1] {
                assert!(of(unsure, 1.0, 60).contains("no difference"), "{unsure}");
            }
            assert!(of(-2.1, 1.0, 5).contains("no difference"));
            assert!(of(-4.2, 1.0, 3).contains("no difference"));
            assert!(of(4.4, 1.0, 3).contains("better than"));
            // Folds that all agree.
            assert!(of(0.5, 0.0, 5).contains("better than"));
            assert!(of(0.0, 0.0, 5).contains("no difference"));
            let limit = student_t_95(4);
            for mean in [limit, -limit * (1.0 + 1e-12)] {
                assert!(of(mean, 1.0, 5).contains("no difference"));
            }
        }
    }
}
