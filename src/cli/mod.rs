//! The `ssan` command: options in, tables and files out. Nothing here computes.

mod config;
mod evaluate;
mod help;
mod inspect;
mod models;
mod options;
mod output;
mod predict;
mod report;
mod sweep;
mod train;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::device;
use crate::error::Result;

/// How a process ends, for scripts.
const EXIT_CODES: &str = "Exit codes: 0 done; 1 failed; 2 options that cannot work; 130 or 143 \
    interrupted by Ctrl-C or SIGTERM, with what there is kept.\n\
    NO_COLOR=1 switches colours off; progress is shown on a terminal alone.";

/// Heterogeneous domain adaptation: learns from a labelled data set in one feature space to label
/// another in a different one, of which only a few samples are labelled.
#[derive(Parser)]
#[command(name = "ssan", version, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train on a source and a target domain and report how well the rest of the target is
    /// labelled. Without --source and --target: on the bundled digits.
    #[command(args_override_self = true)]
    Train(Box<options::TrainArgs>),
    /// Train many tasks with many options, as a file says, and make the table of the results. What is
    /// there already is not trained again.
    Sweep(sweep::SweepArgs),
    /// Label new samples with a trained model, or with all partitions of a run by vote.
    Predict(predict::PredictArgs),
    /// Compare the labels of a trained model, or of a run's vote, with those of a data file.
    Evaluate(evaluate::EvaluateArgs),
    /// Report runs on one HTML page: losses and accuracies over the epochs, classes, and the common
    /// space before and after training.
    Report(report::ReportArgs),
    /// Show what a data file holds and how train would read it, or what a model or a run's folder
    /// holds.
    Inspect(inspect::InspectArgs),
    /// Write a shell's completions to standard output.
    Completions(help::CompletionsArgs),
    /// Write the manual page to standard output, or one for each command to a folder.
    Man(help::ManArgs),
    /// List what can be trained on: the CPU, CUDA devices, driver and NVRTC, or why there is none.
    Devices,
}

/// Runs the command line of this process. Exit code 0 for success, 2 for options that cannot
/// work, 128 and its number for a signal that ended a run early, 1 for anything else that failed.
pub fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let matches = Cli::command().get_matches_from(&words);
    match run(&words, &matches) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&format!("error: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(words: &[OsString], matches: &ArgMatches) -> Result<()> {
    let cli = Cli::from_arg_matches(matches).unwrap_or_else(|e| e.exit());
    match cli.command {
        Command::Train(_) => {
            let (_, train) = matches.subcommand().expect("train was given");
            train::run(&config::expand(words, train)?)
        }
        Command::Sweep(args) => sweep::run(&args),
        Command::Predict(args) => predict::run(&args),
        Command::Evaluate(args) => evaluate::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Completions(args) => help::completions(&args),
        Command::Man(args) => help::man(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Devices => output::print(&device::describe()),
    }
}
