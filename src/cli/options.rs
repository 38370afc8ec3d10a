//! The options of `ssan train`: those of the released code under their own names, and ours.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, ValueEnum};

use super::output::Talk;
use crate::data::{self, Keys, LabelColumn, Labelling, Normalisation, Normalise};
use crate::device::{CudaOptions, Precision, Request};
use crate::error::{Error, Result};
use crate::files;
use crate::model::{Initialisation, Layers, Logits};
use crate::objective::{Alignment, Objective, OverClasses, Refinement};
use crate::ops::{Prototypes, Similarity};
use crate::optim::Optimizer;
use crate::run::{CheckpointEvery, Fingerprints};
use crate::train::{Control, FirstLayer, Options, PseudoLabels, Select};

/// The released code's default task.
const RELEASE_TASK: [&str; 2] = ["amazon_surf", "amazon_decaf"];

/// Where data files keep features and labels.
#[derive(Args)]
pub(super) struct FieldArgs {
    /// Field of the features; several, separated by commas, are parts of a domain
    #[arg(long, value_name = "KEY", value_delimiter = ',')]
    pub features_key: Vec<String>,

    /// Field of the labels, one for each part
    #[arg(long, value_name = "KEY", value_delimiter = ',')]
    pub labels_key: Vec<String>,

    /// Column of the labels in .csv files: first, last, none, or its name in the header
    #[arg(long, value_name = "COLUMN", default_value = "last")]
    pub label_column: LabelColumn,

    /// Columns of .csv files that are no features (identifiers, remarks), by their names in the
    /// header, separated by commas
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub ignore_columns: Vec<String>,
}

impl FieldArgs {
    /// What they say of a single file.
    pub fn keys(&self) -> Keys {
        Keys {
            features: self.features_key.clone(),
            labels: self.labels_key.clone(),
            label_column: self.label_column.clone(),
            ignored_columns: self.ignore_columns.clone(),
        }
    }
}

/// Options of `ssan train`.
#[derive(Args)]
#[command(next_help_heading = "Data")]
pub(super) struct TrainArgs {
    /// Labelled domain: a file (.mat, .npz, .npy, .csv), or the name of one in --data-dir
    /// [default: amazon_surf where --target is given, else the bundled digits]
    #[arg(long, value_name = "NAME|FILE")]
    pub source: Option<String>,

    /// Domain to be labelled, as --source [default: amazon_decaf where --source is given]
    #[arg(long, value_name = "NAME|FILE")]
    pub target: Option<String>,

    /// Folder in which names of domains are looked up
    #[arg(
        long,
        visible_alias = "data_dir",
        value_name = "DIR",
        default_value = "datasets"
    )]
    pub data_dir: PathBuf,

    /// Target rows of each class whose label is used, drawn anew for every partition
    /// [default: 3; or the rows that have a label, where the target file has rows without; or its
    /// first part, where it has several]
    #[arg(
        long,
        visible_alias = "labelled_per_class",
        value_name = "N",
        conflicts_with = "split"
    )]
    pub labelled_per_class: Option<usize>,

    /// Rows of source, labelled and unlabelled target: JSON {"source":[…],"labelled":[…],
    /// "unlabelled":[…]}, counted from 0, or a .mat with source_index, target_training_index,
    /// target_test_index, counted from 1
    #[arg(long, value_name = "FILE")]
    pub split: Option<PathBuf>,

    #[command(flatten)]
    pub fields: FieldArgs,

    /// --features-key for the source alone
    #[arg(long, value_name = "KEY", value_delimiter = ',')]
    pub source_features_key: Vec<String>,

    /// --labels-key for the source alone
    #[arg(long, value_name = "KEY", value_delimiter = ',')]
    pub source_labels_key: Vec<String>,

    /// --label-column for the source alone
    #[arg(long, value_name = "COLUMN")]
    pub source_label_column: Option<LabelColumn>,

    /// --features-key for the target alone
    #[arg(long, value_name = "KEY", value_delimiter = ',')]
    pub target_features_key: Vec<String>,

    /// --labels-key for the target alone
    #[arg(long, value_name = "KEY", value_delimiter = ',')]
    pub target_labels_key: Vec<String>,

    /// --label-column for the target alone
    #[arg(long, value_name = "COLUMN")]
    pub target_label_column: Option<LabelColumn>,

    /// Values of the method's options that are not given: the paper's as released, or ours, which
    /// change initialisation, schedule and normalisation and add a vote and pseudo-labels
    /// [default: robust; paper where one of --optimizer, --lr, --alpha, --beta, --gamma, --temperature,
    /// --prototype, --combine_pred is given]
    #[arg(long, value_enum, help_heading = "Training")]
    pub recipe: Option<RecipeName>,

    /// Epochs, each one step on all rows [paper: 3000, on the bundled digits 600; robust: 300]
    #[arg(long, value_name = "E", help_heading = "Training")]
    pub nepoch: Option<usize>,

    /// Partitions: draws of labelled target rows and initial weights, trained side by side as far as
    /// memory allows it [default: 20; 3 on the bundled digits]
    #[arg(long, value_name = "P", help_heading = "Training")]
    pub partition: Option<usize>,

    /// Networks trained for each partition, from different initial weights, that label by vote
    /// [paper: 1; robust: 3; 1 with --init]
    #[arg(long, value_name = "S", help_heading = "Training")]
    pub members: Option<usize>,

    /// Seed of all draws
    #[arg(long, default_value_t = 2020, help_heading = "Training")]
    pub seed: u64,

    /// Optimiser: mSGD has Nesterov momentum 0.9 and weight decay [default: mSGD]
    #[arg(long, value_enum, ignore_case = true, help_heading = "Training")]
    pub optimizer: Option<OptimizerName>,

    /// Learning rate, the largest [paper: 0.1; robust: 0.5]
    #[arg(long, help_heading = "Training")]
    pub lr: Option<f64>,

    /// Learning rate over the epochs: the same, or falling to 0 along a cosine [paper: constant;
    /// robust: cosine]
    #[arg(
        long,
        visible_alias = "lr_schedule",
        value_enum,
        help_heading = "Training"
    )]
    pub lr_schedule: Option<ScheduleName>,

    /// Epochs in which the learning rate rises to its largest [paper: 0; robust: 20]
    #[arg(
        long,
        visible_alias = "warm_up",
        value_name = "E",
        help_heading = "Training"
    )]
    pub warm_up: Option<usize>,

    /// Weight decay of mSGD [default: 0.001]
    #[arg(long, visible_alias = "weight_decay", help_heading = "Training")]
    pub weight_decay: Option<f64>,

    /// How rows are brought to unit length: each divided by its norm, or then centred on the
    /// domain's mean and divided again, or the same of the features' signed square roots, or of
    /// these where a domain's features are frequencies, as counts and histograms are
    /// [paper: l2; robust: auto]
    #[arg(long, value_enum, help_heading = "Training")]
    pub normalise: Option<NormaliseName>,

    /// Tell from the labelled target rows alone, by cross-validation, whether the source seems to
    /// help or to harm; about doubles the time
    #[arg(long, visible_alias = "check_transfer", help_heading = "Comparison")]
    pub check_transfer: bool,

    /// Which networks are the result. last epoch; consensus: the epoch in which neighbouring target
    /// rows most share a label and every class keeps rows (no test label); average: mean of the last
    /// third; best-test: an oracle, which the test labels choose [default: last]
    #[arg(long, value_enum, help_heading = "Training")]
    pub select: Option<SelectName>,

    /// With --select consensus: the run ends when the consensus has not risen for so many epochs in
    /// any partition
    #[arg(long, value_name = "E", help_heading = "Training")]
    pub patience: Option<usize>,

    /// Train the same networks on the labelled target rows alone too, and report it beside the
    /// result: does the source help?
    #[arg(long, value_enum, help_heading = "Comparison")]
    pub baseline: Option<BaselineName>,

    /// Train with Gaussian noise in the place of the source's features too, and report it beside
    /// the result: does it matter what the source is?
    #[arg(long, value_enum, help_heading = "Comparison")]
    pub control: Option<ControlName>,

    /// Initial parameters of every partition, instead of drawn ones; one network each
    #[arg(long, value_name = "FILE.safetensors", help_heading = "Training")]
    pub init: Option<PathBuf>,

    /// How the first layer of a projector is trained: as its weight, or in Gram form, which is
    /// exact too and costs less where rows are fewer than twice the features: auto, gram or direct
    #[arg(
        long,
        visible_alias = "first_layer",
        value_name = "FORM",
        default_value = "auto",
        help_heading = "Training"
    )]
    pub first_layer: FirstLayer,

    /// Linear layers of the projectors [default: double]
    #[arg(long, value_enum, help_heading = "Model")]
    pub layer: Option<LayerName>,

    /// Dimension of the common representation [default: 256]
    #[arg(
        long = "d_common",
        visible_alias = "d-common",
        value_name = "D",
        help_heading = "Model"
    )]
    pub d_common: Option<usize>,

    /// Initial parameters: all from N(0, 0.01²), or weights scaled by their inputs and biases 0
    /// [paper: small; robust: fan-in]
    #[arg(long, visible_alias = "init_scale", value_enum, help_heading = "Model")]
    pub init_scale: Option<InitName>,

    /// What the classifier ends with [paper: leaky; robust: linear]
    #[arg(long, value_enum, help_heading = "Model")]
    pub logits: Option<LogitsName>,

    /// Share of the soft correlation in the labelled target's loss, from 0 to 1 [paper: 0.1;
    /// robust: 0.5]
    #[arg(long, help_heading = "Objective")]
    pub alpha: Option<f64>,

    /// Weight of the alignment of class centroids [paper: 0.004; robust: 0.1]
    #[arg(long, help_heading = "Objective")]
    pub beta: Option<f64>,

    /// Weight of the adversarial loss; with 0 the discriminator takes no part [default: 0.1]
    #[arg(long, help_heading = "Objective")]
    pub gamma: Option<f64>,

    /// Temperature of the source softmax in the soft correlation [default: 5]
    #[arg(long, help_heading = "Objective")]
    pub temperature: Option<f64>,

    /// Whether soft correlation and alignment are sums over the classes or means [paper: sum;
    /// robust: mean]
    #[arg(
        long,
        visible_alias = "over_classes",
        value_enum,
        help_heading = "Objective"
    )]
    pub over_classes: Option<OverClassesName>,

    /// Labels that unlabelled rows are trained on late in training: none, or the vote of the
    /// partition's networks smoothed over the graph of nearest target rows [paper: none; robust:
    /// graph]
    #[arg(
        long,
        visible_alias = "pseudo_labels",
        value_enum,
        help_heading = "Objective"
    )]
    pub pseudo_labels: Option<PseudoLabelsName>,

    /// Centroids aligned for every class: source and target, or their union's too [default: three]
    #[arg(long, value_enum, help_heading = "Objective")]
    pub prototype: Option<PrototypeName>,

    /// Form of the alignment: squared distances within a class, or a triplet margin
    #[arg(long, value_enum, default_value_t = AlignmentName::Pairwise, help_heading = "Objective")]
    pub alignment: AlignmentName,

    /// Margin of --alignment margin, in squared distance [default: 0.3]
    #[arg(long, value_name = "M", help_heading = "Objective")]
    pub margin: Option<f64>,

    /// Second opinion that must confirm a pseudo-label before it is used [default: Cosine].
    /// Euclidean_threshold never selects one: the released code asks for what cannot hold
    #[arg(
        long = "combine_pred",
        visible_alias = "combine-pred",
        value_enum,
        ignore_case = true,
        value_name = "HOW",
        help_heading = "Objective"
    )]
    pub combine_pred: Option<CombineName>,

    /// Where to compute: auto, cpu, cuda or cuda:N [default: auto]
    #[arg(long, value_name = "DEVICE", help_heading = "Device")]
    pub device: Option<Request>,

    /// CUDA device of the released code's command lines: used if it is there, else the CPU;
    /// --device decides where both are given
    #[arg(long, value_name = "N", help_heading = "Device")]
    pub cuda: Option<usize>,

    /// Matrix products of a CUDA device, sums being fp32 always: fp32; tf32 or bf16, which are faster
    /// and round factors to 10 or 7 bits after the point
    #[arg(
        long,
        value_name = "TYPE",
        default_value = "fp32",
        help_heading = "Device"
    )]
    pub precision: Precision,

    /// Memory that training may take, such as 8GiB or 500MB, on the host and on a CUDA device each:
    /// partitions for which it is too little at once are trained in groups one after the other, with
    /// the same result [default: what is free]
    #[arg(
        long,
        visible_alias = "max_memory",
        value_name = "SIZE",
        value_parser = bytes,
        allow_negative_numbers = true,
        help_heading = "Device"
    )]
    pub max_memory: Option<u64>,

    /// Launch kernels one by one instead of replaying the step as a CUDA graph; slower, and the
    /// same results
    #[arg(long, help_heading = "Device")]
    pub no_graph: bool,

    /// Folder for all that the run leaves: options, splits, metrics, models, predictions, summary
    /// [default: runs/SOURCE-TARGET-TIME]
    #[arg(
        long,
        visible_aliases = ["checkpoint_path", "checkpoint-path"],
        value_name = "DIR",
        help_heading = "Output"
    )]
    pub out: Option<PathBuf>,

    /// Replace the run that is in the folder of --out
    #[arg(long, help_heading = "Output")]
    pub force: bool,

    /// Epochs between checkpoints, from which --resume goes on [default: about a minute's]
    #[arg(
        long,
        visible_alias = "checkpoint_every",
        value_name = "E",
        help_heading = "Output"
    )]
    pub checkpoint_every: Option<usize>,

    /// Go on with the run in this folder, as if it had not been interrupted; its options are
    /// there, and only --device, --cuda, --max-memory, --no-graph, --checkpoint-every, --json,
    /// --quiet and --verbose may be given
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub resume: Option<PathBuf>,

    /// Take the options that are not given from a run's config.toml, which repeats that run
    #[arg(long, value_name = "FILE.toml", help_heading = "Output")]
    pub config: Option<PathBuf>,

    /// Print the result as one JSON object on standard output, and all else on standard error
    #[arg(long, help_heading = "Output")]
    pub json: bool,

    #[command(flatten)]
    pub talk: Talk,

    /// What the files that the options of --config or --resume name must hold.
    #[arg(skip)]
    pub expected: Fingerprints,

    /// Partitions that the run of --config or --resume trained side by side, where it was not all.
    #[arg(skip)]
    pub at_once: Option<usize>,
}

/// A number of bytes, one at least.
fn bytes(text: &str) -> std::result::Result<u64, String> {
    let size: Option<ByteSize> = text.trim().parse().ok();
    let bytes = size.map_or(0, |size| size.as_u64());
    match bytes {
        0 => Err("give a size such as 8GiB, 500MB, or a number of bytes".to_string()),
        _ => Ok(bytes),
    }
}

/// The two sets of options.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum RecipeName {
    Paper,
    Robust,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ScheduleName {
    Constant,
    Cosine,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum PseudoLabelsName {
    None,
    Graph,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum SelectName {
    Last,
    Consensus,
    Average,
    BestTest,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum BaselineName {
    TargetOnly,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ControlName {
    Noise,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum NormaliseName {
    L2,
    Centred,
    Rooted,
    Auto,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum InitName {
    Small,
    FanIn,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LogitsName {
    Leaky,
    Linear,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum OverClassesName {
    Sum,
    Mean,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum OptimizerName {
    #[value(name = "mSGD")]
    MSgd,
    #[value(name = "SGD")]
    Sgd,
    #[value(name = "Adam")]
    Adam,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LayerName {
    Single,
    Double,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum PrototypeName {
    Two,
    Three,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum AlignmentName {
    Pairwise,
    Margin,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum CombineName {
    #[value(name = "Cosine")]
    Cosine,
    #[value(name = "Euclidean")]
    Euclidean,
    #[value(name = "Cosine_threshold")]
    CosineThreshold,
    #[value(name = "Euclidean_threshold")]
    EuclideanThreshold,
    #[value(name = "None")]
    None,
}

/// A value of an option and what it stands for.
type Table<N, V, const SIZE: usize> = [(N, V); SIZE];

const SCHEDULES: Table<ScheduleName, bool, 2> = [
    (ScheduleName::Constant, false),
    (ScheduleName::Cosine, true),
];

const PSEUDO_LABELS: Table<PseudoLabelsName, Option<PseudoLabels>, 2> = [
    (PseudoLabelsName::None, None),
    (PseudoLabelsName::Graph, Some(PseudoLabels::ROBUST)),
];

const NORMALISATIONS: Table<NormaliseName, Normalise, 4> = [
    (NormaliseName::L2, Normalise::Both(Normalisation::L2)),
    (
        NormaliseName::Centred,
        Normalise::Both(Normalisation::Centred),
    ),
    (
        NormaliseName::Rooted,
        Normalise::Both(Normalisation::Rooted),
    ),
    (NormaliseName::Auto, Normalise::ByFeatures),
];

const SELECTIONS: Table<SelectName, Select, 4> = [
    (SelectName::Last, Select::Last),
    (SelectName::Consensus, Select::Consensus),
    (SelectName::Average, Select::Average),
    (SelectName::BestTest, Select::BestTest),
];

const INITIALISATIONS: Table<InitName, Initialisation, 2> = [
    (InitName::Small, Initialisation::Small),
    (InitName::FanIn, Initialisation::FanIn),
];

const LOGITS: Table<LogitsName, Logits, 2> = [
    (LogitsName::Leaky, Logits::LeakyRelu),
    (LogitsName::Linear, Logits::Linear),
];

const OVER_CLASSES: Table<OverClassesName, OverClasses, 2> = [
    (OverClassesName::Sum, OverClasses::Sum),
    (OverClassesName::Mean, OverClasses::Mean),
];

const OPTIMIZERS: Table<OptimizerName, Optimizer, 3> = [
    (OptimizerName::MSgd, Optimizer::MomentumSgd),
    (OptimizerName::Sgd, Optimizer::Sgd),
    (OptimizerName::Adam, Optimizer::Adam),
];

const LAYERS: Table<LayerName, Layers, 2> = [
    (LayerName::Single, Layers::Single),
    (LayerName::Double, Layers::Double),
];

const PROTOTYPES: Table<PrototypeName, Prototypes, 2> = [
    (PrototypeName::Two, Prototypes::Two),
    (PrototypeName::Three, Prototypes::Three),
];

const REFINEMENTS: Table<CombineName, Refinement, 5> = [
    (CombineName::None, Refinement::None),
    (
        CombineName::Cosine,
        Refinement::Agreement(Similarity::Cosine),
    ),
    (
        CombineName::Euclidean,
        Refinement::Agreement(Similarity::Euclidean),
    ),
    (
        CombineName::CosineThreshold,
        Refinement::Threshold(Similarity::Cosine),
    ),
    (
        CombineName::EuclideanThreshold,
        Refinement::Threshold(Similarity::Euclidean),
    ),
];

/// What a given name stands for in `table`; the recipe's value where none is given.
fn pick<N: PartialEq, V: Copy>(given: &Option<N>, table: &[(N, V)], recipe: V) -> V {
    let found = table.iter().find(|(name, _)| given.as_ref() == Some(name));
    found.map_or(recipe, |(_, value)| *value)
}

/// The name in `table` of `value`, as the command line spells it.
fn name<N: ValueEnum, V: PartialEq>(table: &[(N, V)], value: &V) -> String {
    let found = table.iter().find(|(_, v)| v == value);
    let (name, _) = found.expect("every value has a name");
    spelled(name)
}

/// A value of an option as the command line spells it.
fn spelled<N: ValueEnum>(name: &N) -> String {
    let value = name.to_possible_value();
    let value = value.expect("no value of an option is hidden");
    value.get_name().to_string()
}

/// The files that a run reads; `None` for what is bundled or not asked for.
#[derive(Default)]
pub(super) struct TaskFiles {
    pub source: Option<PathBuf>,
    pub target: Option<PathBuf>,
    pub split: Option<PathBuf>,
    pub init: Option<PathBuf>,
}

impl TaskFiles {
    /// Each with the option that names it.
    pub fn named(&self) -> [(&'static str, &Option<PathBuf>); 4] {
        [
            ("source", &self.source),
            ("target", &self.target),
            ("split", &self.split),
            ("init", &self.init),
        ]
    }

    /// What is in them now.
    pub fn fingerprints(&self) -> Result<Fingerprints> {
        let of = |path: &Option<PathBuf>| path.as_deref().map(files::fingerprint).transpose();
        Ok(Fingerprints {
            source: of(&self.source)?,
            target: of(&self.target)?,
            split: of(&self.split)?,
            init: of(&self.init)?,
        })
    }
}

/// What is trained on.
pub(super) enum TaskNames<'a> {
    /// The digits in the binary.
    Bundled,
    /// Two files or names.
    Named([&'a str; 2]),
}

impl TrainArgs {
    /// Source and target, or the bundled digits.
    pub fn task(&self) -> TaskNames<'_> {
        match (self.source.as_deref(), self.target.as_deref()) {
            (None, None) => TaskNames::Bundled,
            (source, target) => TaskNames::Named([
                source.unwrap_or(RELEASE_TASK[0]),
                target.unwrap_or(RELEASE_TASK[1]),
            ]),
        }
    }

    /// The recipe's name.
    pub fn recipe(&self) -> String {
        spelled(&self.recipe_name())
    }

    /// The recipe: where none is named, a command line of the released code means what it meant
    /// there.
    fn recipe_name(&self) -> RecipeName {
        let released = [
            self.optimizer.is_some(),
            self.lr.is_some(),
            self.alpha.is_some(),
            self.beta.is_some(),
            self.gamma.is_some(),
            self.temperature.is_some(),
            self.prototype.is_some(),
            self.combine_pred.is_some(),
        ];
        self.recipe.unwrap_or(match released.contains(&true) {
            true => RecipeName::Paper,
            false => RecipeName::Robust,
        })
    }

    /// The name of what `options` keep.
    pub fn select(&self, options: &Options) -> String {
        name(&SELECTIONS, &options.select)
    }

    /// The runs to compare with.
    pub fn controls(&self) -> Vec<Control> {
        let baseline = self.baseline.map(|name| match name {
            BaselineName::TargetOnly => Control::TargetOnly,
        });
        let control = self.control.map(|name| match name {
            ControlName::Noise => Control::Noise,
        });
        baseline.into_iter().chain(control).collect()
    }

    /// The files of the task, found, under names that hold from any folder.
    pub fn files(&self) -> Result<TaskFiles> {
        let absolute = |path: PathBuf| {
            let found = path.canonicalize();
            found.map_err(|e| Error::file(path, format!("cannot be read: {e}")))
        };
        let [source, target] = match self.task() {
            TaskNames::Bundled => [None, None],
            TaskNames::Named([source, target]) => {
                let find = |option: &str, given: &Option<String>, name: &str| {
                    let found = data::find(name, &self.data_dir);
                    // The released code's default is seldom meant.
                    let hint = |e| match given {
                        Some(_) => e,
                        None => Error::Usage(format!("--{option} is not given: {e}")),
                    };
                    absolute(found.map_err(hint)?).map(Some)
                };
                [
                    find("source", &self.source, source)?,
                    find("target", &self.target, target)?,
                ]
            }
        };
        Ok(TaskFiles {
            source,
            target,
            split: self.split.clone().map(absolute).transpose()?,
            init: self.init.clone().map(absolute).transpose()?,
        })
    }

    /// When checkpoints are kept.
    pub fn checkpoints(&self) -> Result<CheckpointEvery> {
        Ok(match self.checkpoint_every {
            None => CheckpointEvery::Time(Duration::from_secs(60)),
            Some(epochs) => CheckpointEvery::Epochs(at_least_one("--checkpoint-every", epochs)?),
        })
    }

    /// How the fields of the source file and of the target file are found.
    pub fn keys(&self) -> [Keys; 2] {
        let keys = |features: &Vec<String>, labels: &Vec<String>, column: &Option<LabelColumn>| {
            let or = |own: &Vec<String>, both: &Vec<String>| {
                if own.is_empty() {
                    both.clone()
                } else {
                    own.clone()
                }
            };
            Keys {
                features: or(features, &self.fields.features_key),
                labels: or(labels, &self.fields.labels_key),
                label_column: column.as_ref().unwrap_or(&self.fields.label_column).clone(),
                ignored_columns: self.fields.ignore_columns.clone(),
            }
        };
        [
            keys(
                &self.source_features_key,
                &self.source_labels_key,
                &self.source_label_column,
            ),
            keys(
                &self.target_features_key,
                &self.target_labels_key,
                &self.target_label_column,
            ),
        ]
    }

    /// Number of partitions.
    pub fn partitions(&self) -> Result<usize> {
        let default = match self.task() {
            TaskNames::Bundled => 3,
            TaskNames::Named(_) => 20,
        };
        at_least_one("--partition", self.partition.unwrap_or(default))
    }

    /// The device asked for, and whether a missing one is replaced by the CPU.
    pub fn request(&self) -> Request {
        match (self.device, self.cuda) {
            (Some(device), _) => device,
            (None, Some(ordinal)) => Request::Prefer(ordinal),
            (None, None) => Request::Auto,
        }
    }

    /// How a CUDA device is to work.
    pub fn cuda_options(&self) -> CudaOptions {
        CudaOptions {
            use_graph: !self.no_graph,
            precision: self.precision,
        }
    }

    /// The training options, if they can work.
    pub fn options(&self) -> Result<Options> {
        if self.labelled_per_class == Some(0) {
            return Err(usage(
                "--labelled-per-class 0: the target needs labelled rows; give 1 or more",
            ));
        }
        let recipe = match self.recipe_name() {
            RecipeName::Paper => Options::PAPER,
            RecipeName::Robust => Options::ROBUST,
        };
        let epochs = match (self.recipe_name(), self.task()) {
            (RecipeName::Paper, TaskNames::Bundled) => 600,
            _ => recipe.epochs,
        };
        let select = pick(&self.select, &SELECTIONS, recipe.select);
        let positive = |x: f64| x > 0.0;
        let lr = self.lr.unwrap_or(recipe.lr);
        let decay = self.weight_decay.unwrap_or(recipe.weight_decay);
        let members = match (&self.init, self.members) {
            (None, given) => given.unwrap_or(recipe.members),
            (Some(_), None | Some(1)) => 1,
            (Some(_), Some(members)) => {
                return Err(usage(format!(
                    "--members {members} with --init: networks that begin with the same parameters \
                     stay the same; leave --members out",
                )));
            }
        };
        let common = self.d_common.unwrap_or(recipe.common);
        Ok(Options {
            objective: self.objective(recipe.objective)?,
            optimizer: pick(&self.optimizer, &OPTIMIZERS, recipe.optimizer),
            lr: within("--lr", lr, "a positive number", positive)?,
            warm_up: self.warm_up.unwrap_or(recipe.warm_up),
            cosine: pick(&self.lr_schedule, &SCHEDULES, recipe.cosine),
            weight_decay: within("--weight-decay", decay, "0 or more", |x| x >= 0.0)?,
            epochs: at_least_one("--nepoch", self.nepoch.unwrap_or(epochs))?,
            layers: pick(&self.layer, &LAYERS, recipe.layers),
            common: at_least_one("--d_common", common)?,
            first_layer: self.first_layer,
            initialisation: pick(&self.init_scale, &INITIALISATIONS, recipe.initialisation),
            logits: pick(&self.logits, &LOGITS, recipe.logits),
            normalise: pick(&self.normalise, &NORMALISATIONS, recipe.normalise),
            pseudo_labels: pick(&self.pseudo_labels, &PSEUDO_LABELS, recipe.pseudo_labels),
            members: at_least_one("--members", members)?,
            select,
            patience: self.patience(select)?,
        })
    }

    /// Every option of the run that trains as `options` say, by its long name, in a form that
    /// [`super::config::expand`] reads back. `files` are source, target, split and initial
    /// parameters as found, `labelling` is how the labelled rows are chosen and `device` the one
    /// that trains.
    pub fn written(
        &self,
        options: &Options,
        partitions: usize,
        files: &TaskFiles,
        labelling: &Labelling,
        device: &str,
    ) -> toml::Table {
        let mut table = toml::Table::new();
        let mut set = |name: &str, value: toml::Value| {
            table.insert(name.to_string(), value);
        };
        let text = |text: String| toml::Value::String(text);
        let count = |n: usize| toml::Value::Integer(n as i64);
        for (name, path) in files.named() {
            if let Some(path) = path {
                set(name, text(path.to_string_lossy().into_owned()));
            }
        }
        let [source, target] = self.keys();
        let columns = [&source, &target].map(|keys| text(keys.label_column.to_string()));
        match columns {
            [source, target] if source == target => set("label-column", source),
            [source, target] => {
                set("source-label-column", source);
                set("target-label-column", target);
            }
        }
        for (name, keys) in [
            ("source-features-key", source.features),
            ("source-labels-key", source.labels),
            ("target-features-key", target.features),
            ("target-labels-key", target.labels),
            ("ignore-columns", source.ignored_columns),
        ] {
            if !keys.is_empty() {
                set(name, keys.into_iter().map(text).collect::<Vec<_>>().into());
            }
        }
        if let Labelling::PerClass(n) = labelling {
            set("labelled-per-class", count(*n));
        }
        set("recipe", text(self.recipe()));
        set("nepoch", count(options.epochs));
        set("partition", count(partitions));
        set("members", count(options.members));
        // TOML has integers with a sign alone.
        let large = |n: u64| {
            let integer = i64::try_from(n).map(toml::Value::Integer);
            integer.unwrap_or_else(|_| text(n.to_string()))
        };
        set("seed", large(self.seed));
        set("optimizer", text(name(&OPTIMIZERS, &options.optimizer)));
        set("lr", options.lr.into());
        set("lr-schedule", text(name(&SCHEDULES, &options.cosine)));
        set("warm-up", count(options.warm_up));
        set("weight-decay", options.weight_decay.into());
        set("normalise", text(name(&NORMALISATIONS, &options.normalise)));
        set("first-layer", text(options.first_layer.to_string()));
        set("layer", text(name(&LAYERS, &options.layers)));
        set("d_common", count(options.common));
        set(
            "init-scale",
            text(name(&INITIALISATIONS, &options.initialisation)),
        );
        set("logits", text(name(&LOGITS, &options.logits)));
        let objective = &options.objective;
        set("alpha", objective.alpha.into());
        set("beta", objective.beta.into());
        set("gamma", objective.gamma.into());
        set("temperature", objective.temperature.into());
        set(
            "over-classes",
            text(name(&OVER_CLASSES, &objective.over_classes)),
        );
        set(
            "pseudo-labels",
            text(name(&PSEUDO_LABELS, &options.pseudo_labels)),
        );
        set("select", text(name(&SELECTIONS, &options.select)));
        if let Some(epochs) = options.patience {
            set("patience", count(epochs));
        }
        if self.check_transfer {
            set("check-transfer", true.into());
        }
        if let Some(baseline) = &self.baseline {
            set("baseline", text(spelled(baseline)));
        }
        if let Some(control) = &self.control {
            set("control", text(spelled(control)));
        }
        set("alignment", text(spelled(&self.alignment)));
        match &objective.alignment {
            Alignment::Pairwise(prototypes) => {
                set("prototype", text(name(&PROTOTYPES, prototypes)))
            }
            Alignment::Margin(margin) => set("margin", (*margin).into()),
        }
        set(
            "combine_pred",
            text(name(&REFINEMENTS, &objective.refinement)),
        );
        set("device", text(device.to_string()));
        set("precision", text(self.precision.to_string()));
        if let Some(bytes) = self.max_memory {
            set("max-memory", large(bytes));
        }
        if self.no_graph {
            set("no-graph", true.into());
        }
        if let Some(every) = self.checkpoint_every {
            set("checkpoint-every", count(every));
        }
        table
    }

    fn patience(&self, select: Select) -> Result<Option<usize>> {
        match (self.patience, select) {
            (Some(_), Select::Last | Select::Average | Select::BestTest) => Err(usage(
                "--patience waits for the consensus to rise: give --select consensus with it",
            )),
            (Some(epochs), Select::Consensus) => at_least_one("--patience", epochs).map(Some),
            (None, _) => Ok(None),
        }
    }

    fn objective(&self, recipe: Objective) -> Result<Objective> {
        let prototypes = pick(&self.prototype, &PROTOTYPES, Prototypes::Three);
        let alignment = match (self.alignment, self.margin) {
            (AlignmentName::Pairwise, None) => Alignment::Pairwise(prototypes),
            (AlignmentName::Pairwise, Some(_)) => {
                return Err(usage(
                    "--margin belongs to --alignment margin; give both or neither",
                ));
            }
            (AlignmentName::Margin, margin) => {
                let margin = margin.unwrap_or(0.3);
                Alignment::Margin(within("--margin", margin, "0 or more", |x| x >= 0.0)?)
            }
        };
        let number =
            |option: &str, given: Option<f64>, recipe: f64, range, holds: fn(f64) -> bool| {
                within(option, given.unwrap_or(recipe), range, holds)
            };
        let share = |x: f64| (0.0..=1.0).contains(&x);
        let not_negative = |x: f64| x >= 0.0;
        Ok(Objective {
            alpha: number(
                "--alpha",
                self.alpha,
                recipe.alpha,
                "between 0 and 1",
                share,
            )?,
            beta: number("--beta", self.beta, recipe.beta, "0 or more", not_negative)?,
            gamma: number(
                "--gamma",
                self.gamma,
                recipe.gamma,
                "0 or more",
                not_negative,
            )?,
            temperature: number(
                "--temperature",
                self.temperature,
                recipe.temperature,
                "a positive number",
                |x| x > 0.0,
            )?,
            over_classes: pick(&self.over_classes, &OVER_CLASSES, recipe.over_classes),
            refinement: pick(&self.combine_pred, &REFINEMENTS, recipe.refinement),
            alignment,
        })
    }
}

fn usage(message: impl Into<String>) -> Error {
    Error::Usage(message.into())
}

fn at_least_one(option: &str, value: usize) -> Result<usize> {
    match value {
        0 => Err(usage(format!("{option} 0: give 1 or more"))),
        _ => Ok(value),
    }
}

fn within(option: &str, value: f64, range: &str, holds: impl Fn(f64) -> bool) -> Result<f64> {
    // Training is in single precision, where a larger number is infinite.
    if holds(value) && (value as f32).is_finite() && (value == 0.0 || value as f32 != 0.0) {
        Ok(value)
    } else {
        Err(usage(format!("{option} {value}: give {range}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::config::parse;

    #[test]
    fn a_cuda_device_gets_its_options() {
        let cuda = |line: &str| {
            let words: Vec<_> = line.split(' ').map(Into::into).collect();
            let options = parse(&words).unwrap().cuda_options();
            (options.use_graph, options.precision)
        };
        assert_eq!(cuda("ssan train"), (true, Precision::Fp32));
        let given = cuda("ssan train --no-graph --precision bf16");
        assert_eq!(given, (false, Precision::Bf16));
    }
}
