//! Traces of the authors' released code in float64 (`tests/golden/`), and following them.
//!
//! A trace is one run of the released model and loss functions on a tiny problem: options, data,
//! initial and final parameters, and per epoch every loss term, the labels that the network and
//! the prototypes give to the unlabelled rows, how many were selected, and the accuracies after
//! the update. The initial weights are 20 times the usual scale, so that every term is active.
//! The released alignment loss casts to float32 on its way; the traces were made without the cast.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use ssan::Result;
use ssan::data::{Matrix, Normalisation};
use ssan::device::Device;
use ssan::graph::Graph;
use ssan::model::{Layers, Parameters};
use ssan::objective::{Alignment, Objective, Refinement};
use ssan::ops::{Prototypes, Similarity};
use ssan::optim::Optimizer;
use ssan::train::{EpochMetrics, FirstLayer, Options, PartitionLabels, Problem, Session};

/// The traces, by the name of their file without `.json`.
pub const TRACES: [&str; 12] = [
    "adam",
    "cosine_threshold",
    "default",
    "euclidean",
    "no_adversary",
    "no_alignment",
    "no_refinement",
    "only_hard_loss",
    "sgd",
    "single_layer",
    "strong_alignment",
    "two_prototypes",
];

/// Where the trace of that name lies.
pub fn path(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    folder.join(name).with_extension("json")
}

#[derive(Deserialize)]
struct Trace {
    config: Config,
    source: Rows,
    target_labelled: Rows,
    target_unlabelled: Rows,
    initial: HashMap<String, Tensor>,
    #[serde(rename = "final")]
    last: HashMap<String, Tensor>,
    trace: Vec<Epoch>,
}

#[derive(Deserialize)]
struct Config {
    classes: usize,
    d_common: usize,
    layer: String,
    prototype: String,
    combine_pred: String,
    optimizer: String,
    lr: f64,
    alpha: f64,
    beta: f64,
    gamma: f64,
    temperature: f64,
    epochs: usize,
}

#[derive(Deserialize)]
struct Rows {
    features: Vec<Vec<f64>>,
    labels: Vec<i32>,
}

/// A weight, `out × in`, or a bias.
#[derive(Deserialize)]
#[serde(untagged)]
enum Tensor {
    Weight(Vec<Vec<f64>>),
    Bias(Vec<f64>),
}

#[derive(Deserialize)]
struct Epoch {
    epoch: usize,
    total: f64,
    source_ce: f64,
    hard: f64,
    soft: f64,
    adversarial: f64,
    alignment: f64,
    selected: usize,
    pseudo: Vec<i32>,
    /// −1 where the similarity is below the threshold.
    prototype: Vec<i32>,
    source_acc: f64,
    labelled_acc: f64,
    unlabelled_acc: f64,
}

impl Tensor {
    fn values(&self) -> Vec<f64> {
        match self {
            Tensor::Weight(rows) => rows.concat(),
            Tensor::Bias(values) => values.clone(),
        }
    }
}

impl Config {
    fn options(&self, first_layer: FirstLayer) -> Options {
        let unknown = |what: &str| -> ! { panic!("a trace with {what}") };
        let refinement = match self.combine_pred.as_str() {
            "None" => Refinement::None,
            "Cosine" => Refinement::Agreement(Similarity::Cosine),
            "Euclidean" => Refinement::Agreement(Similarity::Euclidean),
            "Cosine_threshold" => Refinement::Threshold(Similarity::Cosine),
            other => unknown(other),
        };
        let prototypes = match self.prototype.as_str() {
            "two" => Prototypes::Two,
            "three" => Prototypes::Three,
            other => unknown(other),
        };
        Options {
            objective: Objective {
                alpha: self.alpha,
                beta: self.beta,
                gamma: self.gamma,
                temperature: self.temperature,
                refinement,
                alignment: Alignment::Pairwise(prototypes),
                ..Objective::PAPER
            },
            optimizer: match self.optimizer.as_str() {
                "SGD" => Optimizer::Sgd,
                "mSGD" => Optimizer::MomentumSgd,
                "Adam" => Optimizer::Adam,
                other => unknown(other),
            },
            lr: self.lr,
            epochs: self.epochs,
            layers: match self.layer.as_str() {
                "single" => Layers::Single,
                "double" => Layers::Double,
                other => unknown(other),
            },
            common: self.d_common,
            first_layer,
            ..Options::PAPER
        }
    }
}

impl Trace {
    /// The two sets of target rows as one matrix, the labelled ones first.
    fn problem(&self) -> Problem {
        let (labelled, unlabelled) = (&self.target_labelled, &self.target_unlabelled);
        let nothing = |rows: &Rows| vec![-1; rows.labels.len()];
        Problem {
            classes: self.config.classes,
            members: 1,
            normalisation: [Normalisation::L2; 2],
            means: None,
            neighbours: None,
            source: matrix(&[&self.source]).into(),
            target: matrix(&[labelled, unlabelled]).into(),
            partitions: vec![PartitionLabels {
                source: self.source.labels.clone(),
                labelled: [labelled.labels.clone(), nothing(unlabelled)].concat(),
                unlabelled: [nothing(labelled), vec![0; unlabelled.labels.len()]].concat(),
                truth: [nothing(labelled), unlabelled.labels.clone()].concat(),
            }],
        }
    }
}

fn matrix(sets: &[&Rows]) -> Matrix {
    let rows: Vec<&Vec<f64>> = sets.iter().flat_map(|set| &set.features).collect();
    Matrix {
        rows: rows.len(),
        cols: rows[0].len(),
        values: rows.into_iter().flatten().copied().collect(),
    }
}

/// The name that PyTorch gives to a parameter of the project.
fn torch_name(name: &str) -> String {
    let (layer, kind) = name.rsplit_once('.').expect("layer and kind");
    let layer = match layer.split_once('.') {
        Some((domain, index)) => {
            // Each linear layer is followed by its activation.
            let index = 2 * index.parse::<usize>().expect("a layer's index");
            format!("projector_{domain}.projector.{index}")
        }
        None if layer == "classifier" => "classifier.class_classifier.0".into(),
        None => "discriminator_net.discriminator.0".into(),
    };
    format!("{layer}.{kind}")
}

/// Follows the trace at `path`, its first `epochs` epochs at most, with the first layers in the
/// given form, on the device that `load` puts the recorded step on: losses and final parameters to
/// 1e-9 (a rounding near a tie of squared distances grows: `Euclidean` to 1e-7), labels, selections
/// and accuracies exactly. Parameters are compared at the trace's end alone.
pub fn follow(
    path: &Path,
    epochs: usize,
    first_layer: FirstLayer,
    load: impl FnOnce(Graph<f64>) -> Result<Box<dyn Device<f64>>>,
) {
    let text = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let trace: Trace =
        serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let (problem, options) = (trace.problem(), trace.config.options(first_layer));
    let tolerance = match options.objective.refinement {
        Refinement::Agreement(Similarity::Euclidean) => 1e-7,
        _ => 1e-9,
    };
    let shapes = problem.dimensions(&options).parameters();
    let parameters = |of: &HashMap<String, Tensor>| -> Parameters {
        let names = shapes.iter().map(|s| torch_name(&s.name));
        names.map(|name| of[&name].values()).collect()
    };
    let initial = [parameters(&trace.initial)];
    let mut session = Session::new(&problem, &options, &initial, load).expect("a loaded step");
    assert_eq!(trace.trace.len(), options.epochs, "epochs of the trace");

    let followed = &trace.trace[..epochs.min(options.epochs)];
    let mut metrics = Vec::new();
    for expected in followed {
        metrics.extend(session.run(1).expect("a step"));
        compare_labels(&session, &problem.partitions[0], expected);
    }
    metrics.extend(session.finish().expect("a forward pass"));
    assert_eq!(metrics.len(), followed.len());
    for (metrics, expected) in metrics.iter().zip(followed) {
        compare_metrics(metrics, expected, tolerance);
    }
    if followed.len() < trace.trace.len() {
        return;
    }
    let (last, expected) = (session.parameters().unwrap(), parameters(&trace.last));
    for ((values, expected), shape) in last[0].iter().zip(&expected).zip(&shapes) {
        let name = &shape.name;
        assert_eq!(values.len(), expected.len(), "{name}: entries");
        let largest = expected.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
        for (i, (value, expected)) in values.iter().zip(expected).enumerate() {
            let error = (value - expected).abs() / largest;
            assert!(
                error <= tolerance,
                "final {name}[{i}]: {value}, traced {expected}, {error:e} of the largest"
            );
        }
    }
}

/// Labels that the step gave to the unlabelled rows, and which of them it selected.
fn compare_labels(session: &Session<f64>, labels: &PartitionLabels, expected: &Epoch) {
    let read = |labels| session.device().read_labels(labels).expect("labels");
    let terms = session.terms();
    let (pseudo, nearest) = (read(terms.pseudo), read(terms.nearest));
    let assigned = read(terms.assigned);
    let rows = (0..pseudo.len()).filter(|&i| labels.unlabelled[i] >= 0);
    let traced = expected.pseudo.iter().zip(&expected.prototype);
    let mut count = 0;
    for (row, (&own, &prototype)) in rows.zip(traced) {
        let at = format!("epoch {}, target row {row}", expected.epoch);
        assert_eq!(pseudo[row], own, "{at}: label of the network");
        if prototype >= 0 {
            assert_eq!(nearest[row], prototype, "{at}: label of the prototypes");
        }
        let selected = if own == prototype { own } else { -1 };
        assert_eq!(assigned[row], selected, "{at}: part in the alignment");
        count += 1;
    }
    assert_eq!(count, expected.pseudo.len(), "unlabelled rows");
}

fn compare_metrics(metrics: &EpochMetrics, expected: &Epoch, tolerance: f64) {
    let epoch = expected.epoch;
    assert_eq!(metrics.epoch, epoch);
    assert_eq!(
        metrics.selected, expected.selected,
        "epoch {epoch}: selected"
    );
    let losses = [
        ("total", metrics.total, expected.total),
        ("source_ce", metrics.source_ce, expected.source_ce),
        ("hard", metrics.hard, expected.hard),
        ("soft", metrics.soft, expected.soft),
        ("adversarial", metrics.adversarial, expected.adversarial),
        ("alignment", metrics.alignment, expected.alignment),
    ];
    for (name, value, expected) in losses {
        let error = (value - expected).abs();
        assert!(
            error <= tolerance * expected.abs(),
            "epoch {epoch}: {name} is {value}, traced {expected}"
        );
    }
    let accuracies = [
        ("source", metrics.source_acc, expected.source_acc),
        ("labelled", metrics.labelled_acc, expected.labelled_acc),
        (
            "unlabelled",
            metrics.unlabelled_acc,
            expected.unlabelled_acc,
        ),
    ];
    for (name, value, expected) in accuracies {
        // The same count of rows: the percentages differ in their last bit at most.
        let value = value.expect("every set has rows");
        assert!(
            (value - expected).abs() < 1e-9,
            "epoch {epoch}: {name} accuracy {value}, traced {expected}"
        );
    }
}
