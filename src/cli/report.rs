//! `ssan report`.

use std::path::PathBuf;

use clap::Args;

use super::output::print;
use crate::error::{Error, Result};
use crate::files;
use crate::report::Report;
use crate::run::REPORT;

/// Options of `ssan report`.
#[derive(Args)]
pub(super) struct ReportArgs {
    /// Folders of runs that have ended
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,

    /// The page [default: report.html, in the folder of the run where it is one]
    #[arg(long, value_name = "FILE.html")]
    out: Option<PathBuf>,

    /// Folder for the plots as .svg files
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,

    /// Replace files that are there
    #[arg(long)]
    force: bool,
}

/// Writes the report.
pub(super) fn run(args: &ReportArgs) -> Result<()> {
    let (out, own) = match (&args.out, &args.runs[..]) {
        (Some(out), _) => (out.clone(), false),
        (None, [run]) => (run.join(REPORT), true),
        (None, _) => (PathBuf::from(REPORT), false),
    };
    let may_write = |path: &PathBuf| match path.exists() && !args.force {
        true => Err(Error::file(
            path,
            "is there already: --force replaces it, --out or --svg names another place",
        )),
        false => Ok(()),
    };
    // A run's own page is written anew by whoever asks for it.
    if !own {
        may_write(&out)?;
    }
    let report = Report::of(&args.runs)?;
    let mut written = vec![out.clone()];
    if let Some(folder) = &args.svg {
        let path = |name: &String| folder.join(format!("{name}.svg"));
        let paths = report.plots.iter().map(|(name, _)| path(name));
        let paths: Vec<PathBuf> = paths.collect();
        paths.iter().try_for_each(may_write)?;
        std::fs::create_dir_all(folder)
            .map_err(|e| Error::file(folder, format!("cannot be made: {e}")))?;
        for (path, (_, svg)) in paths.into_iter().zip(&report.plots) {
            files::write_atomically(&path, standalone(svg).as_bytes())?;
            written.push(path);
        }
    }
    files::write_atomically(&out, report.html.as_bytes())?;
    for path in written {
        print(&path.display().to_string())?;
    }
    Ok(())
}

/// A plot as a file of its own, which has no page to take colours from.
fn standalone(svg: &str) -> String {
    svg.replace("currentColor", "#555555")
}
