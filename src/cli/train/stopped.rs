//! A run that stops before its end, and what its folder keeps.

use super::super::output::{Text, counted};
use crate::error::Error;
use crate::run::{Finished, RunDirectory};

/// Why a run did not come to its end.
pub(super) struct Stopped {
    pub error: Error,
    /// Partitions of the groups that are trained, before the one that was.
    pub finished: usize,
    /// Epochs of its checkpoint.
    pub checkpoint: Option<usize>,
    /// Whether it left metrics.
    pub has_metrics: bool,
}

impl Stopped {
    /// Before a group is trained that comes after the `finished` ones.
    pub fn before(error: Error, finished: &Finished) -> Stopped {
        Stopped {
            error,
            finished: finished.partitions.len(),
            checkpoint: None,
            has_metrics: finished.metrics > 0,
        }
    }

    /// The error for the user, who learns what is kept. Of a new run that left nothing, nothing
    /// stays.
    pub fn told(self, directory: RunDirectory, is_new: bool, text: &Text) -> Error {
        let folder = directory.path().display().to_string();
        let after = match self.finished {
            0 => String::new(),
            n => format!(" after its first {}", counted(n, "partition")),
        };
        let on = match (self.checkpoint, self.finished) {
            (Some(epochs), _) => format!("goes on from epoch {epochs}{after}"),
            (None, 0) => "begins it again".to_string(),
            (None, _) => format!("goes on{after}"),
        };
        let on = format!("ssan train --resume {folder} {on}");
        match self.error {
            Error::Interrupted { signal, .. } => Error::Interrupted {
                signal,
                done: format!("by signal {signal}: {on}"),
            },
            error if is_new && self.checkpoint.is_none() && !self.has_metrics => {
                discard(directory, text);
                error
            }
            error => {
                let mut kept = vec!["options", "metrics"];
                if self.finished > 0 {
                    kept.push("trained partitions");
                }
                if self.checkpoint.is_some() {
                    kept.push("last checkpoint");
                }
                let last = kept.pop().expect("two at least");
                let kept = format!("{} and {last}", kept.join(", "));
                let on = match error {
                    // Training that has diverged does so again.
                    Error::Data(_) => {
                        "a run with other options needs another folder, or --force".to_string()
                    }
                    // Perhaps what is there cannot be read.
                    _ if !is_new && self.checkpoint.is_none() => {
                        format!("ssan train --resume {folder} tries again")
                    }
                    _ => on,
                };
                text.note(format_args!("{folder} keeps its {kept}; {on}"));
                error
            }
        }
    }
}

/// Removes a run that failed; what went wrong before is told as its error.
pub(super) fn discard(directory: RunDirectory, text: &Text) {
    if let Err(error) = directory.discard() {
        text.note(format_args!("what the run left stays: {error}"));
    }
}
