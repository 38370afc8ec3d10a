//! What a run leaves: a folder that holds everything its user came for, and from which the run goes
//! on after an interruption.
//!
//! | file | |
//! |---|---|
//! | `config.toml` | every option, fingerprints of the data, version and device: [`Config`] |
//! | `splits.json` | rows of source, labelled and unlabelled target, per partition |
//! | `metrics.jsonl` | [`EpochMetrics`](crate::train::EpochMetrics), a line per epoch and network; where partitions are trained in groups, group by group |
//! | `model-0.safetensors`, … | the trained model of each partition: [`crate::model_file`] |
//! | `predictions.csv` | labels of the unlabelled rows: [`crate::predictions`] |
//! | `embedding.npz` | rows in the common space before and after training: [`embedding`] |
//! | `summary.json` | the result: [`Summary`]; written last, so that with it the run has ended |
//! | `report.html` | all of it to look at: [`crate::report`] |
//! | `checkpoint.safetensors`, `checkpoint.previous.safetensors` | while it has not: [`checkpoint`] |
//! | `groups.unfinished.json` | while groups of partitions are left to train: [`Finished`] |
//! | `summary.unfinished.json` | while only comparisons are left to train: [`Unfinished`] |
//! | `run.lock` | held by the process that trains |
//!
//! Files are written whole or not at all, but for `metrics.jsonl`, which grows, and which a resumed
//! run cuts back to what its checkpoint knows.

pub mod checkpoint;
mod config;
mod directory;
pub mod embedding;
mod finished;
mod interrupt;
mod recorder;
mod summary;

pub use config::{Config, Fingerprints, Program};
pub use directory::RunDirectory;
pub use finished::{FINISHED, Finished};
pub use interrupt::Interrupt;
pub use recorder::{CheckpointEvery, Recorder, Start};
pub use summary::{
    ControlSummary, PartitionSummary, Summary, TransferGain, TransferSummary, Unfinished,
};

/// Name of the options' file.
pub const CONFIG: &str = "config.toml";
/// Name of the splits' file.
pub const SPLITS: &str = "splits.json";
/// Name of the metrics' file.
pub const METRICS: &str = "metrics.jsonl";
/// Name of the predictions' file.
pub const PREDICTIONS: &str = "predictions.csv";
/// Name of the file with rows in the common space.
pub const EMBEDDING: &str = "embedding.npz";
/// Name of the report.
pub const REPORT: &str = "report.html";
/// Name of the file of a result that waits for its comparisons.
const UNFINISHED: &str = "summary.unfinished.json";
/// Name of the result's file.
pub const SUMMARY: &str = "summary.json";
