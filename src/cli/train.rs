//! `ssan train`.

use comfy_table::CellAlignment;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::config;
use super::options::{TaskFiles, TrainArgs};
use super::output::{Text, abridged, counted, print, table};
use crate::data::{self, Domain, Labelling, Split, Task};
use crate::device::{self, Chosen};
use crate::error::{Error, Result};
use crate::files;
use crate::inference::TrainedModel;
use crate::model::Parameters;
use crate::model_file;
use crate::parameters;
use crate::predictions;
use crate::report::Report;
use crate::run::embedding::embedding;
use crate::run::{
    self, CheckpointEvery, Config, ControlSummary, Interrupt, PartitionSummary, Program, Recorder,
    RunDirectory, Summary, TransferGain, TransferSummary, Unfinished, checkpoint,
};
use crate::train::{
    Control, EpochMetrics, Options, Outcome, PartitionResult, Pause, Problem, Select, Session,
    Snapshot, Watch, memory, train_watched, transfer,
};

/// What `--json` prints.
#[derive(Serialize)]
struct Printed<'a> {
    /// The run's folder.
    run: String,
    /// See [`Outcome::ms_per_epoch`].
    ms_per_epoch: f64,
    #[serde(flatten)]
    summary: &'a Summary,
}

/// Trains as the options say.
pub(super) fn run(args: &TrainArgs) -> Result<()> {
    let text = Text {
        json: args.json,
        talk: args.talk,
    };
    train(args, text)
}

/// Trains as the options say, and says so by `text`.
pub(super) fn train(args: &TrainArgs, text: Text) -> Result<()> {
    let resumed = args.resume.as_deref().map(RunDirectory::reopen);
    let resumed = resumed.transpose()?;
    let resumed = match resumed {
        Some(directory) if directory.has_ended() => return tell_ended(directory, &text),
        other => other,
    };
    if let Some(folder) = &args.out {
        RunDirectory::check(folder, args.force)?;
    }
    let options = args.options()?;
    let partitions = args.partitions()?;
    let checkpoints = args.checkpoints()?;
    let chosen = device::choose(args.request())?;
    if let Some(note) = &chosen.note {
        text.note(note);
    }
    if let Some(note) = args.precision.note(chosen.device) {
        text.note(note);
    }
    if let Some(note) = options.first_layer_note() {
        text.note(note);
    }

    let files = args.files()?;
    let fingerprints = files.fingerprints()?;
    config::check_unchanged(
        &args.expected,
        &fingerprints,
        files.named(),
        args.resume.is_some(),
    )?;
    let task = read_task(args, &files)?;
    memory::check(&task, partitions, &options)?;
    let labelling = labelling(args, &files, &task)?;
    let splits = task.splits(&labelling, partitions, args.seed)?;
    describe(&text, &task, &splits)?;
    let problem = Problem::new(&task, &splits, &options);
    let dimensions = problem.dimensions(&options);
    let initial: Vec<Parameters> = match &files.init {
        Some(file) => vec![parameters::load(file, &dimensions)?; problem.networks()],
        None => problem.initial_parameters(&options, args.seed),
    };
    let load = |graph| chosen.device.load_with(graph, args.cuda_options());
    let kept = resumed.as_ref().and_then(Unfinished::load);
    let session = match &kept {
        Some(_) => None,
        None => Some(Session::new(&problem, &options, &initial, load)?),
    };

    let device = chosen.device.to_string();
    let is_new = resumed.is_none();
    let directory = match resumed {
        Some(directory) => directory,
        None => {
            let config = Config {
                program: Program {
                    version: env!("CARGO_PKG_VERSION").to_string(),
                    device: device.clone(),
                },
                data: fingerprints,
                options: args.written(&options, partitions, &files, &labelling, &device),
            };
            begin(args, &task, &config, &splits, &text)?
        }
    };
    text.line(format_args!(
        "{} epochs of {}, recipe {}, {} each, on {device}, in {}",
        options.epochs,
        counted(partitions, "partition"),
        args.recipe(),
        counted(options.members, "network"),
        directory.path().display()
    ))?;
    let mut result = match session {
        Some(mut session) => {
            let dimensions = session.dimensions();
            text.detail(format_args!(
                "{} of {} parameters each, in about {:.1} MiB of memory",
                counted(problem.networks(), "network"),
                dimensions.parameter_count(),
                memory::needed(&task, partitions, &options) / f64::from(1 << 20)
            ))?;
            for (domain, form) in ["source", "target"].iter().zip(session.first_layers()) {
                text.detail(format_args!("first layer of the {domain}: {form}"))?;
            }
            let mut progress = Progress::new(&options, partitions, &text);
            let mut show = |epoch: &EpochMetrics| progress.show(epoch);
            let outcome = record(&directory, &options, &mut session, checkpoints, &mut show);
            progress.bar.finish_and_clear();
            // What it took on the device is free.
            drop(session);
            let outcome = match outcome {
                Ok(outcome) => outcome,
                Err(stopped) => return Err(stopped.told(directory, is_new, &text)),
            };
            let (recipe, select) = (args.recipe(), args.select(&options));
            let models = TrainedModel::of_run(&task, &problem, &options, &outcome);
            let labels = predictions::predictions(&splits, &outcome.opinions, task.classes.len());
            let table = predictions::to_csv(&labels, &task.classes);
            directory.write(run::PREDICTIONS, &table)?;
            for (p, model) in models.iter().enumerate() {
                model.save(&directory.file(&model_file::name(p)))?;
            }
            let picture = embedding(&task, &splits[0], &models[0], &initial[0])?;
            directory.write(run::EMBEDDING, &picture)?;
            let result = Unfinished {
                ms_per_epoch: outcome.ms_per_epoch,
                summary: Summary::new(&task, &problem, &outcome, device, recipe, select),
            };
            result.save(&directory)?;
            result
        }
        None => {
            text.line("it is trained: only what it is compared with is left")?;
            kept.expect("else there is a session")
        }
    };
    for kind in args.controls() {
        let done = |control: &ControlSummary| control.name == kind;
        if result.summary.controls.iter().any(done) {
            continue;
        }
        let (problem, options) = kind.of(&problem, &options, args.seed);
        let mut session = Session::new(&problem, &options, &initial, load)?;
        let progress = Progress::new(&options, partitions, &text);
        progress.bar.set_prefix(format!("{}: ", kind.name()));
        let outcome = compare(&mut session, &options, progress, kind.name(), &directory)?;
        result.summary.add_control(kind, &outcome);
        result.save(&directory)?;
    }
    let Unfinished {
        ms_per_epoch,
        mut summary,
    } = result;
    if args.check_transfer {
        summary.transfer = check_transfer(&problem, &options, args, &chosen, &text, &directory)?;
    }
    directory.write(run::SUMMARY, summary.to_json().as_bytes())?;
    report(&directory, &text);
    let folder = directory.path().display().to_string();
    directory.finish()?;

    tell(&summary, &options, ms_per_epoch, &text, &folder)?;
    if args.json {
        let printed = Printed {
            run: folder,
            ms_per_epoch,
            summary: &summary,
        };
        print(&serde_json::to_string(&printed).expect("numbers and names"))?;
    }
    Ok(())
}

/// The folder of a new run, with all that is known before training.
fn begin(
    args: &TrainArgs,
    task: &Task,
    config: &Config,
    splits: &[Split],
    text: &Text,
) -> Result<RunDirectory> {
    let path = match &args.out {
        Some(path) => path.clone(),
        None => RunDirectory::free(&task.source.name, &task.target.name),
    };
    let directory = RunDirectory::create(&path, args.force)?;
    let written = directory
        .write(run::SPLITS, run::splits_to_json(splits).as_bytes())
        .and_then(|()| directory.write(run::CONFIG, config.to_toml().as_bytes()));
    match written {
        Ok(()) => Ok(directory),
        Err(error) => {
            discard(directory, text);
            Err(error)
        }
    }
}

/// Removes a run that failed; what went wrong before is told as its error.
fn discard(directory: RunDirectory, text: &Text) {
    if let Err(error) = directory.discard() {
        text.note(format_args!("what the run left stays: {error}"));
    }
}

/// Why a run did not come to its end.
struct Stopped {
    error: Error,
    /// Epochs of its checkpoint.
    checkpoint: Option<usize>,
    /// Whether it left metrics.
    has_metrics: bool,
}

impl Stopped {
    /// The error for the user, who learns what is kept. Of a new run that left nothing, nothing
    /// stays.
    fn told(self, directory: RunDirectory, is_new: bool, text: &Text) -> Error {
        let folder = directory.path().display().to_string();
        let on = match self.checkpoint {
            Some(epochs) => format!("ssan train --resume {folder} goes on from epoch {epochs}"),
            None => format!("ssan train --resume {folder} begins it again"),
        };
        match self.error {
            Error::Interrupted { signal, .. } => Error::Interrupted {
                signal,
                done: format!("by signal {signal}: {on}"),
            },
            error if is_new && self.checkpoint.is_none() && !self.has_metrics => {
                discard(directory, text);
                error
            }
            error => {
                let kept = match self.checkpoint {
                    Some(_) => "its options, metrics and last checkpoint",
                    None => "its options and metrics",
                };
                text.note(format_args!("{folder} keeps {kept}; {on}"));
                error
            }
        }
    }
}

/// Trains, from the checkpoint in `directory` if there is one, and records there what happens.
fn record(
    directory: &RunDirectory,
    options: &Options,
    session: &mut Session<f32>,
    checkpoints: CheckpointEvery,
    show: &mut dyn FnMut(&EpochMetrics),
) -> std::result::Result<Outcome, Stopped> {
    let before = |error| Stopped {
        error,
        checkpoint: None,
        has_metrics: false,
    };
    let networks = session.problem().networks();
    let (mut recorder, found) =
        Recorder::new(directory, networks, checkpoints, show).map_err(before)?;
    let mut told = Vec::new();
    if let Some(start) = found {
        let restored = session.restore(&start.snapshot).map_err(before)?;
        let wrong = |cause| before(Error::file(directory.file(checkpoint::LAST), cause));
        restored.map_err(wrong)?;
        told = start.told;
    }
    let outcome = train_watched(session, options, told, &mut recorder);
    let outcome = recorder.flush().and(outcome);
    let error = match outcome {
        Ok(Some(outcome)) => return Ok(outcome),
        Ok(None) => Error::Interrupted {
            signal: recorder.signal().expect("only a signal stops a run"),
            done: String::new(),
        },
        Err(error) => error,
    };
    Err(Stopped {
        error,
        checkpoint: recorder.checkpoint(),
        has_metrics: recorder.has_metrics(),
    })
}

/// Trains the run, and its controls, on the folds of the labelled target rows; `None` where there are
/// too few.
fn check_transfer(
    problem: &Problem,
    options: &Options,
    args: &TrainArgs,
    chosen: &Chosen,
    text: &Text,
    directory: &RunDirectory,
) -> Result<Option<TransferSummary>> {
    let Some(folds) = transfer::folds(problem) else {
        text.note("--check-transfer needs two labelled target rows of each class: it is left out");
        return Ok(None);
    };
    let options = Options {
        members: 1,
        ..*options
    };
    let partitions = folds.partitions.len();
    let train = |problem: &Problem, options: &Options, name: &str| {
        let initial = problem.initial_parameters(options, args.seed);
        let load = |graph| chosen.device.load_with(graph, args.cuda_options());
        let mut session = Session::new(problem, options, &initial, load)?;
        let progress = Progress::new(options, partitions, text);
        progress.bar.set_prefix(format!("transfer, {name}: "));
        compare(&mut session, options, progress, name, directory)
    };
    let run = train(&folds, &options, "run")?;
    let mut gains = Vec::new();
    for kind in Control::ALL {
        let (problem, options) = kind.of(&folds, &options, args.seed);
        let control = train(&problem, &options, kind.name())?;
        let (mean, standard_error) =
            transfer::gain(&run, &control).expect("held-out rows are known");
        gains.push(TransferGain {
            control: kind,
            mean,
            standard_error,
        });
    }
    let verdicts: Vec<&str> = gains.iter().map(TransferGain::verdict).collect();
    let accuracies = run.iter().filter_map(|result| result.accuracy_chosen);
    Ok(Some(TransferSummary {
        folds: partitions,
        accuracy: accuracies.sum::<f64>() / partitions as f64,
        verdict: verdicts.join("; "),
        gains,
    }))
}

/// What becomes of the partitions of a run called `name` to compare with.
fn compare(
    session: &mut Session<f32>,
    options: &Options,
    progress: Progress,
    name: &str,
    directory: &RunDirectory,
) -> Result<Vec<PartitionResult>> {
    let mut listener = Listener {
        interrupt: Interrupt::catch()?,
        progress,
    };
    let outcome = train_watched(session, options, Vec::new(), &mut listener);
    listener.progress.bar.finish_and_clear();
    if let Some(outcome) = outcome? {
        return Ok(outcome.partitions);
    }
    let signal = listener.interrupt.signal();
    let signal = signal.expect("only a signal stops a run");
    Err(Error::Interrupted {
        signal,
        done: format!(
            "by signal {signal} while {name} was trained: {0} keeps the models and predictions, \
             ssan train --resume {0} goes on",
            directory.path().display()
        ),
    })
}

/// Shows a run that leaves nothing, and stops it at a signal.
struct Listener {
    interrupt: Interrupt,
    progress: Progress,
}

impl Watch<f32> for Listener {
    fn epoch(&mut self, metrics: &EpochMetrics) -> Result<()> {
        self.progress.show(metrics);
        Ok(())
    }

    fn pause(&mut self, _: usize) -> Pause {
        match self.interrupt.signal() {
            Some(_) => Pause::Stop,
            None => Pause::None,
        }
    }

    fn asks_at(&self, _: usize) -> usize {
        usize::MAX
    }

    fn keep(&mut self, _: Snapshot<f32>) -> Result<()> {
        Ok(())
    }
}

/// Writes the run's page. What is wrong with it does not harm the run.
fn report(directory: &RunDirectory, text: &Text) {
    let page = Report::of(&[directory.path()]);
    let written = page.and_then(|page| directory.write(run::REPORT, page.html.as_bytes()));
    if let Err(error) = written {
        text.note(format_args!("there is no {}: {error}", run::REPORT));
    }
}

/// Nothing is left to do in a run that has ended.
fn tell_ended(directory: RunDirectory, text: &Text) -> Result<()> {
    let folder = directory.path().display().to_string();
    let summary = directory.file(run::SUMMARY);
    if !directory.file(run::REPORT).exists() {
        report(&directory, text);
    }
    directory.finish()?;
    text.line(format_args!(
        "the run in {folder} has ended: nothing is left to do"
    ))?;
    if text.json {
        let bytes = files::read(&summary)?;
        let value: serde_json::Value = serde_json::from_slice(&bytes)
            .map_err(|e| Error::file(&summary, format!("is damaged: {e}")))?;
        print(&value.to_string())?;
    }
    Ok(())
}

fn read_task(args: &TrainArgs, files: &TaskFiles) -> Result<Task> {
    let [source, target] = match (&files.source, &files.target) {
        (Some(source), Some(target)) => {
            let keys = args.keys();
            [
                data::read_domain(source, &keys[0])?,
                data::read_domain(target, &keys[1])?,
            ]
        }
        _ => data::digits()?.into(),
    };
    Task::new(source, target)
}

fn labelling(args: &TrainArgs, files: &TaskFiles, task: &Task) -> Result<Labelling> {
    Ok(match (&files.split, args.labelled_per_class) {
        (Some(file), _) => Labelling::Fixed(data::read_split(file, task)?),
        (None, Some(n)) => Labelling::PerClass(n),
        (None, None) => task.default_labelling(3),
    })
}

/// Tells what is trained on.
fn describe(text: &Text, task: &Task, splits: &[Split]) -> Result<()> {
    let split = &splits[0];
    let mut table = table();
    let mut domain = |role: &str, domain: &Domain, rows: String| {
        let size = format!("{} × {}", domain.features.rows(), domain.features.cols());
        table.add_row([role, &domain.name, &size, &rows]);
    };
    domain(
        "source",
        &task.source,
        format!("{} in use", split.source.len()),
    );
    let rows = format!(
        "{} labelled, {} to label",
        split.labelled.len(),
        split.unlabelled.len()
    );
    domain("target", &task.target, rows);
    text.line(table.trim_fmt())?;
    let classes: Vec<String> = task.classes.iter().map(|c| c.to_string()).collect();
    text.line(format_args!(
        "{} classes: {}",
        classes.len(),
        abridged(&classes)
    ))?;
    let domains = [&task.source, &task.target];
    let notes = domains.map(|d| d.notes.iter().map(|note| format!("{}: {note}", d.name)));
    for note in notes
        .into_iter()
        .flatten()
        .chain(task.notes.iter().cloned())
    {
        text.line(format_args!("note: {note}"))?;
    }
    Ok(())
}

/// Progress over epochs, on a terminal alone, unless nothing is to be said.
struct Progress {
    bar: ProgressBar,
    /// Sums over the partitions of the current epoch: loss, accuracy, partitions with an accuracy.
    sums: (f64, f64, usize),
    partitions: usize,
}

impl Progress {
    fn new(options: &Options, partitions: usize, text: &Text) -> Progress {
        let bar = match text.talk.quiet {
            true => ProgressBar::hidden(),
            false => ProgressBar::new(options.epochs as u64),
        };
        let style = "{prefix}{bar:30} {pos}/{len} epochs  {msg}  {eta} left";
        bar.set_style(ProgressStyle::with_template(style).expect("a valid template"));
        Progress {
            bar,
            sums: (0.0, 0.0, 0),
            partitions,
        }
    }

    fn show(&mut self, epoch: &EpochMetrics) {
        let (loss, accuracy, known) = &mut self.sums;
        *loss += epoch.total;
        if let Some(value) = epoch.unlabelled_acc {
            *accuracy += value;
            *known += 1;
        }
        if epoch.partition + 1 < self.partitions {
            return;
        }
        let mut message = format!("loss {:.4}", *loss / self.partitions as f64);
        if *known > 0 {
            message += &format!("  accuracy {:.1} %", *accuracy / *known as f64);
        }
        self.sums = (0.0, 0.0, 0);
        self.bar.set_message(message);
        self.bar.set_position(epoch.epoch as u64 + 1);
    }
}

/// Tells what a run came to.
fn tell(
    summary: &Summary,
    options: &Options,
    ms_per_epoch: f64,
    text: &Text,
    folder: &str,
) -> Result<()> {
    let percent = |x: Option<f64>| x.map_or("–".to_string(), |x| format!("{x:.2}"));
    let is_last = options.select == Select::Last;
    let mut table = table();
    let mut header = vec![
        "partition",
        "last epoch %",
        "best epoch % (oracle)",
        "source %",
        "labelled target %",
    ];
    if !is_last {
        header.extend(["chosen %", "after epochs"]);
    }
    table.set_header(header);
    for PartitionSummary { result, .. } in &summary.partitions {
        let mut row = vec![
            result.partition.to_string(),
            percent(result.accuracy_last),
            percent(result.accuracy_best),
            percent(result.source_accuracy),
            percent(result.labelled_accuracy),
        ];
        if !is_last {
            row.push(percent(result.accuracy_chosen));
            row.push(result.epoch_chosen.to_string());
        }
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
    }
    text.line(table.trim_fmt())?;
    match (summary.mean_last, summary.std_last) {
        (Some(mean), Some(std)) => {
            let partitions = counted(summary.partitions.len(), "partition");
            text.line(format_args!(
                "accuracy on the unlabelled target, last epoch: {mean:.2} ± {std:.2} % \
                 (mean ± standard deviation of {partitions})"
            ))?;
            if let (false, Some(mean), Some(std)) =
                (is_last, summary.mean_chosen, summary.std_chosen)
            {
                let note = match options.select {
                    Select::BestTest => ", an oracle: the test labels choose",
                    _ => "",
                };
                text.line(format_args!(
                    "chosen by --select {}, which is kept: {mean:.2} ± {std:.2} %{note}",
                    summary.select
                ))?;
            }
            for control in &summary.controls {
                let what = match control.name {
                    Control::Noise => "with noise as source",
                    Control::TargetOnly => "labelled target rows alone",
                };
                text.line(format_args!(
                    "{what}: {} ± {} %; the run has {:+.2} ± {} more",
                    percent(control.mean),
                    percent(control.std),
                    control.gain_mean.unwrap_or_default(),
                    percent(control.gain_std)
                ))?;
            }
            text.line(format_args!(
                "best epoch: {} %, an oracle: it is chosen by the test labels, which nobody has",
                percent(summary.mean_best)
            ))?;
        }
        _ => {
            text.line("accuracy on the unlabelled target: unknown, its rows have no ground truth")?;
            if !summary.controls.is_empty() {
                text.line(
                    "so nothing can be said of --baseline and --control: --check-transfer compares \
                     on the labelled rows",
                )?;
            }
        }
    }
    if let Some(transfer) = &summary.transfer {
        let gains = transfer.gains.iter().map(|gain| {
            format!(
                "{:+.1} ± {:.1} to {}",
                gain.mean,
                gain.standard_error,
                gain.control.name()
            )
        });
        let gains: Vec<String> = gains.collect();
        text.line(format_args!(
            "on labelled target rows held out in {} folds: {:.1} %, {} (± standard error): \
                     {}",
            transfer.folds,
            transfer.accuracy,
            gains.join(", "),
            transfer.verdict
        ))?;
    }
    text.line(format_args!("{ms_per_epoch:.2} ms per epoch and partition"))?;
    text.line(format_args!(
        "labels, models, report.html and all else: {folder}; ssan predict {folder} labels new samples"
    ))
}
