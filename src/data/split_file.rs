//! A published split out of a file.

use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use super::arrays::{Arrays, Cause, legible, list, locate};
use super::domain::Format;
use super::mat::Mat;
use super::{Split, Task};
use crate::error::{Error, Result};
use crate::files;

const JSON_NAMES: [&str; 3] = ["source", "labelled", "unlabelled"];
const MAT_NAMES: [&str; 3] = ["source_index", "target_training_index", "target_test_index"];

/// The file's content; rows are counted from 0.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Json {
    source: Option<Vec<usize>>,
    labelled: Vec<usize>,
    unlabelled: Vec<usize>,
}

/// A run's `splits.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List<S> {
    partitions: Vec<S>,
}

/// A run's `splits.json`: `{"partitions": [{"source": […], "labelled": […], "unlabelled": […]}, …]}`,
/// rows counted from 0; each entry is a split file of its own.
pub fn splits_to_json(splits: &[Split]) -> String {
    let partitions = splits.iter().map(|split| {
        json!({
            "source": split.source,
            "labelled": split.labelled,
            "unlabelled": split.unlabelled,
        })
    });
    format!(
        "{}\n",
        json!({ "partitions": partitions.collect::<Vec<_>>() })
    )
}

/// How many splits a run's `splits.json` lists.
pub(crate) fn count_splits(bytes: &[u8]) -> Cause<usize> {
    let list = serde_json::from_slice::<List<IgnoredAny>>(bytes);
    let list = list.map_err(|e| format!("is no list of splits: {}", legible(&e.to_string())))?;
    Ok(list.partitions.len())
}

/// Reads the split in a JSON file `{"source": […], "labelled": […], "unlabelled": […]}`, where
/// rows count from 0 and `source` may be left out for all labelled source rows, or in a `.mat`
/// file with `source_index`, `target_training_index` and `target_test_index`, where they count
/// from 1. The `splits.json` of a run of one partition serves too.
///
/// # Errors
/// The file is missing or damaged, is that of a run of several partitions, or its rows do not fit
/// `task`.
pub fn read_split(path: &Path, task: &Task) -> Result<Split> {
    let bytes = files::read(path)?;
    let split = match Format::of(path) {
        Some(Format::Mat) => from_mat(&bytes, task),
        _ => from_json(&bytes, task),
    };
    split.map_err(|cause| Error::file(path, cause))
}

fn from_json(bytes: &[u8], task: &Task) -> Cause<Split> {
    let wrong = |e: serde_json::Error| {
        format!(
            "{}: a split is {{\"source\":[…],\"labelled\":[…],\"unlabelled\":[…]}}, rows counted from 0",
            legible(&e.to_string())
        )
    };
    let listed = serde_json::from_slice::<List<IgnoredAny>>(bytes);
    let json: Json = match listed.map(|list| list.partitions.len()) {
        Err(_) => serde_json::from_slice(bytes).map_err(wrong)?,
        Ok(1) => {
            let list: List<Json> = serde_json::from_slice(bytes).map_err(wrong)?;
            list.partitions.into_iter().next().expect("there is one")
        }
        Ok(n) => {
            return Err(format!(
                "is a run's list of the splits of {n} partitions: one entry of `partitions` alone, in a file of its own, is a split"
            ));
        }
    };
    let split = Split {
        source: json.source.unwrap_or_else(|| task.source_rows()),
        labelled: json.labelled,
        unlabelled: json.unlabelled,
    };
    split.checked(task, JSON_NAMES, 0)
}

fn from_mat(bytes: &[u8], task: &Task) -> Cause<Split> {
    let mut file = Mat::open(bytes)?;
    let mut rows = |name| {
        let entry = locate(file.entries(), &[name])
            .ok_or_else(|| format!("has no {name}; it holds {}", list(file.entries())))?;
        let Some(values) = file.read(entry)?.numbers()? else {
            return Err(format!("{name} holds no numbers"));
        };
        let from_one = |&value: &f64| match value {
            _ if value.fract() == 0.0 && value >= 1.0 => Ok(value as usize - 1),
            _ => Err(format!("{name} lists row {value}; rows are counted from 1")),
        };
        values.iter().map(from_one).collect::<Cause<Vec<usize>>>()
    };
    let split = Split {
        source: rows(MAT_NAMES[0])?,
        labelled: rows(MAT_NAMES[1])?,
        unlabelled: rows(MAT_NAMES[2])?,
    };
    split.checked(task, MAT_NAMES, 1)
}
