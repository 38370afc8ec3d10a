//! Checkpoints: a run's state as safetensors, `value.0`, …, `kept.0`, … (`F32`) and `labels.0`, …
//! (`I32`), with the first partition of the group that was trained, its epochs, the length of the
//! metrics' file then, what is kept of each partition, and a checksum of it all as JSON in the
//! metadata.
//!
//! The checkpoint before the last is kept too: should the last be cut short or damaged, the run goes
//! on from there, and ends with the same bytes.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::{Dtype, View};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::data::legible;
use crate::error::{Cause, Error, Result};
use crate::files;
use crate::parameters::open;
use crate::tensors::{self, Block, Unusable, Values};
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
        let blocks = numbered("value", values, Values::F32);
        let blocks = blocks.chain(numbered("labels", labels, Values::I32));
        let kept = numbered("kept", &selection.values, Values::F32);
        let blocks: Vec<Block> = blocks.chain(kept).collect();
        let chosen = selection.chosen.clone();
        let mut hash = hash([self.first, *epochs], self.metrics, &chosen);
        blocks.iter().for_each(|block| hash.update(block.data()));
        let description = Description {
            format: FORMAT,
            first: self.first,
            epochs: *epochs,
            metrics: self.metrics,
            chosen,
            sha256: files::hexadecimal(&hash.finalize()),
        };
        tensors::to_bytes(KEY, &description, &blocks).expect("plain tensors")
    }

    /// Reads one. The inner error says that the file is none, or is damaged.
    ///
    /// # Errors
    /// The file cannot be read, or is of another format.
    pub fn load(path: &Path) -> Result<Result<Checkpoint>> {
        let bytes = files::read(path)?;
        match parse(&bytes) {
            Ok(checkpoint) => Ok(Ok(checkpoint)),
            Err(Unusable::Damaged(cause)) => Ok(Err(Error::file(path, cause))),
            Err(Unusable::Format(format)) => {
                let cause = format!(
                    "is of format {format}, this program reads {FORMAT}: resume with the ssan that \
                     wrote it, or remove the file to go on without it"
                );
                Err(Error::file(path, cause))
            }
        }
    }
}

/// The checksum's beginning.
fn hash([first, epochs]: [usize; 2], metrics: u64, chosen: &[Chosen]) -> Sha256 {
    let chosen = serde_json::to_string(chosen).expect("numbers");
    Sha256::new().chain_update(format!("{first} {epochs} {metrics} {chosen} "))
}

/// The tensors `name.0`, `name.1`, ….
fn numbered<'a, T>(
    name: &'static str,
    all: &'a [Vec<T>],
    values: impl Fn(&'a [T]) -> Values<'a>,
) -> impl Iterator<Item = Block<'a>> {
    let all = all.iter().enumerate();
    all.map(move |(i, all)| Block::vector(format!("{name}.{i}"), values(all)))
}

/// The checkpoint in the bytes of a file.
fn parse(bytes: &[u8]) -> std::result::Result<Checkpoint, Unusable> {
    let file = open(bytes)?;
    let description = tensors::description(bytes, KEY, "checkpoint", FORMAT)?;
    let description: Description = description.ok_or("is no checkpoint".to_string())?;
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
        return Err(Unusable::Damaged(
            "is damaged: its checksum does not hold".to_string(),
        ));
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
        assert_eq!(load(LAST).unwrap(), checkpoint(7));
        assert_eq!(load(PREVIOUS).unwrap(), checkpoint(6));
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
            match parse(&changed) {
                Err(Unusable::Damaged(cause)) if cause.contains("checksum") => {}
                other => panic!("byte {at}: {other:?}"),
            }
        }
    }

    /// Another version's is not damaged: it must not be trained anew without a word.
    #[test]
    fn another_format_is_told_apart() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join(LAST);
        let mut bytes = checkpoint(3).to_bytes();
        // Another number, and another field.
        for (now, then) in [("format\\\":4", "format\\\":9"), ("\\\"first", "\\\"thirs")] {
            let at = bytes.windows(now.len()).position(|w| w == now.as_bytes());
            let at = at.expect("a field of the description");
            bytes[at..at + then.len()].copy_from_slice(then.as_bytes());
        }
        std::fs::write(&path, bytes).unwrap();
        let error = Checkpoint::load(&path).unwrap_err().to_string();
        assert!(error.contains("is of format 9"), "{error}");
    }
}
