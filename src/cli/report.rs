//! `ssan report`.

use std::ffi::OsStr;
use std::path::PathBuf;

use clap::Args;

use super::output::{may_write, print};
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
    if !out.extension().is_some_and(is_html) {
        let shown = out.display();
        let cause = format!("--out {shown}: give a name that ends in .html or .htm");
        return Err(Error::Usage(cause));
    }
    let may_write = |path: &PathBuf| may_write(path, args.force, &[REPORT], "--out or --svg");
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

fn is_html(extension: &OsStr) -> bool {
    ["html", "htm"]
        .iter()
        .any(|e| extension.eq_ignore_ascii_case(e))
}

/// A plot as a file of its own, which has no page to take colours from.
fn standalone(svg: &str) -> String {
    svg.replace("currentColor", "#555555")
}
