//! `--config` and `--resume`: options out of a run's `config.toml`, joined with those of the command
//! line by the one parser that there is.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, Command, CommandFactory, FromArgMatches};

use super::Cli;
use super::options::TrainArgs;
use crate::error::{Cause, Error, Result};
use crate::run::{CONFIG, Config, Fingerprints, RunDirectory};

/// Options that say where and how to run, not what: none of them is in a file.
const OUTSIDE: [&str; 8] = [
    "out", "force", "resume", "config", "json", "quiet", "verbose", "help",
];

/// Options that stand for something else in each recipe.
const OF_RECIPE: [&str; 12] = [
    "nepoch",
    "members",
    "lr",
    "lr-schedule",
    "warm-up",
    "normalise",
    "init-scale",
    "logits",
    "alpha",
    "beta",
    "over-classes",
    "pseudo-labels",
];

/// Options that may be given beside `--resume`: with them the run is the same.
const BESIDE_RESUME: [&str; 9] = [
    "resume",
    "json",
    "quiet",
    "verbose",
    "checkpoint-every",
    "device",
    "cuda",
    "max-memory",
    "no-graph",
];

/// The options of `ssan train` as given on the command line `words` (its first is the program, its
/// second `train` or an option for all commands), which parsed to `matches`; with those of
/// `--config` or of `--resume`'s run where they are not given.
///
/// # Errors
/// The file cannot be read, names an option that `train` does not have, or gives one a value that
/// it cannot have; or options are given beside `--resume` that would make it another run.
pub(super) fn expand(words: &[OsString], matches: &ArgMatches) -> Result<TrainArgs> {
    let args =
        |matches| TrainArgs::from_arg_matches(matches).map_err(|e| Error::Usage(first_line(&e)));
    let alone = args(matches)?;
    let file = match (&alone.resume, &alone.config) {
        (None, None) => return Ok(alone),
        (Some(folder), _) => {
            let given = given(matches);
            if let Some(other) = given
                .iter()
                .find(|name| !BESIDE_RESUME.contains(&name.as_str()))
            {
                return Err(Error::Usage(format!(
                    "--resume {} goes on with the options in its {CONFIG}: --{other} cannot be given",
                    folder.display()
                )));
            }
            RunDirectory::config(folder)?
        }
        (None, Some(file)) => file.clone(),
    };
    let config = Config::load(&file)?;
    let given = given(matches);
    let from_file = || {
        let options = by_long_name(config.options)?;
        if given.contains("recipe") {
            check_recipe(&options, &alone.recipe())?;
        }
        words_of(&options, &given)
    };
    let from_file = from_file().map_err(|cause| Error::file(&file, cause))?;
    let at = words
        .iter()
        .position(|word| word == "train")
        .map_or(words.len(), |at| at + 1);
    let all = words[..at].iter().cloned();
    let all = all
        .chain(from_file.into_iter().map(OsString::from))
        .chain(words[at..].iter().cloned());
    let matches = Cli::command().try_get_matches_from(all);
    let matches = matches.map_err(|e| Error::file(&file, first_line(&e)))?;
    let (_, matches) = matches.subcommand().expect("train was given");
    let mut joined = args(matches)?;
    joined.expected = expected(config.data, &given);
    // Beside --config, what decides on other groups counts more.
    let regrouped = ["partition", "max-memory"].map(|name| given.contains(name));
    if joined.resume.is_some() || !regrouped.contains(&true) {
        joined.at_once = config.program.partitions_at_once;
    }
    Ok(joined)
}

/// The options of `ssan train` that the command line `words` gives.
///
/// # Errors
/// As [`expand`], and words that are no options of it.
pub(super) fn parse(words: &[OsString]) -> Result<TrainArgs> {
    let matches = Cli::command().try_get_matches_from(words);
    let matches = matches.map_err(|e| Error::Usage(first_line(&e)))?;
    let (_, train) = matches.subcommand().expect("train was given");
    expand(words, train)
}

/// Refuses `options` of a file, by their long names, that hold another recipe's values: with these,
/// the recipe would be one by name alone.
fn check_recipe(options: &toml::Table, recipe: &str) -> Cause<()> {
    if options.get("recipe").and_then(toml::Value::as_str) == Some(recipe) {
        return Ok(());
    }
    let held = OF_RECIPE.iter().copied();
    let held: Vec<&str> = held.filter(|name| options.contains_key(*name)).collect();
    match held.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "sets {}, which --recipe {recipe} would not change: give --recipe without --config, or \
             take these out of the file",
            held.join(", ")
        )),
    }
}

/// The fingerprints of the files that `given` options do not name.
fn expected(data: Fingerprints, given: &BTreeSet<String>) -> Fingerprints {
    let unless = |name: &str, hash: Option<String>| hash.filter(|_| !given.contains(name));
    Fingerprints {
        source: unless("source", data.source),
        target: unless("target", data.target),
        split: unless("split", data.split),
        init: unless("init", data.init),
    }
}

/// `options`, by their long names, as words of a command line, but for those that are `given` on it.
///
/// # Errors
/// The cause: an option is none of `ssan train`'s or has a value of no use.
pub(super) fn words_of(options: &toml::Table, given: &BTreeSet<String>) -> Cause<Vec<String>> {
    let known = names();
    let mut words = Vec::new();
    for (name, value) in options {
        if OUTSIDE.contains(&name.as_str()) || !known.iter().any(|(long, _)| long == name) {
            return Err(format!(
                "`{name}` is no option that stands in a file: `ssan train --help` lists them"
            ));
        }
        // Of these two, which exclude each other, the command line's is meant.
        let other = match name.as_str() {
            "split" => "labelled-per-class",
            "labelled-per-class" => "split",
            "device" => "cuda",
            other => other,
        };
        if given.contains(name) || given.contains(other) {
            continue;
        }
        if *value == toml::Value::Boolean(true) {
            words.push(format!("--{name}"));
        } else if *value != toml::Value::Boolean(false) {
            let value = word(value).ok_or_else(|| {
                format!(
                    "`{name}` is {value}: give a text, a number, true, false or a list of texts"
                )
            })?;
            words.push(format!("--{name}={value}"));
        }
    }
    Ok(words)
}

/// `options` by their long names, whatever spelling they stand under; a name that is no option's stays.
///
/// # Errors
/// The cause: an option stands there under two spellings.
pub(super) fn by_long_name(options: toml::Table) -> Cause<toml::Table> {
    let known = names();
    let mut renamed = toml::Table::new();
    for (name, value) in options {
        let option = known.iter().find(|(_, all)| all.contains(&name));
        let long = option.map_or(&name, |(long, _)| long).clone();
        if renamed.insert(long, value).is_some() {
            return Err(format!("`{name}` stands there twice, in two spellings"));
        }
    }
    Ok(renamed)
}

/// A value as a word of a command line.
fn word(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(n) => Some(n.to_string()),
        toml::Value::Float(x) => Some(x.to_string()),
        toml::Value::Array(all) => {
            let all: Option<Vec<String>> = all.iter().map(word).collect();
            Some(all?.join(","))
        }
        _ => None,
    }
}

/// Long names of `ssan train`'s options, each with all its spellings.
fn names() -> Vec<(String, Vec<String>)> {
    let train = train_command();
    let named = train.get_arguments().filter_map(|arg| {
        let long = arg.get_long()?.to_string();
        let aliases = arg.get_all_aliases().unwrap_or_default();
        let all = aliases
            .into_iter()
            .map(str::to_string)
            .chain([long.clone()]);
        Some((long, all.collect()))
    });
    named.collect()
}

/// Long names of the options that the command line gives.
fn given(matches: &ArgMatches) -> BTreeSet<String> {
    let train = train_command();
    let given = train.get_arguments().filter(|arg| {
        let id = arg.get_id().as_str();
        // Options of all commands are not among these.
        matches.try_contains_id(id).is_ok()
            && matches.value_source(id) == Some(ValueSource::CommandLine)
    });
    given
        .filter_map(|arg| Some(arg.get_long()?.to_string()))
        .collect()
}

fn train_command() -> Command {
    let command = Cli::command();
    let train = command.find_subcommand("train");
    train.expect("a command of this program").clone()
}

/// What the parser says, without its advice on usage.
fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_string()
}

/// Refuses a file that is not what it was when `expected` was taken.
pub(super) fn check_unchanged(
    expected: &Fingerprints,
    found: &Fingerprints,
    files: [(&'static str, &Option<PathBuf>); 4],
    resumed: bool,
) -> Result<()> {
    let both = expected.named().into_iter().zip(found.named());
    for (((option, expected), (_, found)), (_, path)) in both.zip(files) {
        let (Some(expected), Some(path)) = (expected, path) else {
            continue;
        };
        if found.as_ref() != Some(expected) {
            let remedy = match resumed {
                true => "the run can go on only with the file it began with".to_string(),
                false => format!("--{option} {} trains on it all the same", path.display()),
            };
            return Err(Error::file(
                path,
                format!("has changed since the run: {remedy}"),
            ));
        }
    }
    Ok(())
}
