//! The one error type of the crate. Every message names the cause and, where there is one, the remedy.

use std::path::{Path, PathBuf};

/// What can go wrong. [`Error::exit_code`] tells the command line how to end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Options that cannot work, alone or together.
    #[error("{0}")]
    Usage(String),
    /// A file that cannot be read, written or understood.
    #[error("{}: {cause}", path.display())]
    File {
        /// The file in question.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        cause: String,
    },
    /// Data that were read but cannot be trained on.
    #[error("{0}")]
    Data(String),
    /// A signal that ended a run early; what there is of it is kept.
    #[error("interrupted {done}")]
    Interrupted {
        /// Number of the signal.
        signal: u8,
        /// How far the run came, and how it goes on.
        done: String,
    },
    /// A device that was asked for and cannot be used.
    #[error("device: {0}")]
    Device(String),
}

/// The crate's result.
pub type Result<T> = std::result::Result<T, Error>;

/// A result whose error says what is wrong with a file; the caller knows which file.
pub(crate) type Cause<T> = std::result::Result<T, String>;

impl Error {
    /// An error about the file at `path`.
    pub fn file(path: impl AsRef<Path>, cause: impl std::fmt::Display) -> Error {
        Error::File {
            path: path.as_ref().to_path_buf(),
            cause: cause.to_string(),
        }
    }

    /// 2 for wrong usage, as command-line parsers do; 128 and its number after a signal, as shells
    /// do; 1 for everything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Usage(_) => 2,
            Error::Interrupted { signal, .. } => 128 + signal,
            _ => 1,
        }
    }
}
