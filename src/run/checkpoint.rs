//! Checkpoints: a run's state as safetensors, `value.0`, …, `kept.0`, … (`F32`) and `labels.0`, …
//! (`I32`), with the first partition of the group that was trained, its epochs, the length of the
//! metrics' file then, what is kept of each partition, and a checksum of it all as JSON in the
//! metadata.
//!
//! The checkpoint before the last is kept too: should the last be cut short or damaged, the run goes
//! on from there, and ends with the same bytes.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::data::legible;
use crate::error::{Cause, Error, Result};
use crate::files;
use crate::parameters::open;
use crate::train::{Chosen, Selection, Snapshot};

/// Name of the last checkpoint.
pub const LAST: &str = "checkpoint.safetensors";
/// Name of the one before.
pub const PREVIOUS: &str = "checkpoint.previous.safetensors";

/// Version of the format; a change that an older reader would misread raises it.
const FORMAT: u32 = 4;

/// Key of the metadata.
const KEY: &str = "ssan-checkpoint";

/// A run between two steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The first partition of the group that is trained: 0 where all are trained at once.
    pub first: usize,
    /// What the steps work on.
    pub snapshot: Snapshot<f32>,
    /// Length of the metrics' file, in bytes: those of all epochs but the last.
    pub metrics: u64,
}

#[derive(Serialize, Deserialize)]
struct Description {
    format: u32,
    first: usize,
    epochs: usize,
    metrics: u64,
    chosen: Vec<Chosen>,
    /// SHA-256 of the numbers and of all tensors' bytes: values, labels, kept.
    sha256: String,
}

impl Checkpoint {
    /// Writes it to `folder` as the last one; what was the last becomes the one before.
    ///
    /// # Errors
    /// The file system refuses; then at least one of the two is as it was.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let (last, previous) = (folder.join(LAST), folder.join(PREVIOUS));
        let bytes = self.to_bytes();
        if last.exists() {
            std::fs::rename(&last, &previous)
                .map_err(|e| Error::file(&previous, format!("cannot be written: {e}")))?;
        }
        files::write_atomically(&last, &bytes)
    }

    fn to_bytes(&self) -> Vec<u8> {
        let Snapshot {
            epochs,
            values,
            labels,
            selection,
        } = &self.snapshot;
        let reals = |name: &'static str, all: &[Vec<f32>]| -> Vec<_> {
            let all = all.iter().enumerate();
            all.map(|(i, values)| {
                let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
                (format!("{name}.{i}"), Dtype::F32, values.len(), bytes)
            })
            .collect()
        };
        let labels = labels.iter().enumerate().map(|(i, labels)| {
            let bytes: Vec<u8> = labels.iter().flat_map(|x| x.to_le_bytes()).collect();
            (format!("labels.{i}"), Dtype::I32, labels.len(), bytes)
        });
        let mut tensors: Vec<_> = reals("value", values);
        tensors.extend(labels);
        tensors.extend(reals("kept", &selection.values));
        let chosen = selection.chosen.clone();
        let mut hash = hash([self.first, *epochs], self.metrics, &chosen);
        tensors.iter().for_each(|(.., bytes)| hash.update(bytes));
        let description = Description {
            format: FORMAT,
            first: self.first,
            epochs: *epochs,
            metrics: self.metrics,
            chosen,
            sha256: files::hexadecimal(&hash.finalize()),
        };
        let description = serde_json::to_string(&description).expect("numbers and text");
        let metadata = HashMap::from([(KEY.to_string(), description)]);
        let views = tensors.iter().map(|(name, kind, len, bytes)| {
            let view = TensorView::new(*kind, vec![*len], bytes);
            (name, view.expect("as many bytes as the shape says"))
        });
        safetensors::serialize(views, Some(metadata)).expect("plain tensors")
    }

    /// Reads one.
    ///
    /// # Errors
    /// The file cannot be read, is none, or is damaged.
    pub fn load(path: &Path) -> Result<Checkpoint> {
        let bytes = files::read(path)?;
        parse(&bytes).map_err(|cause| Error::file(path, cause))
    }
}

/// The checksum's beginning.
fn hash([first, epochs]: [usize; 2], metrics: u64, chosen: &[Chosen]) -> Sha256 {
    let chosen = serde_json::to_string(chosen).expect("numbers");
    Sha256::new().chain_update(format!("{first} {epochs} {metrics} {chosen} "))
}

/// The checkpoint in the bytes of a file.
fn parse(bytes: &[u8]) -> Cause<Checkpoint> {
    let file = open(bytes)?;
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| e.to_string())?;
    let text = header.metadata().as_ref().and_then(|all| all.get(KEY));
    let text = text.ok_or("is no checkpoint")?;
    let description: Description = serde_json::from_str(text).map_err(|e| {
        format!(
            "its description is no checkpoint's: {}",
            legible(&e.to_string())
        )
    })?;
    if description.format != FORMAT {
        return Err(format!(
            "is of format {}, this program reads {FORMAT}: resume with the ssan that wrote it",
            description.format
        ));
    }
    let numbers = [description.first, description.epochs];
    let mut hash = hash(numbers, description.metrics, &description.chosen);
    let mut all = |prefix: &str, kind: Dtype| -> Cause<Vec<&[u8]>> {
        let mut found = BTreeMap::new();
        for (name, view) in file.iter() {
            let number = name
                .strip_prefix(prefix)
                .and_then(|n| n.parse::<usize>().ok());
            if let Some(number) = number {
                if view.dtype() != kind {
                    return Err(format!("{} is {:?}", legible(name), view.dtype()));
                }
                found.insert(number, view.data());
            }
        }
        let found: Vec<&[u8]> = found.into_values().collect();
        found.iter().for_each(|bytes| hash.update(bytes));
        Ok(found)
    };
    let (values, labels) = (all("value.", Dtype::F32)?, all("labels.", Dtype::I32)?);
    let kept = all("kept.", Dtype::F32)?;
    if files::hexadecimal(&hash.finalize()) != description.sha256 {
        return Err("is damaged: its checksum does not hold".to_string());
    }
    fn four(bytes: &[u8]) -> impl Iterator<Item = [u8; 4]> {
        let chunks = bytes.chunks_exact(4);
        chunks.map(|b| b.try_into().expect("4 bytes"))
    }
    let reals = |all: Vec<&[u8]>| -> Vec<Vec<f32>> {
        let all = all.into_iter();
        all.map(|bytes| four(bytes).map(f32::from_le_bytes).collect())
            .collect()
    };
    let labels = labels
        .into_iter()
        .map(|bytes| four(bytes).map(i32::from_le_bytes).collect());
    Ok(Checkpoint {
        first: description.first,
        snapshot: Snapshot {
            epochs: description.epochs,
            values: reals(values),
            labels: labels.collect(),
            selection: Selection {
                chosen: description.chosen,
                values: reals(kept),
            },
        },
        metrics: description.metrics,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(epochs: usize) -> Checkpoint {
        Checkpoint {
            first: 4,
            snapshot: Snapshot {
                epochs,
                values: (0..12)
                    .map(|i| vec![i as f32 + 0.1, f32::MIN_POSITIVE])
                    .collect(),
                labels: vec![vec![-1, 3, 0]],
                selection: Selection {
                    chosen: vec![Chosen {
                        epochs: 2,
                        score: 0.1 + 0.2,
                        risen: 1,
                    }],
                    values: vec![vec![1.5], vec![2.5, 0.1]],
                },
            },
            metrics: 77,
        }
    }

    /// Twelve values: the tenth comes after the second although its name sorts before.
    #[test]
    fn what_is_written_is_read_and_the_one_before_stays() {
        let folder = tempfile::TempDir::new().unwrap();
        for epochs in [5, 6, 7] {
            checkpoint(epochs).save(folder.path()).unwrap();
        }
        let load = |name| Checkpoint::load(&folder.path().join(name)).unwrap();
        assert_eq!(load(LAST), checkpoint(7));
        assert_eq!(load(PREVIOUS), checkpoint(6));
    }

    #[test]
    fn whatever_is_cut_or_changed_is_noticed() {
        let whole = checkpoint(3).to_bytes();
        for len in 0..whole.len() {
            assert!(parse(&whole[..len]).is_err(), "cut to {len} bytes");
        }
        let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
        for at in header..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            let cause = parse(&changed).unwrap_err();
            assert!(cause.contains("checksum"), "byte {at}: {cause}");
        }
    }
}
