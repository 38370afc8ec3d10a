//! What a run leaves between two steps, and who keeps it.

use crate::error::Result;
use crate::real::Real;
use crate::train::{EpochMetrics, Selection};

/// All that the rest of a run depends on besides its problem, options and initial parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot<T> {
    /// Epochs trained.
    pub epochs: usize,
    /// The recorded step's state ([`Graph::state`](crate::graph::Graph::state)): parameters,
    /// optimiser, counter, metrics not yet read. Then for each partition with pseudo-labels the
    /// consensus of the vote that they are made from and, once there is one, that vote.
    pub values: Vec<Vec<T>>,
    /// The pseudo-labels in use, where there are any.
    pub labels: Vec<Vec<i32>>,
    /// The states kept so far.
    pub selection: Selection<T>,
}

/// What becomes of a run between two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// It goes on.
    None,
    /// It goes on once a snapshot is kept.
    Keep,
    /// It ends once a snapshot is kept.
    Stop,
}

/// Follows a run. Its errors end the run.
pub trait Watch<T: Real> {
    /// Gets each epoch's metrics as they are complete, epoch by epoch and within an epoch network
    /// by network.
    ///
    /// # Errors
    /// As the watcher pleases.
    fn epoch(&mut self, metrics: &EpochMetrics) -> Result<()>;

    /// Is asked before epoch `next` of a run that has trained at least one; how often is up to the
    /// run, but not later than [`Watch::asks_at`] wants.
    fn pause(&mut self, next: usize) -> Pause;

    /// The first epoch after `next` before which it must be asked.
    fn asks_at(&self, next: usize) -> usize;

    /// Keeps a snapshot. The metrics of all its epochs but the last have been told.
    ///
    /// # Errors
    /// As the watcher pleases.
    fn keep(&mut self, snapshot: Snapshot<T>) -> Result<()>;
}

/// Told of every epoch, and nothing else.
pub(super) struct Observer<'a>(pub &'a mut dyn FnMut(&EpochMetrics) -> Result<()>);

impl<T: Real> Watch<T> for Observer<'_> {
    fn epoch(&mut self, metrics: &EpochMetrics) -> Result<()> {
        self.0(metrics)
    }

    fn pause(&mut self, _: usize) -> Pause {
        Pause::None
    }

    fn asks_at(&self, _: usize) -> usize {
        usize::MAX
    }

    fn keep(&mut self, _: Snapshot<T>) -> Result<()> {
        Ok(())
    }
}
