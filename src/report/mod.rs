//! A run, or several beside each other, as one HTML page that needs nothing else, and its plots as
//! SVG.
//!
//! | file | what it does |
//! |---|---|
//! | `run` | what a run's folder says |
//! | `picture` | rows of the common space in two dimensions |
//! | `plot` | lines, scatter plots and confusion matrices as SVG |
//! | `page` | the page |

mod page;
mod picture;
mod plot;
mod run;

use std::path::Path;

use crate::error::Result;
pub use run::Run;

/// A report of some runs.
pub struct Report {
    /// The page.
    pub html: String,
    /// Name and text of each plot.
    pub plots: Vec<(String, String)>,
}

impl Report {
    /// Reports the runs in `folders`.
    ///
    /// # Errors
    /// A folder holds no run, or one that has not ended, or a file of a run is damaged.
    pub fn of(folders: &[impl AsRef<Path>]) -> Result<Report> {
        let runs = folders.iter().map(|folder| Run::read(folder.as_ref()));
        Ok(page::report(&runs.collect::<Result<Vec<Run>>>()?))
    }
}
