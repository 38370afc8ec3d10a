//! `groups.unfinished.json`: what the groups of partitions that are trained came to, while others
//! are left. Their models are files of the run already.

use std::fs::File;
use std::io::Read;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{CONFIG, EMBEDDING, METRICS, PartitionSummary, RunDirectory};
use crate::data::{Split, legible};
use crate::error::{Cause, Error, Result};
use crate::files;
use crate::model_file;
use crate::predictions::Predictions;
use crate::train::{Groups, Outcome, Problem};

/// Name of the file.
pub const FINISHED: &str = "groups.unfinished.json";

/// The groups of a run that are trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    /// What their partitions came to.
    pub partitions: Vec<PartitionSummary>,
    /// What they say of the rows.
    pub predictions: Predictions,
    /// Sum over the partitions of their group's [`Outcome::ms_per_epoch`].
    milliseconds: f64,
    /// Length of the metrics' file, in bytes.
    pub metrics: u64,
}

/// The file: the groups, and the SHA-256 of all that they left.
#[derive(Serialize, Deserialize)]
struct Sealed<F> {
    /// Of `finished` as it is written.
    sha256: String,
    /// Of the metrics until then.
    metrics: String,
    /// Name and SHA-256 of other files.
    files: Vec<(String, String)>,
    finished: F,
}

impl Finished {
    /// Before the first group of a run with these `splits`.
    pub fn none(splits: &[Split], classes: usize) -> Finished {
        Finished {
            partitions: Vec::new(),
            predictions: Predictions::new(splits, classes),
            milliseconds: 0.0,
            metrics: 0,
        }
    }

    /// Takes what the next group of `problem`, with the `splits` of all partitions, came to, after
    /// which the metrics' file has `metrics` bytes.
    pub fn take(&mut self, problem: &Problem, splits: &[Split], outcome: &Outcome, metrics: u64) {
        let (first, opinions) = (self.partitions.len(), &outcome.opinions);
        self.predictions
            .take(splits, first, opinions, problem.members);
        self.partitions
            .extend(PartitionSummary::of(problem, first, outcome));
        self.milliseconds += outcome.ms_per_epoch * outcome.partitions.len() as f64;
        self.metrics = metrics;
    }

    /// Mean of the partitions' [`Outcome::ms_per_epoch`].
    pub fn ms_per_epoch(&self) -> f64 {
        self.milliseconds / self.partitions.len() as f64
    }

    /// Keeps it, when all else that the groups leave is in `directory`.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn save(&self, directory: &RunDirectory) -> Result<()> {
        let models = (0..self.partitions.len()).map(model_file::name);
        let names = [CONFIG, EMBEDDING].map(String::from).into_iter();
        let files = names.chain(models).map(|name| {
            let hash = files::fingerprint(&directory.file(&name))?;
            Ok((name, hash))
        });
        let sealed = Sealed {
            sha256: self.hash(),
            metrics: self.metrics_hash(directory)?,
            files: files.collect::<Result<_>>()?,
            finished: self,
        };
        let json = serde_json::to_vec(&sealed).expect("numbers and names");
        directory.write(FINISHED, &json)
    }

    /// The first of the `groups` of the run in `directory`, as far as they are trained; `None` before
    /// the first, as which `self` is.
    ///
    /// # Errors
    /// The file, or one that the groups left, is damaged or gone.
    pub fn load(&self, directory: &RunDirectory, groups: &Groups) -> Result<Option<Finished>> {
        let path = directory.file(FINISHED);
        if !path.exists() {
            return Ok(None);
        }
        let sealed = parse(&files::read(&path)?).map_err(|cause| Error::file(&path, cause))?;
        let trained = sealed.finished.partitions.len();
        let next = groups.ranges().any(|group| group.start == trained);
        if !next || !sealed.finished.predictions.fits(&self.predictions) {
            return Err(Error::file(path, "is of a run with other data or options"));
        }
        for (name, hash) in &sealed.files {
            let path = directory.file(name);
            if files::fingerprint(&path)? != *hash {
                return Err(Error::file(path, "is not what a group of partitions left"));
            }
        }
        let finished = sealed.finished;
        if finished.metrics_hash(directory)? != sealed.metrics {
            let path = directory.file(METRICS);
            return Err(Error::file(path, "is not what a group of partitions left"));
        }
        Ok(Some(finished))
    }

    fn hash(&self) -> String {
        let json = serde_json::to_vec(self).expect("numbers and names");
        files::hexadecimal(&Sha256::digest(json))
    }

    /// SHA-256 of the metrics in `directory` up to the groups' end.
    fn metrics_hash(&self, directory: &RunDirectory) -> Result<String> {
        let path = directory.file(METRICS);
        let unreadable = |e: std::io::Error| Error::file(&path, format!("cannot be read: {e}"));
        let mut metrics = File::open(&path).map_err(unreadable)?.take(self.metrics);
        let mut hash = Sha256::new();
        std::io::copy(&mut metrics, &mut hash).map_err(unreadable)?;
        Ok(files::hexadecimal(&hash.finalize()))
    }
}

/// The groups in the bytes of a file.
fn parse(bytes: &[u8]) -> Cause<Sealed<Finished>> {
    let sealed: Sealed<Finished> = serde_json::from_slice(bytes)
        .map_err(|e| format!("is damaged: {}", legible(&e.to_string())))?;
    match sealed.finished.hash() == sealed.sha256 {
        true => Ok(sealed),
        false => Err("is damaged: its checksum does not hold".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::Opinions;

    /// Nothing but what was written is taken for it.
    #[test]
    fn whatever_is_cut_or_changed_is_noticed() {
        let split = Split {
            source: vec![0],
            labelled: vec![0],
            unlabelled: vec![1, 2],
        };
        let splits = vec![split; 2];
        let mut finished = Finished::none(&splits, 2);
        let opinions = [Opinions {
            probabilities: vec![0.1, 0.9, 0.25, 0.75, 0.3, 0.7],
            nearest: Some(vec![0, 1, 1]),
        }];
        finished.predictions.take(&splits, 0, &opinions, 1);
        finished.metrics = 77;
        let sealed = Sealed {
            sha256: finished.hash(),
            metrics: String::new(),
            files: Vec::new(),
            finished: &finished,
        };
        let whole = serde_json::to_vec(&sealed).unwrap();
        assert_eq!(parse(&whole).unwrap().finished, finished);
        for len in 0..whole.len() {
            assert!(parse(&whole[..len]).is_err(), "cut to {len} bytes");
        }
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            if let Ok(found) = parse(&changed) {
                assert_eq!(found.finished, finished, "byte {at}");
            }
        }
        // Of other rows or classes, or with a class that there is not.
        let of = |splits: &[Split], classes| Predictions::new(splits, classes);
        assert!(finished.predictions.fits(&of(&splits, 2)));
        assert!(!finished.predictions.fits(&of(&splits, 3)));
        let fewer = Split {
            unlabelled: vec![1],
            ..splits[0].clone()
        };
        assert!(!finished.predictions.fits(&of(&[fewer], 2)));
        let json = serde_json::to_string(&finished.predictions).unwrap();
        let other = json.replacen("\"class\":1", "\"class\":2", 1);
        let other: Predictions = serde_json::from_str(&other).unwrap();
        assert!(!other.fits(&finished.predictions));
    }
}
