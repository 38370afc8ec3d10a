//! `ssan sweep`: runs of many tasks with many options, and the table of their results.
//!
//! A cell is a task with a variant of the options; its run is a folder of its own, made by what
//! `ssan train` is.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Instant;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::config::{self, by_long_name, words_of};
use super::output::{Talk, Text, complain, counted};
use super::train;
use crate::data::legible;
use crate::error::{Cause, Error, Result};
use crate::files;
use crate::run::{CONFIG, Config, Interrupt, SUMMARY, Summary};
use crate::train::Control;

/// Options of `ssan sweep`.
#[derive(Args)]
pub(super) struct SweepArgs {
    /// Tasks, options and their values: see sweeps/digits.toml
    #[arg(value_name = "FILE.toml")]
    file: PathBuf,

    /// Folder for the runs and the table [default: runs/sweep-NAME OF THE FILE]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// The I-th of N parts of the runs alone, from 1, for one of N processes
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,

    /// Train nothing: make the table of the runs that are in these folders, or in that of --out
    #[arg(long, value_name = "DIR", num_args = 0.., conflicts_with_all = ["shard", "dry_run"])]
    merge: Option<Vec<PathBuf>>,

    /// Train nothing: list the runs
    #[arg(long)]
    dry_run: bool,

    /// Folder in which names of domains are looked up, whatever the file says
    #[arg(long, visible_alias = "data_dir", value_name = "DIR")]
    data_dir: Option<String>,

    /// Where to compute, whatever the file says: auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,

    /// Memory that training may take, whatever the file says: 8GiB, 500MB
    #[arg(
        long,
        visible_alias = "max_memory",
        value_name = "SIZE",
        allow_negative_numbers = true
    )]
    max_memory: Option<String>,

    #[command(flatten)]
    talk: Talk,
}

/// One of several parts of the runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shard {
    /// From 0.
    index: usize,
    of: usize,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Cause<Shard> {
        let parsed = text
            .split_once('/')
            .and_then(|(i, n)| Some((i.parse::<usize>().ok()?, n.parse::<usize>().ok()?)));
        match parsed {
            Some((i, of)) if 1 <= i && i <= of => Ok(Shard { index: i - 1, of }),
            _ => Err("give two numbers as 1/4, the first from 1 to the second".to_string()),
        }
    }
}

/// A sweep's file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Options of all runs.
    #[serde(default)]
    options: toml::Table,
    tasks: Vec<Named>,
    /// Sets of options to compare.
    #[serde(default)]
    variants: Vec<Named>,
    /// Values of options, all combinations of which are run.
    #[serde(default)]
    grid: toml::Table,
}

/// A task or a variant: its name, and its options.
#[derive(Deserialize)]
struct Named {
    name: String,
    #[serde(flatten)]
    options: toml::Table,
}

/// A run of the sweep.
struct Cell {
    task: String,
    variant: String,
    /// Its folder within the sweep's.
    folder: PathBuf,
    options: toml::Table,
}

/// Options that say on what a cell is trained, which may be another machine when it goes on.
const MACHINE: [&str; 3] = ["device", "cuda", "max-memory"];

/// More runs than anybody waits for: most likely a slip in a grid.
const MOST_CELLS: usize = 10_000;

/// What the sweep's folder says of its runs, so that none is taken for another.
const SWEEP: &str = "sweep.toml";

/// The results as a table.
const TABLES: [&str; 2] = ["table.md", "table.csv"];

/// The runs of a sweep's folder by their folders in it.
#[derive(Default, Serialize, Deserialize)]
struct Record {
    runs: BTreeMap<String, toml::Table>,
}

impl File {
    /// Brings all options to their long names, so that each place that gives one is seen to; refuses a
    /// grid over what a task or variant sets.
    fn spell_out(&mut self) -> Cause<()> {
        let named = self.tasks.iter_mut().chain(&mut self.variants);
        let named = named.map(|named| (format!("`{}`", legible(&named.name)), &mut named.options));
        let shared = [("[options]", &mut self.options), ("[grid]", &mut self.grid)];
        let shared = shared.map(|(place, options)| (place.to_string(), options));
        for (place, options) in shared.into_iter().chain(named) {
            let renamed = by_long_name(std::mem::take(options));
            *options = renamed.map_err(|cause| format!("{place}: {cause}"))?;
        }
        for named in self.tasks.iter().chain(&self.variants) {
            if let Some(option) = self
                .grid
                .keys()
                .find(|name| named.options.contains_key(*name))
            {
                return Err(format!(
                    "[grid] goes over {option}, which `{}` sets: leave it to one of them",
                    legible(&named.name)
                ));
            }
        }
        Ok(())
    }

    /// All runs, task by task.
    fn cells(mut self) -> Cause<Vec<Cell>> {
        self.spell_out()?;
        if self.tasks.is_empty() {
            return Err("has no [[tasks]]".to_string());
        }
        let variants = match self.variants.is_empty() {
            true => vec![Named {
                name: String::new(),
                options: toml::Table::new(),
            }],
            false => self.variants,
        };
        let mut points = vec![(Vec::new(), toml::Table::new())];
        for (option, values) in &self.grid {
            let values = match values {
                toml::Value::Array(values) if !values.is_empty() => values,
                _ => return Err(format!("[grid] {option} is no list of values")),
            };
            if points.len().saturating_mul(values.len()) > MOST_CELLS {
                return Err(format!("the grid has more than {MOST_CELLS} combinations"));
            }
            let grown = points.iter().flat_map(|(names, options)| {
                values.iter().map(move |value| {
                    let mut point: (Vec<String>, toml::Table) = (names.clone(), options.clone());
                    let shown = value.as_str().map_or(value.to_string(), str::to_string);
                    point.0.push(format!("{option}={shown}"));
                    point.1.insert(option.clone(), value.clone());
                    point
                })
            });
            points = grown.collect();
        }
        let all = [self.tasks.len(), variants.len(), points.len()];
        if all.into_iter().fold(1usize, usize::saturating_mul) > MOST_CELLS {
            return Err(format!("asks for more than {MOST_CELLS} runs"));
        }
        let mut cells = Vec::new();
        for task in &self.tasks {
            for variant in &variants {
                for (names, point) in &points {
                    let names = std::iter::once(&variant.name).chain(names);
                    let names: Vec<&str> = names
                        .map(String::as_str)
                        .filter(|n| !n.is_empty())
                        .collect();
                    let name = match names.join(", ") {
                        name if name.is_empty() => "result".to_string(),
                        name => name,
                    };
                    let mut options = self.options.clone();
                    for more in [&task.options, &variant.options, point] {
                        options.extend(more.clone());
                    }
                    cells.push(Cell {
                        folder: Path::new(&plain(&task.name)).join(plain(&name)),
                        task: task.name.clone(),
                        variant: name,
                        options,
                    });
                }
            }
        }
        let mut seen = BTreeMap::new();
        for cell in &cells {
            named(&cell.task)?;
            named(&cell.variant)?;
            if let Some((task, variant)) = seen.insert(&cell.folder, (&cell.task, &cell.variant)) {
                return Err(format!(
                    "two runs would share the folder {}: `{}`, `{}` and `{}`, `{}`; give them \
                     other names",
                    cell.folder.display(),
                    legible(task),
                    legible(variant),
                    legible(&cell.task),
                    legible(&cell.variant)
                ));
            }
        }
        Ok(cells)
    }
}

/// Refuses a name that cannot be shown, or that is one of a file of the sweep.
fn named(name: &str) -> Cause<()> {
    let shown = legible(name);
    if name.trim().is_empty() {
        return Err("a name is empty".to_string());
    }
    if name.chars().any(char::is_control) {
        return Err(format!("the name `{shown}` has control characters"));
    }
    // On some systems folders are the same whatever their case.
    let folder = plain(name).to_lowercase();
    match folder == SWEEP || TABLES.contains(&&folder[..]) {
        true => Err(format!("the name `{shown}` is that of a file of the sweep")),
        false => Ok(()),
    }
}

/// A name as one of a folder, which systems allow 255 bytes.
fn plain(name: &str) -> String {
    let plain = |c: char| match c {
        _ if c.is_alphanumeric() || "._-=".contains(c) => c,
        _ => '_',
    };
    let mut name: String = name.chars().take(100).map(plain).collect();
    while name.len() > 200 {
        name.pop();
    }
    match name.trim_matches('.') {
        "" => "_".to_string(),
        _ => name,
    }
}

/// Runs, or joins, a sweep.
pub(super) fn run(args: &SweepArgs) -> Result<()> {
    let text = Text {
        json: false,
        talk: args.talk,
    };
    let cells = read(args)?;
    let out = match &args.out {
        Some(out) => out.clone(),
        None => {
            let name = args.file.file_stem().unwrap_or_default();
            Path::new("runs").join(format!("sweep-{}", name.to_string_lossy()))
        }
    };
    if out.join(CONFIG).exists() {
        let cause = "holds a run: name another folder for the sweep with --out";
        return Err(Error::file(out, cause));
    }
    if args.dry_run {
        for (i, cell) in cells.iter().enumerate() {
            let here = args.shard.is_none_or(|shard| i % shard.of == shard.index);
            if here {
                let words = words_of(&cell.options, &BTreeSet::new()).expect("they were checked");
                let folder = out.join(&cell.folder);
                let recipe = match cell.options.contains_key("recipe") {
                    true => String::new(),
                    false => format!(" (recipe {})", parse(cell, &[])?.recipe()),
                };
                let (folder, words) = (folder.display(), words.join(" "));
                text.line(format_args!("{folder}: {words}{recipe}"))?;
            }
        }
        return Ok(());
    }
    if let Some(folders) = &args.merge {
        let folders = match folders.is_empty() {
            true => std::slice::from_ref(&out),
            false => folders,
        };
        for folder in folders {
            if !folder.join(SWEEP).is_file() {
                let cause = format!("holds no sweep: there is no {SWEEP}");
                return Err(Error::file(folder, cause));
            }
            keep_record(folder, &cells, false)?;
        }
        return tabulate(&cells, folders, &out, &text);
    }
    std::fs::create_dir_all(&out)
        .map_err(|e| Error::file(&out, format!("cannot be made: {e}; see --out")))?;
    keep_record(&out, &cells, true)?;
    let interrupt = Interrupt::catch()?;
    let mut failed = Vec::new();
    let mine: Vec<&Cell> = cells
        .iter()
        .enumerate()
        .filter(|(i, _)| args.shard.is_none_or(|shard| i % shard.of == shard.index))
        .map(|(_, cell)| cell)
        .collect();
    for (i, cell) in mine.iter().enumerate() {
        let name = format!("{}, {}", legible(&cell.task), legible(&cell.variant));
        if let Some(signal) = interrupt.signal() {
            return Err(Error::Interrupted {
                signal,
                done: format!("by signal {signal} before {name}: the same command goes on"),
            });
        }
        let at = format!("[{}/{}] {name}", i + 1, mine.len());
        let began = Instant::now();
        match train_cell(cell, &out.join(&cell.folder), args.talk) {
            Ok((was_there, summary)) => {
                let result = spread(summary.mean_chosen, summary.std_chosen);
                let seconds = began.elapsed().as_secs_f64();
                let time = match was_there {
                    true => "was there".to_string(),
                    false => format!("{seconds:.1} s"),
                };
                text.line(format_args!("{at}: {result} % ({time})"))?;
            }
            Err(Error::Interrupted { signal, .. }) => {
                return Err(Error::Interrupted {
                    signal,
                    done: format!("by signal {signal} in {name}: the same command goes on"),
                });
            }
            Err(error) => {
                complain(&format!("{at} failed: {error}"));
                failed.push(format!("{name}: {error}"));
            }
        }
    }
    let tabulated = tabulate(&cells, std::slice::from_ref(&out), &out, &text);
    match failed.is_empty() {
        true => tabulated,
        false => Err(Error::Data(format!(
            "{} of {} failed: {}",
            failed.len(),
            counted(mine.len(), "run"),
            failed.join("; ")
        ))),
    }
}

/// The cells that the file asks for, with the command line's own options.
fn read(args: &SweepArgs) -> Result<Vec<Cell>> {
    let wrong = |cause: String| Error::file(&args.file, cause);
    let text = files::read_text(&args.file)?;
    let file: File = files::parse_toml(&text).map_err(wrong)?;
    let mut cells = file.cells().map_err(wrong)?;
    for cell in &mut cells {
        let own = [
            ("data-dir", &args.data_dir),
            ("device", &args.device),
            ("max-memory", &args.max_memory),
        ];
        for (name, value) in own {
            if let Some(value) = value {
                cell.options.insert(name.to_string(), value.clone().into());
            }
        }
        let at = |cause| {
            let (task, variant) = (legible(&cell.task), legible(&cell.variant));
            wrong(format!("{task}, {variant}: {cause}"))
        };
        parse(cell, &[]).map_err(|error| match error {
            Error::File { cause, .. } | Error::Usage(cause) | Error::Data(cause) => at(cause),
            other => other,
        })?;
    }
    Ok(cells)
}

/// The options of `ssan train` for a cell, and `more` words.
fn parse(cell: &Cell, more: &[OsString]) -> Result<super::options::TrainArgs> {
    let own = words_of(&cell.options, &BTreeSet::new()).map_err(Error::Usage)?;
    let words = ["ssan".to_string(), "train".to_string()];
    let words = words.into_iter().chain(own).map(OsString::from);
    let words: Vec<OsString> = words.chain(more.iter().cloned()).collect();
    let args = config::parse(&words)?;
    args.options()?;
    args.partitions()?;
    Ok(args)
}

/// Trains a cell in its `folder`, goes on with it, or finds it there; whether it was there, and its
/// result.
fn train_cell(cell: &Cell, folder: &Path, talk: Talk) -> Result<(bool, Summary)> {
    let silent = Text {
        json: false,
        talk: Talk {
            quiet: true,
            ..talk
        },
    };
    if folder.join(SUMMARY).is_file() {
        let args = parse(cell, &[])?;
        let (files, before) = (args.files()?, Config::load(&folder.join(CONFIG))?);
        config::check_unchanged(&before.data, &files.fingerprints()?, files.named(), true)?;
        return Ok((true, Summary::load(&folder.join(SUMMARY))?));
    }
    let option = match folder.join(CONFIG).is_file() {
        true => "--resume",
        false => "--out",
    };
    let more = [OsString::from(option), folder.as_os_str().to_os_string()];
    let args = match option {
        "--resume" => {
            let words = ["ssan".into(), "train".into()].into_iter().chain(more);
            // The machine may be another than the one it began on.
            let mut machine = cell.options.clone();
            machine.retain(|name, _| MACHINE.contains(&name));
            let machine = words_of(&machine, &BTreeSet::new()).map_err(Error::Usage)?;
            let words = words.chain(machine.into_iter().map(OsString::from));
            config::parse(&words.collect::<Vec<OsString>>())?
        }
        _ => parse(cell, &more)?,
    };
    train::train(&args, silent)?;
    Ok((false, Summary::load(&folder.join(SUMMARY))?))
}

/// Refuses a folder whose runs were others than `cells` say; keeps what they say, where `write`.
fn keep_record(out: &Path, cells: &[Cell], write: bool) -> Result<()> {
    let path = out.join(SWEEP);
    let mut record = Record::default();
    if path.exists() {
        record = files::parse_toml(&files::read_text(&path)?)
            .map_err(|cause| Error::file(&path, format!("is damaged: {cause}")))?;
    }
    // Where it is computed makes no other run of it.
    let same = |options: &toml::Table| {
        let mut options = options.clone();
        for name in MACHINE.iter().chain(&["no-graph", "data-dir"]) {
            options.remove(*name);
        }
        options
    };
    let before = record.runs.len();
    for cell in cells {
        let key = cell.folder.to_string_lossy().into_owned();
        let options = same(&cell.options);
        match record.runs.get(&key) {
            Some(other) if *other != options => {
                return Err(Error::file(
                    out.join(&cell.folder),
                    format!(
                        "is of this sweep with other options ({}): name another folder with \
                         --out, or remove it and its entry in {SWEEP}",
                        difference(other, &options)
                    ),
                ));
            }
            Some(_) => {}
            None if out.join(&cell.folder).join(CONFIG).is_file() => {
                let cause = format!(
                    "holds a run that {SWEEP} does not know, of whatever options: name another \
                     folder with --out, or remove it"
                );
                return Err(Error::file(out.join(&cell.folder), cause));
            }
            None => {
                record.runs.insert(key, options);
            }
        }
    }
    if write && record.runs.len() > before {
        let text = toml::to_string(&record).expect("tables of plain values");
        files::write_atomically(&path, text.as_bytes())?;
    }
    Ok(())
}

/// The first option in which two sets differ.
fn difference(before: &toml::Table, now: &toml::Table) -> String {
    let names: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let mut names = names.into_iter();
    let name = names.find(|name| before.get(*name) != now.get(*name));
    let name = name.expect("they differ");
    let shown = |table: &toml::Table| {
        let value = table.get(name);
        value.map_or("not given".to_string(), |value| value.to_string())
    };
    format!("{name} was {}, is {}", shown(before), shown(now))
}

/// The result of a cell, of the one of the `folders` that has it.
///
/// # Errors
/// It is damaged, or several have it and do not agree.
fn find(cell: &Cell, folders: &[PathBuf]) -> Result<Option<Summary>> {
    let paths = folders.iter().map(|folder| folder.join(&cell.folder));
    let mut found: Option<(PathBuf, Summary)> = None;
    for path in paths.filter(|path| path.join(SUMMARY).is_file()) {
        let here = Summary::load(&path.join(SUMMARY))?;
        match &found {
            Some((other, result)) if *result != here => {
                let cause = format!(
                    "its result is another than in {}: leave one of the two out",
                    other.display()
                );
                return Err(Error::file(path, cause));
            }
            Some(_) => {}
            None => found = Some((path, here)),
        }
    }
    Ok(found.map(|(_, result)| result))
}

/// Writes and prints the table of the cells whose runs are in `folders`. What is damaged is left out,
/// and an error in the end.
fn tabulate(cells: &[Cell], folders: &[PathBuf], out: &Path, text: &Text) -> Result<()> {
    let mut results = Vec::new();
    let (mut missing, mut damaged) = (Vec::new(), Vec::new());
    for cell in cells {
        let result = find(cell, folders).unwrap_or_else(|error| {
            damaged.push(error.to_string());
            None
        });
        if result.is_none() {
            missing.push(format!(
                "{}, {}",
                legible(&cell.task),
                legible(&cell.variant)
            ));
        }
        results.push(result);
    }
    std::fs::create_dir_all(out)
        .map_err(|e| Error::file(out, format!("cannot be made: {e}; see --out")))?;
    let markdown = markdown(cells, &results);
    let [md, csv] = [markdown.clone().into_bytes(), csv(cells, &results)];
    for (name, bytes) in TABLES.iter().zip([md, csv]) {
        files::write_atomically(&out.join(name), &bytes)?;
    }
    text.line("")?;
    text.line(markdown.trim_end())?;
    text.line(format_args!(
        "accuracy on the unlabelled target, %, mean ± standard deviation over the partitions; also \
         in {0}/{1} and {0}/{2}",
        out.display(),
        TABLES[0],
        TABLES[1]
    ))?;
    if !missing.is_empty() {
        text.note(format_args!(
            "not in the table: {} ({})",
            counted(missing.len(), "run"),
            super::output::abridged(&missing)
        ));
    }
    match damaged.is_empty() {
        true => Ok(()),
        false => Err(Error::Data(damaged.join("; "))),
    }
}

fn spread(mean: Option<f64>, std: Option<f64>) -> String {
    match (mean, std) {
        (Some(mean), Some(std)) => format!("{mean:.2} ± {std:.2}"),
        _ => "–".to_string(),
    }
}

/// A row for each task and one for their mean, a column for each variant.
fn markdown(cells: &[Cell], results: &[Option<Summary>]) -> String {
    let first = &cells[0].task;
    let columns: Vec<&str> = cells
        .iter()
        .take_while(|cell| cell.task == *first)
        .map(|cell| &cell.variant[..])
        .collect();
    let cell = |text: &str| legible(text).replace('|', "\\|");
    let row =
        |name: &str, values: Vec<String>| format!("| {} | {} |\n", cell(name), values.join(" | "));
    let mut table = row("task", columns.iter().map(|c| cell(c)).collect());
    table += &format!("|---|{}\n", "---|".repeat(columns.len()));
    let rows = cells
        .chunks(columns.len())
        .zip(results.chunks(columns.len()));
    let mut sums = vec![Some(0.0); columns.len()];
    for (cells, results) in rows {
        let means = results
            .iter()
            .map(|result| result.as_ref().and_then(|r| r.mean_chosen));
        for (sum, mean) in sums.iter_mut().zip(means) {
            *sum = sum.zip(mean).map(|(sum, mean)| sum + mean);
        }
        let values = results.iter().map(|result| {
            let both = result.as_ref().map(|r| (r.mean_chosen, r.std_chosen));
            both.map_or("–".to_string(), |(mean, std)| spread(mean, std))
        });
        table += &row(&cells[0].task, values.collect());
    }
    let tasks = cells.len() / columns.len();
    let means = sums.into_iter().map(|sum| {
        sum.map_or("–".to_string(), |sum| {
            format!("{:.2}", sum / tasks as f64)
        })
    });
    table + &row("mean", means.collect())
}

/// A line for each run.
fn csv(cells: &[Cell], results: &[Option<Summary>]) -> Vec<u8> {
    let mut table = csv::Writer::from_writer(Vec::new());
    let mut write = |row: &[String]| table.write_record(row).expect("memory can be written");
    let header = [
        "task",
        "variant",
        "partitions",
        "mean",
        "std",
        "mean_last",
        "std_last",
        "mean_best_oracle",
        "mean_target_only",
        "mean_noise_source",
    ];
    write(&header.map(str::to_string));
    for (cell, result) in cells.iter().zip(results) {
        let Some(s) = result else { continue };
        let number = |x: Option<f64>| x.map_or(String::new(), |x| x.to_string());
        let control = |name: Control| {
            let found = s.controls.iter().find(|control| control.name == name);
            number(found.and_then(|control| control.mean))
        };
        write(&[
            cell.task.clone(),
            cell.variant.clone(),
            s.partitions.len().to_string(),
            number(s.mean_chosen),
            number(s.std_chosen),
            number(s.mean_last),
            number(s.std_last),
            number(s.mean_best),
            control(Control::TargetOnly),
            control(Control::Noise),
        ]);
    }
    table.into_inner().expect("memory can be written")
}
