//! The folder of a run: who may write to it, and what is in it.

use std::fs::{File, TryLockError};
use std::path::{self, Path, PathBuf};
use std::time::SystemTime;

use super::{
    CONFIG, Config, EMBEDDING, FINISHED, METRICS, PREDICTIONS, Program, REPORT, SPLITS, SUMMARY,
    UNFINISHED, checkpoint,
};
use crate::data;
use crate::error::{Error, Result};
use crate::files;
use crate::inference::TrainedModel;
use crate::model_file;

/// Name of the file that the training process holds a lock on.
const LOCK: &str = "run.lock";

/// Files of a run, besides the models, in the order in which they are removed.
const FILES: [&str; 11] = [
    // With these a run has ended, or all of it but comparisons, or groups of its partitions.
    SUMMARY,
    UNFINISHED,
    FINISHED,
    METRICS,
    PREDICTIONS,
    EMBEDDING,
    REPORT,
    checkpoint::LAST,
    checkpoint::PREVIOUS,
    // As long as it is there, the folder is a run's, and `--force` can be given again; afterwards
    // the folder is that of a run that has not begun.
    CONFIG,
    SPLITS,
];

/// A run's folder, which no other process trains in as long as this lives.
pub struct RunDirectory {
    path: PathBuf,
    lock: File,
    /// Folders that were made for it, the outermost first.
    made: Vec<PathBuf>,
}

impl RunDirectory {
    /// A folder for a new run: one that is not there, or is empty, or, with `force`, holds a run,
    /// which is removed.
    ///
    /// # Errors
    /// It holds a run and `force` is not given; it holds something else; another process trains in
    /// it; or it cannot be made.
    pub fn create(path: &Path, force: bool) -> Result<RunDirectory> {
        let outermost = path.ancestors().filter(|p| *p != Path::new(""));
        let mut made: Vec<PathBuf> = outermost
            .take_while(|p| !p.exists())
            .map(Path::to_path_buf)
            .collect();
        made.reverse();
        if made.is_empty() {
            fresh(path, force)?;
        }
        std::fs::create_dir_all(path)
            .map_err(|e| Error::file(path, format!("cannot be made: {e}; see --out")))?;
        let lock = lock(path)?;
        let directory = RunDirectory {
            path: path.to_path_buf(),
            lock,
            made,
        };
        // Another process may have begun or ended a run in between.
        fresh(path, force)?;
        directory.clear()?;
        Ok(directory)
    }

    /// A path for a run that names no folder: `runs/SOURCE-TARGET-TIME`, where nothing is yet.
    pub fn free(source: &str, target: &str) -> PathBuf {
        let plain = |c: char| match c {
            _ if c.is_alphanumeric() || "._-".contains(c) => c,
            _ => '_',
        };
        let time = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let name = format!("{source}-{target}-{}", time.replace([':', 'Z'], ""));
        let name: String = name.chars().map(plain).collect();
        let again = (2..).map(|n| format!("{name}-{n}"));
        let mut paths = std::iter::once(name.clone())
            .chain(again)
            .map(|name| Path::new("runs").join(name));
        paths
            .find(|path| !path.exists())
            .expect("some name is free")
    }

    /// Refuses a folder for a new run that [`RunDirectory::create`] would refuse, as far as can be
    /// told without touching it.
    ///
    /// # Errors
    /// As [`RunDirectory::create`].
    pub fn check(path: &Path, force: bool) -> Result<()> {
        match path.exists() {
            true => fresh(path, force),
            false => Ok(()),
        }
    }

    /// The options' file of the run in a folder.
    ///
    /// # Errors
    /// It holds no run.
    pub fn config(path: &Path) -> Result<PathBuf> {
        let file = path.join(CONFIG);
        match file.is_file() {
            true => Ok(file),
            false => {
                let cause = format!("holds no run: there is no {CONFIG}");
                Err(Error::file(path, cause))
            }
        }
    }

    /// The folder of a run, to go on with it.
    ///
    /// # Errors
    /// It holds no run, or another process trains in it.
    pub fn reopen(path: &Path) -> Result<RunDirectory> {
        RunDirectory::config(path)?;
        let lock = lock(path)?;
        let directory = RunDirectory {
            path: path.to_path_buf(),
            lock,
            made: Vec::new(),
        };
        directory.remove_unfinished()?;
        Ok(directory)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a file of the run is.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a whole file of the run.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        files::write_atomically(&self.file(name), bytes)
    }

    /// Whether the run has ended.
    pub fn has_ended(&self) -> bool {
        self.file(SUMMARY).is_file()
    }

    /// The name of the run's file that `path` is, or would be, or links to; `None` of a file that is
    /// no run's.
    pub fn file_of_run(path: &Path) -> Option<String> {
        let real = match path.canonicalize() {
            Ok(real) => real,
            Err(_) => path::absolute(path).ok()?,
        };
        let name = real.file_name()?.to_str()?;
        let known = FILES.contains(&name) || name == LOCK || is_unfinished(name);
        let known = known || model_file::partition(name).is_some();
        (known && is_run(real.parent()?)).then(|| name.to_string())
    }

    /// Number of partitions of the run in a folder, as its splits say; `None` without them.
    ///
    /// # Errors
    /// The splits' file is damaged.
    pub fn partitions(path: &Path) -> Result<Option<usize>> {
        let file = path.join(SPLITS);
        if !file.is_file() {
            return Ok(None);
        }
        let splits = data::count_splits(&files::read(&file)?);
        Ok(Some(splits.map_err(|cause| Error::file(&file, cause))?))
    }

    /// The models of all partitions of the run in a folder; of a folder without splits, those that
    /// are there.
    ///
    /// # Errors
    /// There are partitions left to train; or as [`model_file::load_all`].
    pub fn models(path: &Path) -> Result<Vec<TrainedModel>> {
        let has = |name: &str| path.join(name).is_file();
        let partitions = RunDirectory::partitions(path)?;
        let lacks = |n: usize| (0..n).any(|p| !has(&model_file::name(p)));
        // Models that are there can be of an earlier attempt, as long as groups are left.
        let left = has(FINISHED) || partitions.is_some_and(lacks);
        if left && !has(UNFINISHED) && !has(SUMMARY) {
            let shown = path.display();
            let cause = format!(
                "the run has partitions left to train: ssan train --resume {shown} goes on"
            );
            return Err(Error::file(path, cause));
        }
        model_file::load_all(path, partitions)
    }

    /// Removes what the run could go on from, so that it begins again.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn remove_progress(&self) -> Result<()> {
        for name in [FINISHED, checkpoint::LAST, checkpoint::PREVIOUS] {
            remove(&self.file(name))?;
        }
        Ok(())
    }

    /// Removes what only an unfinished run needs.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn finish(self) -> Result<()> {
        remove(&self.file(UNFINISHED))?;
        self.remove_progress()?;
        self.remove_unfinished()?;
        remove(&self.file(LOCK))
    }

    /// Removes the run, and the folders that were made for it. Other files stay, and the folders
    /// that they are in.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn discard(self) -> Result<()> {
        self.clear()?;
        remove(&self.file(LOCK))?;
        for folder in self.made.iter().rev() {
            // It stays where someone else has put something into it.
            if std::fs::remove_dir(folder).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Removes all files of a run, and nothing else.
    fn clear(&self) -> Result<()> {
        let here = names(&self.path)?.into_iter();
        let models = here.filter(|name| model_file::partition(name).is_some());
        let mut all: Vec<String> = FILES.map(String::from).into();
        all.splice(3..3, models);
        for name in all {
            remove(&self.file(&name))?;
        }
        self.remove_unfinished()
    }

    /// Removes files that a killed process was writing.
    fn remove_unfinished(&self) -> Result<()> {
        for name in names(&self.path)?.iter().filter(|name| is_unfinished(name)) {
            remove(&self.file(name))?;
        }
        Ok(())
    }
}

impl Drop for RunDirectory {
    fn drop(&mut self) {
        // Closing the file would release it too, once every copy in a child is closed.
        let _ = self.lock.unlock();
    }
}

/// Whether a folder is a run's: its options' file may be another program's, or one that someone
/// wrote for `--config`.
fn is_run(path: &Path) -> bool {
    Config::load(&path.join(CONFIG)).is_ok_and(|config| config.program != Program::default())
}

/// Refuses a folder in which no run may begin.
fn fresh(path: &Path, force: bool) -> Result<()> {
    let here = names(path)?;
    let has = |name: &str| here.iter().any(|n| n == name);
    let is_run = is_run(path);
    if is_run && force {
        return Ok(());
    }
    if is_run {
        let shown = path.display();
        let cause = match has(SUMMARY) {
            true => "holds a run: --force replaces it, --out names another folder".to_string(),
            false => format!(
                "holds a run that has not ended: --resume {shown} goes on with it, --force replaces \
                 it, --out names another folder"
            ),
        };
        return Err(Error::file(path, cause));
    }
    // What a process leaves that is killed before it has begun the run; without its lock, splits
    // are someone's own.
    let remnant = |n: &str| n == LOCK || n == SPLITS && has(LOCK) || is_unfinished(n);
    match here.iter().find(|n| !remnant(n)) {
        None => Ok(()),
        Some(other) => Err(Error::file(
            path,
            format!("holds {other} and no run: name an empty or a new folder with --out"),
        )),
    }
}

fn is_unfinished(name: &str) -> bool {
    let [prefix, suffix] = files::UNFINISHED;
    name.starts_with(prefix) && name.ends_with(suffix)
}

/// Locks the folder for this process; the lock ends with it, however it ends.
fn lock(path: &Path) -> Result<File> {
    let file = path.join(LOCK);
    let failed = |e: std::io::Error| Error::file(&file, format!("cannot be locked: {e}"));
    let options = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&file);
    let lock = options.map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(Error::file(
            path,
            "another process is training in this folder: wait for it, or name another with --out",
        )),
        Err(TryLockError::Error(e)) => Err(failed(e)),
    }
}

/// Names of what is in a folder.
fn names(path: &Path) -> Result<Vec<String>> {
    let unreadable = |e| Error::file(path, format!("is no folder that can be read: {e}"));
    let entries = std::fs::read_dir(path).map_err(unreadable)?;
    let names = entries.map(|e| Ok(e.map_err(unreadable)?.file_name().to_string_lossy().into()));
    names.collect()
}

/// Removes a file, if it is there.
fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::file(path, format!("cannot be removed: {e}")))
        }
        _ => Ok(()),
    }
}
