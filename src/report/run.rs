//! A run as its folder has it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use crate::data::{self, Matrix, legible};
use crate::error::{Cause, Error, Result};
use crate::run::{CONFIG, Config, EMBEDDING, METRICS, RunDirectory, SUMMARY, Summary};
use crate::train::EpochMetrics;

/// What a report tells of a run.
pub struct Run {
    /// Name of its folder.
    pub(super) name: String,
    pub(super) config: Config,
    /// Its result.
    pub summary: Summary,
    pub(super) epochs: Vec<Epoch>,
    pub(super) embedding: Embedding,
}

/// Means over all networks of an epoch.
#[derive(Clone, Default)]
pub(super) struct Epoch {
    networks: usize,
    /// In the order of [`TERMS`].
    pub terms: [f64; 7],
    /// Source, labelled target, unlabelled target.
    pub accuracies: [Option<f64>; 3],
    /// Smallest and largest accuracy on the unlabelled target.
    pub range: Option<(f64, f64)>,
    /// Selected pseudo-labels, and those that are right.
    pub selected: f64,
    pub selected_correct: Option<f64>,
}

/// Names of the loss terms.
pub(super) const TERMS: [&str; 7] = [
    "total",
    "source",
    "labelled target",
    "soft correlation",
    "adversarial",
    "alignment",
    "pseudo-labels",
];

/// The loss terms in the order of [`TERMS`].
fn terms(m: &EpochMetrics) -> [f64; 7] {
    [
        m.total,
        m.source_ce,
        m.hard,
        m.soft,
        m.adversarial,
        m.alignment,
        m.pseudo_ce,
    ]
}

impl Epoch {
    /// Takes another network's metrics into the means.
    fn take(&mut self, m: &EpochMetrics) {
        let first = self.networks == 0;
        self.networks += 1;
        let n = self.networks as f64;
        for (mean, x) in self.terms.iter_mut().zip(terms(m)) {
            *mean += (x - *mean) / n;
        }
        let into = |mean: &mut Option<f64>, x: Option<f64>| {
            *mean = match (*mean, x) {
                (None, x) if first => x,
                (Some(mean), Some(x)) => Some(mean + (x - mean) / n),
                // Where one does not know it, the mean is unknown.
                _ => None,
            }
        };
        let accuracies = [m.source_acc, m.labelled_acc, m.unlabelled_acc];
        for (mean, x) in self.accuracies.iter_mut().zip(accuracies) {
            into(mean, x);
        }
        if let Some(x) = m.unlabelled_acc {
            let (low, high) = self.range.unwrap_or((x, x));
            self.range = Some((low.min(x), high.max(x)));
        }
        self.selected += (m.selected as f64 - self.selected) / n;
        into(
            &mut self.selected_correct,
            m.selected_correct.map(|c| c as f64),
        );
    }
}

/// `embedding.npz`, see [`crate::run::embedding`].
pub(super) struct Embedding {
    /// Source rows, then target rows, before training and after.
    pub rows: [Matrix; 2],
    /// Class of each row.
    pub classes: Vec<Option<usize>>,
    /// Rows of the source.
    pub source: usize,
    /// Whether training used the label of each target row.
    pub labelled: Vec<bool>,
}

impl Embedding {
    /// About `most` rows, evenly spread, and all whose label training used.
    pub fn some(&self, most: usize) -> Vec<usize> {
        let rows = self.classes.len();
        let step = rows.div_ceil(most).max(1);
        let used = |i: usize| i >= self.source && self.labelled[i - self.source];
        (0..rows).filter(|&i| i % step == 0 || used(i)).collect()
    }
}

impl Run {
    /// Reads the run in a folder.
    ///
    /// # Errors
    /// It holds no run, one that has not ended, or a file of it is damaged.
    pub fn read(folder: &Path) -> Result<Run> {
        RunDirectory::config(folder)?;
        let file = folder.join(SUMMARY);
        if !file.is_file() {
            let shown = folder.display();
            let cause = format!("the run has not ended: ssan train --resume {shown} goes on");
            return Err(Error::file(folder, cause));
        }
        let summary = Summary::load(&file)?;
        check(&summary).map_err(|cause| Error::file(&file, cause))?;
        let path = folder.join(EMBEDDING);
        let classes = summary.classes.len();
        let whole = folder.canonicalize().unwrap_or(folder.to_path_buf());
        let name = whole.file_name().map(PathBuf::from).unwrap_or(whole);
        Ok(Run {
            name: name.display().to_string(),
            config: Config::load(&folder.join(CONFIG))?,
            epochs: epochs(&folder.join(METRICS))?,
            embedding: embedding(&path, classes)?,
            summary,
        })
    }
}

/// Refuses a summary whose tables do not fit its classes, or count more rows than can be added up.
fn check(summary: &Summary) -> Cause<()> {
    let classes = summary.classes.len();
    if classes == 0 {
        return Err("is damaged: it has no classes".to_string());
    }
    let mut rows = 0usize;
    for partition in &summary.partitions {
        let Some(evaluation) = &partition.evaluation else {
            continue;
        };
        let confusion = &evaluation.confusion;
        let fits = confusion.len() == classes && confusion.iter().all(|row| row.len() == classes);
        if !fits || evaluation.per_class_accuracy.len() != classes {
            return Err(format!(
                "is damaged: a partition's tables are not of {classes} classes"
            ));
        }
        rows = confusion
            .iter()
            .flatten()
            .try_fold(rows, |sum, &n| sum.checked_add(n))
            .ok_or("is damaged: its confusion matrices count too many rows")?;
    }
    Ok(())
}

/// The metrics of every epoch.
fn epochs(path: &Path) -> Result<Vec<Epoch>> {
    let failed = |e: std::io::Error| Error::file(path, format!("cannot be read: {e}"));
    // Bytes, since a line that is no UTF-8 is to be named too.
    let lines = BufReader::new(std::fs::File::open(path).map_err(failed)?).split(b'\n');
    let mut epochs: Vec<Epoch> = Vec::new();
    for (i, line) in lines.enumerate() {
        let line = line.map_err(failed)?;
        let wrong = |cause: &str| Error::file(path, format!("line {}: {}", i + 1, legible(cause)));
        let metrics: EpochMetrics =
            serde_json::from_slice(&line).map_err(|e| wrong(&e.to_string()))?;
        possible(&metrics).map_err(|cause| wrong(&cause))?;
        // Partitions in groups begin again at epoch 0.
        if metrics.epoch > epochs.len() {
            return Err(wrong(&format!(
                "epoch {} comes after {} epochs",
                metrics.epoch,
                epochs.len()
            )));
        }
        if metrics.epoch == epochs.len() {
            epochs.push(Epoch::default());
        }
        epochs[metrics.epoch].take(&metrics);
    }
    match epochs.is_empty() {
        true => Err(Error::file(path, "is damaged: it holds no epochs")),
        false => Ok(epochs),
    }
}

/// Refuses numbers that no training leaves: sums and axes of them would overflow.
fn possible(m: &EpochMetrics) -> Cause<()> {
    let accuracies = [m.source_acc, m.labelled_acc, m.unlabelled_acc];
    if let Some(x) = accuracies
        .into_iter()
        .flatten()
        .find(|x| !(0.0..=100.0).contains(x))
    {
        return Err(format!("an accuracy of {x:e} %"));
    }
    match terms(m).iter().find(|x| x.abs() > f64::from(f32::MAX)) {
        Some(x) => Err(format!("a loss of {x:e}")),
        None => Ok(()),
    }
}

/// The rows in the common space.
fn embedding(path: &Path, classes: usize) -> Result<Embedding> {
    let names = [
        "source_before",
        "source_after",
        "target_before",
        "target_after",
        "source_labels",
        "target_labels",
        "target_labelled",
    ];
    let [sb, sa, tb, ta, sl, tl, used] = data::read_arrays(path, &names)?;
    let fits = sb.rows == sa.rows
        && tb.rows == ta.rows
        && sl.values.len() == sb.rows
        && tl.values.len() == tb.rows
        && used.values.len() == tb.rows
        && [&sa, &tb, &ta].iter().all(|m| m.cols == sb.cols);
    let numbers = [&sb, &sa, &tb, &ta];
    let finite = numbers
        .iter()
        .all(|m| m.values.iter().all(|x| x.is_finite()));
    if !fits || !finite {
        return Err(Error::file(path, "is damaged: its arrays do not fit"));
    }
    let class = |&x: &f64| (x >= 0.0 && x < classes as f64).then_some(x as usize);
    let both = |source: Matrix, target: Matrix| Matrix {
        rows: source.rows + target.rows,
        cols: source.cols,
        values: [source.values, target.values].concat(),
    };
    Ok(Embedding {
        source: sb.rows,
        classes: sl.values.iter().chain(&tl.values).map(class).collect(),
        labelled: used.values.iter().map(|&x| x != 0.0).collect(),
        rows: [both(sb, tb), both(sa, ta)],
    })
}
