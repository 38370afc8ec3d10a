//! Follows a run: writes its metrics, keeps checkpoints, listens to signals.

use std::fmt::Display;
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::checkpoint::{self, Checkpoint};
use super::{Finished, Interrupt, METRICS, RunDirectory};
use crate::error::{Error, Result};
use crate::files;
use crate::train::{EpochMetrics, Pause, Snapshot, Watch};

/// When checkpoints are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointEvery {
    /// So many epochs.
    Epochs(usize),
    /// So much time, about.
    Time(Duration),
}

/// Where a group of partitions goes on.
pub struct Start {
    /// The state.
    pub snapshot: Snapshot<f32>,
    /// Metrics of its epochs but the last.
    pub told: Vec<EpochMetrics>,
    /// The checkpoint's file.
    pub path: PathBuf,
}

/// What follows a run, or a group of its partitions, and writes to the run's folder.
pub struct Recorder<'a> {
    directory: &'a RunDirectory,
    /// The first partition that is trained.
    first: usize,
    path: PathBuf,
    metrics: BufWriter<File>,
    /// Length of the metrics' file.
    length: u64,
    every: CheckpointEvery,
    kept: Instant,
    /// Epochs of the last checkpoint.
    checkpoint: Option<usize>,
    interrupt: Interrupt,
    show: &'a mut dyn FnMut(&EpochMetrics),
}

impl<'a> Recorder<'a> {
    /// Begins the group of partitions after the `finished` ones, or goes on with it from its last
    /// checkpoint that is whole, which is returned with the group's metrics before it; `networks`
    /// are the metrics of an epoch. `show` gets metrics as they are written, `note` what is wrong with
    /// checkpoints.
    ///
    /// # Errors
    /// There is a checkpoint, but none that can be read and is of this format; the metrics' file cannot
    /// be written, or signals cannot be caught.
    pub fn new(
        directory: &'a RunDirectory,
        finished: &Finished,
        networks: usize,
        every: CheckpointEvery,
        show: &'a mut dyn FnMut(&EpochMetrics),
        note: &dyn Fn(&str),
    ) -> Result<(Recorder<'a>, Option<Start>)> {
        let path = directory.file(METRICS);
        let (first, before) = (finished.partitions.len(), finished.metrics);
        let skip = |what: &dyn Display| note(&format!("{what}: the run goes on from before it"));
        let (mut found, mut unread) = (None, None);
        for file in [checkpoint::LAST, checkpoint::PREVIOUS].map(|name| directory.file(name)) {
            if found.is_some() || !file.exists() {
                continue;
            }
            match Checkpoint::load(&file) {
                Err(error) => unread = unread.or(Some(error)),
                Ok(Err(error)) => skip(&error),
                // Of a group that is finished.
                Ok(Ok(checkpoint)) if checkpoint.first != first => {}
                Ok(Ok(checkpoint)) => match told(&path, before, &checkpoint, networks) {
                    Some(told) => found = Some((checkpoint, told, file)),
                    None => skip(&format_args!(
                        "{} does not follow the metrics in {METRICS}",
                        file.display()
                    )),
                },
            }
        }
        match unread {
            // Training anew would lose what the file may hold.
            Some(error) if found.is_none() => return Err(error),
            Some(error) => skip(&error),
            None => {}
        }
        let length = found
            .as_ref()
            .map_or(before, |(checkpoint, ..)| checkpoint.metrics);
        let failed = |e: std::io::Error| Error::file(&path, format!("cannot be written: {e}"));
        let options = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path);
        let mut file = options.map_err(failed)?;
        file.set_len(length).map_err(failed)?;
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        let interrupt = Interrupt::catch()?;
        let recorder = Recorder {
            directory,
            first,
            metrics: BufWriter::new(file),
            path,
            length,
            every,
            kept: Instant::now(),
            checkpoint: found.as_ref().map(|(found, ..)| found.snapshot.epochs),
            interrupt,
            show,
        };
        let start = found.map(|(found, told, path)| Start {
            snapshot: found.snapshot,
            told,
            path,
        });
        Ok((recorder, start))
    }

    /// The signal that stopped the run, if one did.
    pub fn signal(&self) -> Option<u8> {
        self.interrupt.signal()
    }

    /// Epochs of the last checkpoint in the folder.
    pub fn checkpoint(&self) -> Option<usize> {
        self.checkpoint
    }

    /// Length of the metrics in the folder, in bytes.
    pub fn metrics(&self) -> u64 {
        self.length
    }

    /// Writes what is still to be written.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn flush(&mut self) -> Result<()> {
        let flushed = self.metrics.flush();
        let flushed = flushed.and_then(|()| self.metrics.get_ref().sync_all());
        flushed.map_err(|e| Error::file(&self.path, format!("cannot be written: {e}")))
    }
}

/// The metrics in the file at `path`, from the byte `before` on, that a checkpoint follows, if they
/// are there.
fn told(
    path: &Path,
    before: u64,
    checkpoint: &Checkpoint,
    networks: usize,
) -> Option<Vec<EpochMetrics>> {
    let bytes = files::read(path).ok()?;
    let place = |length: u64| usize::try_from(length).ok();
    let bytes = bytes.get(place(before)?..place(checkpoint.metrics)?)?;
    let lines = std::str::from_utf8(bytes).ok()?.lines();
    let told: Option<Vec<EpochMetrics>> = lines.map(|l| serde_json::from_str(l).ok()).collect();
    let expected = checkpoint.snapshot.epochs.checked_sub(1)? * networks;
    told.filter(|told| told.len() == expected)
}

impl Watch<f32> for Recorder<'_> {
    fn epoch(&mut self, metrics: &EpochMetrics) -> Result<()> {
        let mut line = serde_json::to_string(metrics).expect("numbers and names");
        line.push('\n');
        let written = self.metrics.write_all(line.as_bytes());
        written.map_err(|e| Error::file(&self.path, format!("cannot be written: {e}")))?;
        self.length += line.len() as u64;
        (self.show)(metrics);
        Ok(())
    }

    fn pause(&mut self, next: usize) -> Pause {
        if self.interrupt.signal().is_some() {
            return Pause::Stop;
        }
        let due = match self.every {
            CheckpointEvery::Epochs(every) => next.is_multiple_of(every),
            CheckpointEvery::Time(every) => self.kept.elapsed() >= every,
        };
        if due { Pause::Keep } else { Pause::None }
    }

    fn asks_at(&self, next: usize) -> usize {
        match self.every {
            CheckpointEvery::Epochs(every) => (next / every + 1).saturating_mul(every),
            CheckpointEvery::Time(_) => usize::MAX,
        }
    }

    fn keep(&mut self, snapshot: Snapshot<f32>) -> Result<()> {
        self.flush()?;
        let epochs = snapshot.epochs;
        let checkpoint = Checkpoint {
            first: self.first,
            snapshot,
            metrics: self.length,
        };
        checkpoint.save(self.directory.path())?;
        self.checkpoint = Some(epochs);
        self.kept = Instant::now();
        Ok(())
    }
}
