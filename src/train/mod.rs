//! The protocol: partitions, epochs, metrics, results.
//!
//! Every partition is one draw of the labelled target rows and of the initial parameters; all of
//! them train side by side in one recorded step, or, where memory does not allow it, in groups one
//! after the other ([`Groups`]). The result of a partition is the accuracy of its
//! **last** epoch. The best epoch is reported beside it under the name of what it is: an oracle
//! that looks at the test labels.

mod clusters;
mod control;
mod first_layer;
mod groups;
pub mod memory;
mod neighbours;
mod problem;
mod pseudo_labels;
mod select;
mod session;
mod snapshot;
pub mod transfer;

use std::ops::Range;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

pub use control::Control;
pub use first_layer::FirstLayer;
pub use groups::Groups;
pub use neighbours::Neighbours;
pub use problem::{PartitionLabels, Problem, target_rows};
pub use pseudo_labels::PseudoLabels;
pub use select::{Chosen, Select, Selection};
pub use session::{Session, recorded_step};
use snapshot::Observer;
pub use snapshot::{Pause, Snapshot, Watch};

use crate::data::{Normalisation, Normalise};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::median::median;
use crate::model::{Dimensions, Initialisation, Layers, Logits, Parameters};
use crate::objective::Objective;
use crate::ops::{LearningRate, Similarity};
use crate::optim::Optimizer;
use crate::real::Real;

/// What a training run is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// The objective.
    pub objective: Objective,
    /// The optimiser.
    pub optimizer: Optimizer,
    /// Its learning rate, the largest.
    pub lr: f64,
    /// Epochs in which the learning rate rises to it.
    pub warm_up: usize,
    /// Whether the learning rate falls to 0 along a cosine.
    pub cosine: bool,
    /// Decay of every parameter, with [`Optimizer::MomentumSgd`].
    pub weight_decay: f64,
    /// Number of epochs; one epoch is one step on all rows.
    pub epochs: usize,
    /// Layers of the projectors.
    pub layers: Layers,
    /// What the first of them is trained as: a matter of cost alone.
    pub first_layer: FirstLayer,
    /// Dimension of the common representation.
    pub common: usize,
    /// What the initial parameters are drawn from.
    pub initialisation: Initialisation,
    /// What the classifier ends with.
    pub logits: Logits,
    /// How rows are brought to unit length.
    pub normalise: Normalise,
    /// Pseudo-labels that unlabelled rows are trained on.
    pub pseudo_labels: Option<PseudoLabels>,
    /// Networks of a partition, each from its own initial parameters, whose vote is the result.
    pub members: usize,
    /// Which state of the networks is the result.
    pub select: Select,
    /// Epochs after which the run ends where no partition's consensus has risen, of each group on
    /// its own; for [`Select::Consensus`] alone.
    pub patience: Option<usize>,
}

impl Options {
    /// The paper's run, and the released code's defaults.
    pub const PAPER: Options = Options {
        objective: Objective::PAPER,
        optimizer: Optimizer::MomentumSgd,
        lr: 0.1,
        warm_up: 0,
        cosine: false,
        weight_decay: 0.001,
        epochs: 3000,
        layers: Layers::Double,
        common: 256,
        first_layer: FirstLayer::Auto,
        initialisation: Initialisation::Small,
        logits: Logits::LeakyRelu,
        normalise: Normalise::Both(Normalisation::L2),
        pseudo_labels: None,
        members: 1,
        select: Select::Last,
        patience: None,
    };

    /// Another start and schedule, networks that vote, and pseudo-labels. More accurate than the
    /// paper's on some data and less on other: see `benches/RESULTS.md`. `docs/recipe.md` has what each
    /// part is worth.
    pub const ROBUST: Options = Options {
        objective: Objective::ROBUST,
        lr: 0.5,
        warm_up: 20,
        cosine: true,
        epochs: 300,
        initialisation: Initialisation::FanIn,
        logits: Logits::Linear,
        normalise: Normalise::ByFeatures,
        pseudo_labels: Some(PseudoLabels::ROBUST),
        members: 3,
        ..Options::PAPER
    };

    /// Learning rate over the epochs.
    pub fn rate(&self) -> LearningRate {
        LearningRate {
            peak: self.lr,
            warm_up: self.warm_up,
            cosine: self.cosine,
        }
    }

    /// The pseudo-labels that the vote is heard for before epoch `epoch`; `None` where it is not.
    fn hears(&self, epoch: usize) -> Option<PseudoLabels> {
        let how = self.pseudo_labels;
        how.filter(|how| how.hears(epoch, self.epochs))
    }

    /// The first epoch after `done` before which there is something to do, the last or `most` at most.
    fn next_stop(&self, done: usize, most: usize) -> usize {
        let most = most.min(self.epochs);
        let most = most.min(self.select.next(done, self.epochs));
        let heard = (done + 1..most).find(|&epoch| self.hears(epoch).is_some());
        heard.unwrap_or(most)
    }

    /// Sizes of the model for domains of these dimensions.
    pub fn dimensions(&self, source: usize, target: usize, classes: usize) -> Dimensions {
        Dimensions {
            source,
            target,
            common: self.common,
            classes,
            layers: self.layers,
        }
    }
}

/// Loss terms of one epoch, and accuracies in percent of the parameters that it ends with. An
/// accuracy is `None` where no label is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochMetrics {
    /// Number of the partition, from 0.
    pub partition: usize,
    /// Number of the network among those of the partition, from 0.
    pub member: usize,
    /// Number of the epoch, from 0.
    pub epoch: usize,
    /// The objective.
    pub total: f64,
    /// L_src.
    pub source_ce: f64,
    /// Labelled cross-entropy with its factor 1−α.
    pub hard: f64,
    /// Soft correlation with its factor α; their sum over the classes or mean, as
    /// [`Objective::over_classes`] says.
    pub soft: f64,
    /// L_adv, without γ.
    pub adversarial: f64,
    /// L_esa, without β; sum or mean, as the soft correlation.
    pub alignment: f64,
    /// Cross-entropy of the pseudo-labels, without its weight; 0 before there are any.
    pub pseudo_ce: f64,
    /// Unlabelled rows whose pseudo-label was selected.
    pub selected: usize,
    /// Those of them whose pseudo-label is right; `None` unless the class of every unlabelled row
    /// is known.
    pub selected_correct: Option<usize>,
    /// Accuracy on the source rows.
    pub source_acc: Option<f64>,
    /// Accuracy on the labelled target rows.
    pub labelled_acc: Option<f64>,
    /// Accuracy on the unlabelled target rows whose class is known.
    pub unlabelled_acc: Option<f64>,
}

impl EpochMetrics {
    /// Refuses a loss term that is not a finite number.
    fn check(&self) -> Result<()> {
        let terms = [
            ("source cross-entropy", self.source_ce),
            ("labelled cross-entropy", self.hard),
            ("soft correlation", self.soft),
            ("adversarial", self.adversarial),
            ("alignment", self.alignment),
            ("pseudo-label cross-entropy", self.pseudo_ce),
            ("total", self.total),
        ];
        match terms.into_iter().find(|(_, value)| !value.is_finite()) {
            None => Ok(()),
            Some((term, _)) => Err(Error::Data(format!(
                "training diverged: the {term} loss is not finite at epoch {} of partition {}; \
                 try a smaller --lr",
                self.epoch, self.partition
            ))),
        }
    }
}

/// The result of one partition; accuracies in percent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartitionResult {
    /// Number of the partition, from 0.
    pub partition: usize,
    /// Epochs trained.
    pub epochs: usize,
    /// Accuracy of the networks' vote on the unlabelled target rows after the last epoch: the
    /// result.
    pub accuracy_last: Option<f64>,
    /// The largest accuracy of any epoch and of any of the partition's networks alone, and of the votes
    /// here: an oracle, since it looks at the test labels.
    pub accuracy_best: Option<f64>,
    /// Accuracy of the vote of the state that [`Options::select`] keeps.
    pub accuracy_chosen: Option<f64>,
    /// Epochs trained before that state; before the last one that went into an average.
    pub epoch_chosen: usize,
    /// Accuracy on the source rows after the last epoch, mean over the networks.
    pub source_accuracy: Option<f64>,
    /// Accuracy on the labelled target rows after the last epoch, mean over the networks.
    pub labelled_accuracy: Option<f64>,
    /// Unlabelled target rows that were trained on pseudo-labels in the last epoch; `None` of a run
    /// without pseudo-labels.
    #[serde(default)]
    pub pseudo_labelled: Option<usize>,
}

/// What one network says of every target row of its problem.
#[derive(Clone, Debug, PartialEq)]
pub struct Opinions {
    /// The network's probability of every class, `n × K`.
    pub probabilities: Vec<f64>,
    /// Class of the most similar prototype; `None` without a second opinion.
    pub nearest: Option<Vec<i32>>,
}

/// What a network's second opinion compares rows with.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassPrototypes {
    /// How they are compared.
    pub similarity: Similarity,
    /// Mean features of each class's labelled rows of both domains, `K × d_common`; 0 for a class
    /// without any, which is never the most similar.
    pub means: Vec<f64>,
}

/// What a run, or a group of its partitions, ends with.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// One result per partition.
    pub partitions: Vec<PartitionResult>,
    /// What the networks that are kept say of the target rows.
    pub opinions: Vec<Opinions>,
    /// Their parameters.
    pub parameters: Vec<Parameters>,
    /// Their prototypes; `None` without a second opinion.
    pub prototypes: Option<Vec<ClassPrototypes>>,
    /// Wall time of a step divided by the partitions in it, in milliseconds, median over
    /// readings of the metrics.
    pub ms_per_epoch: f64,
}

/// The vote of the networks of one partition: the mean of their probabilities, `n × K`.
pub fn vote(opinions: &[Opinions]) -> Vec<f64> {
    let mut mean = vec![0.0; opinions[0].probabilities.len()];
    for opinion in opinions {
        let sums = mean.iter_mut().zip(&opinion.probabilities);
        sums.for_each(|(sum, p)| *sum += p / opinions.len() as f64);
    }
    mean
}

/// Time between two readings of the metrics, about.
const READ_EVERY: Duration = Duration::from_millis(100);

/// Trains all partitions of `problem` for `options.epochs` epochs, network `i` from `initial[i]`,
/// on the device that `load` puts the recorded step on. `observe` gets each epoch's metrics as
/// [`Watch::epoch`] does.
///
/// # Errors
/// As [`train_watched`].
pub fn train<T: Real>(
    problem: &Problem,
    options: &Options,
    initial: &[Parameters],
    load: impl FnOnce(Graph<T>) -> Result<Box<dyn Device<T>>>,
    observe: &mut dyn FnMut(&EpochMetrics) -> Result<()>,
) -> Result<Outcome> {
    train_group(problem, problem.all(), options, initial, load, observe)
}

/// As [`train`], of the group `partitions` alone; `initial` are its networks'.
///
/// # Errors
/// As [`train_watched`].
pub fn train_group<T: Real>(
    problem: &Problem,
    partitions: Range<usize>,
    options: &Options,
    initial: &[Parameters],
    load: impl FnOnce(Graph<T>) -> Result<Box<dyn Device<T>>>,
    observe: &mut dyn FnMut(&EpochMetrics) -> Result<()>,
) -> Result<Outcome> {
    let mut session = Session::group(problem, partitions, options, initial, load)?;
    let outcome = train_watched(&mut session, options, Vec::new(), &mut Observer(observe))?;
    Ok(outcome.expect("an observer does not stop a run"))
}

/// Trains `session`, of all partitions or a group, new or restored, until `options.epochs` epochs
/// are trained or `watch` stops it, which `None` tells. `told` are the metrics that were told before
/// the session's state was taken.
///
/// # Errors
/// As many epochs as `options` ask for are trained already, the device fails, a loss is no longer
/// finite, or what `watch` returns.
pub fn train_watched<T: Real>(
    session: &mut Session<T>,
    options: &Options,
    told: Vec<EpochMetrics>,
    watch: &mut dyn Watch<T>,
) -> Result<Option<Outcome>> {
    let start = session.steps();
    if start >= options.epochs {
        return Err(Error::Data(format!(
            "{start} epochs are trained, and no more than {} are asked for",
            options.epochs
        )));
    }
    let mut seen = Seen::new(session);
    told.iter().for_each(|metrics| seen.take(metrics));
    let mut take = |complete: Vec<EpochMetrics>, watch: &mut dyn Watch<T>| -> Result<()> {
        for metrics in &complete {
            metrics.check()?;
            seen.take(metrics);
            watch.epoch(metrics)?;
        }
        Ok(())
    };
    let mut pace = Pace::new();
    let mut done = start;
    let mut settled = false;
    while done < options.epochs {
        // What a session that goes on starts from has been through this.
        if done > start || start == 0 {
            settled = between_epochs(session, options)?;
        }
        if settled {
            break;
        }
        if done > start {
            let pause = watch.pause(done);
            if pause != Pause::None {
                session.pending().try_for_each(EpochMetrics::check)?;
                watch.keep(session.snapshot()?)?;
            }
            if pause == Pause::Stop {
                return Ok(None);
            }
        }
        let asked = watch.asks_at(done).max(done + 1);
        let next = options.next_stop(done, asked.min(done + pace.epochs));
        let began = Instant::now();
        let complete = session.run(next - done)?;
        pace.ran(next - done, began.elapsed());
        done = next;
        take(complete, watch)?;
    }
    take(session.finish()?, watch)?;
    // The last update's parameters have been through a forward pass now.
    session.pending().try_for_each(EpochMetrics::check)?;
    let last = session.opinions()?;
    if !settled && options.select.is_candidate(done, options.epochs) {
        session.consider(options.select)?;
    }
    let chosen = session.choose()?;
    let opinions = session.opinions()?;
    Ok(Some(Outcome {
        partitions: seen.results(session, done, &last, &chosen, &opinions)?,
        opinions,
        parameters: session.parameters()?,
        prototypes: session.prototypes()?,
        ms_per_epoch: pace.ms_per_epoch() / session.partitions().len() as f64,
    }))
}

/// What is due after the epochs trained so far and before the next: the state is considered as what
/// is kept, votes are heard, pseudo-labels made. `true` where the run has settled, which ends it; then
/// nothing is heard or made that no epoch would be trained on.
fn between_epochs<T: Real>(session: &mut Session<T>, options: &Options) -> Result<bool> {
    let done = session.steps();
    let how = options.hears(done);
    // Those of the epoch's own forward pass; considering the state makes another.
    let opinions = how.map(|_| session.opinions()).transpose()?;
    if options.select.is_candidate(done, options.epochs) {
        session.consider(options.select)?;
        let patience = options.patience.unwrap_or(usize::MAX);
        if done - session.settled() >= patience {
            return Ok(true);
        }
    }
    if let (Some(how), Some(opinions)) = (how, opinions) {
        session.hear(&opinions);
        if how.due(done, options.epochs) {
            session.label(&how)?;
        }
    }
    Ok(false)
}

/// How many epochs are run between two readings of the metrics, and how long they take.
struct Pace {
    epochs: usize,
    /// Milliseconds per epoch of each.
    times: Vec<f64>,
}

impl Pace {
    fn new() -> Pace {
        Pace {
            epochs: 1,
            times: Vec::new(),
        }
    }

    /// Takes note that `epochs` epochs took `elapsed`.
    fn ran(&mut self, epochs: usize, elapsed: Duration) {
        self.times.push(elapsed.as_secs_f64() * 1e3 / epochs as f64);
        if elapsed < READ_EVERY / 2 {
            self.epochs = (epochs * 2).min(session::RING);
        } else if elapsed > READ_EVERY {
            self.epochs = epochs.div_ceil(2);
        }
    }

    /// The median.
    fn ms_per_epoch(mut self) -> f64 {
        median(&mut self.times)
    }
}

/// What the metrics of a group of partitions come to.
struct Seen {
    /// Its first partition.
    first: usize,
    /// The largest accuracy of each partition.
    best: Vec<Option<f64>>,
    /// The latest metrics of each network.
    last: Vec<Option<EpochMetrics>>,
    members: usize,
}

impl Seen {
    fn new<T: Real>(session: &Session<T>) -> Seen {
        let partitions = session.partitions();
        Seen {
            first: partitions.start,
            best: vec![None; partitions.len()],
            last: vec![None; session.networks()],
            members: session.problem().members,
        }
    }

    fn take(&mut self, metrics: &EpochMetrics) {
        let partition = metrics.partition - self.first;
        let best = &mut self.best[partition];
        if best.is_none_or(|b| metrics.unlabelled_acc.is_some_and(|a| a > b)) {
            *best = metrics.unlabelled_acc;
        }
        let network = partition * self.members + metrics.member;
        self.last[network] = Some(metrics.clone());
    }

    /// The result of each partition whose networks' `opinions` are these.
    fn results<T: Real>(
        &self,
        session: &Session<T>,
        epochs: usize,
        last: &[Opinions],
        chosen: &[usize],
        opinions: &[Opinions],
    ) -> Result<Vec<PartitionResult>> {
        let pseudo_labelled = session.pseudo_labelled()?;
        let accuracies = |opinions: &[Opinions]| -> Vec<Option<f64>> {
            let each = opinions.chunks_exact(self.members);
            let each = each.zip(session.labels());
            let classes = session.problem().classes;
            each.map(|(opinions, labels)| labels.evaluate(opinions, classes))
                .map(|evaluation| evaluation.map(|e| e.accuracy))
                .collect()
        };
        let (accuracy_last, accuracy_chosen) = (accuracies(last), accuracies(opinions));
        let networks = self.last.chunks_exact(self.members).enumerate();
        let results = networks.map(|(partition, last)| {
            let mean = |of: fn(&EpochMetrics) -> Option<f64>| {
                let sum: Option<f64> = last.iter().map(|m| m.as_ref().and_then(of)).sum();
                sum.map(|sum| sum / self.members as f64)
            };
            PartitionResult {
                partition: self.first + partition,
                epochs,
                accuracy_last: accuracy_last[partition],
                accuracy_best: [&self.best, &accuracy_last, &accuracy_chosen]
                    .into_iter()
                    .filter_map(|of| of[partition])
                    .reduce(f64::max),
                accuracy_chosen: accuracy_chosen[partition],
                epoch_chosen: chosen[partition],
                source_accuracy: mean(|m| m.source_acc),
                labelled_accuracy: mean(|m| m.labelled_acc),
                pseudo_labelled: pseudo_labelled.as_ref().map(|rows| rows[partition]),
            }
        });
        Ok(results.collect())
    }
}
