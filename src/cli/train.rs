//! `ssan train`.

use std::ops::Range;

use comfy_table::CellAlignment;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::config;
use super::options::{TaskFiles, TrainArgs};
use super::output::{Text, abridged, counted, print, table};
use crate::data::{self, Domain, Labelling, Split, Task};
use crate::device::{self, Chosen, Device};
use crate::error::{Error, Result};
use crate::files;
use crate::graph::Graph;
use crate::inference::TrainedModel;
use crate::model::Parameters;
use crate::model_file;
use crate::parameters;
use crate::predictions;
use crate::report::Report;
use crate::run::embedding::embedding;
use crate::run::{
    self, CheckpointEvery, Config, ControlSummary, Finished, Interrupt, PartitionSummary, Program,
    Recorder, RunDirectory, Summary, TransferGain, TransferSummary, Unfinished, checkpoint,
};
use crate::train::memory::{self, Footprint, Limit, Plan};
use crate::train::{
    Control, EpochMetrics, Groups, Options, Outcome, PartitionResult, Pause, Problem, Select,
    Session, Snapshot, Watch, train_watched, transfer,
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
    let is_new = resumed.is_none();
    let kept = resumed.as_ref().and_then(Unfinished::load);
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
    let limit = Limit::of_host(args.max_memory);
    let plan = match is_new {
        true => Plan::new(&task, partitions, &options, args.at_once, limit)?,
        false => {
            // Of a run that is trained nothing has to fit.
            let limit = limit.filter(|_| kept.is_none());
            Plan::resumed(&task, partitions, &options, args.at_once, limit)?
        }
    };
    let labelling = labelling(args, &files, &task)?;
    let splits = task.splits(&labelling, partitions, args.seed)?;
    describe(&text, &task, &splits)?;
    let problem = Problem::new(&task, &splits, &options);
    let comparisons = Comparisons::plan(args, &task, &problem, &options, limit)?;
    let dimensions = problem.dimensions(&options);
    let trainer = Trainer {
        chosen: &chosen,
        args,
        text: &text,
        given: match &files.init {
            Some(file) => Some(parameters::load(file, &dimensions)?),
            None => None,
        },
    };
    let plan = match is_new {
        true => trainer.fit_card(plan, &problem, &options)?,
        false => plan,
    };
    let groups = plan.groups;
    let mut finished = Finished::none(&splits, task.classes.len());
    if let (Some(directory), None) = (&resumed, &kept) {
        match finished.load(directory, &groups) {
            Ok(found) => finished = found.unwrap_or(finished),
            Err(error) => {
                text.note(format_args!("{error}: the run begins again"));
                directory.remove_progress()?;
            }
        }
    }
    let trained = finished.partitions.len();
    let mut left = groups.ranges().skip_while(|group| group.start < trained);
    let first = left.next().expect("a group is left");
    let mut initial = Vec::new();
    let session = match &kept {
        Some(_) => None,
        None => {
            initial = trainer.initial(&problem, first.clone(), &options);
            let load = |graph| trainer.load(graph);
            Some(Session::group(&problem, first, &options, &initial, load)?)
        }
    };

    let device = chosen.device.to_string();
    let directory = match resumed {
        Some(directory) => directory,
        None => {
            let config = Config {
                program: Program {
                    version: env!("CARGO_PKG_VERSION").to_string(),
                    device: device.clone(),
                    partitions_at_once: (groups.count() > 1).then(|| groups.at_once()),
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
    if groups.count() > 1 {
        text.line(format_args!(
            "{partitions} partitions in {} groups of at most {}, one after the other: {}",
            groups.count(),
            groups.at_once(),
            plan.reason
        ))?;
    }
    let mut result = match session {
        Some(mut session) => {
            let dimensions = session.dimensions();
            let footprint = Footprint::of_run(&task, partitions, &options);
            text.detail(format_args!(
                "{} of {} parameters each, in about {} of memory",
                counted(session.networks(), "network"),
                dimensions.parameter_count(),
                memory::shown(footprint.needed(groups.at_once()))
            ))?;
            for (domain, form) in ["source", "target"].iter().zip(session.first_layers()) {
                text.detail(format_args!("first layer of the {domain}: {form}"))?;
            }
            loop {
                let group = session.partitions();
                let mut progress = Progress::new(&options, "", &session, &text);
                let mut show = |epoch: &EpochMetrics| progress.show(epoch);
                let outcome = record(
                    &directory,
                    &finished,
                    &options,
                    &mut session,
                    checkpoints,
                    &mut show,
                );
                progress.bar.finish_and_clear();
                // What it took on the device is free.
                drop(session);
                let (outcome, metrics) = match outcome {
                    Ok(ended) => ended,
                    Err(stopped) => return Err(stopped.told(directory, is_new, &text)),
                };
                let models = TrainedModel::of_run(&task, &problem, &options, &outcome);
                for (p, model) in group.clone().zip(&models) {
                    model.save(&directory.file(&model_file::name(p)))?;
                }
                if group.start == 0 {
                    let picture = embedding(&task, &splits[0], &models[0], &initial[0])?;
                    directory.write(run::EMBEDDING, &picture)?;
                }
                finished.take(&problem, &splits, &outcome, metrics);
                drop((outcome, models));
                let Some(group) = left.next() else { break };
                finished.save(&directory)?;
                initial = trainer.initial(&problem, group.clone(), &options);
                let load = |graph| trainer.load(graph);
                session = match Session::group(&problem, group, &options, &initial, load) {
                    Ok(session) => session,
                    Err(error) => {
                        let stopped = Stopped::before(error, &finished);
                        return Err(stopped.told(directory, is_new, &text));
                    }
                };
            }
            let ms_per_epoch = finished.ms_per_epoch();
            let labels = finished.predictions.finish(&splits);
            let table = predictions::to_csv(&labels, &task.classes);
            directory.write(run::PREDICTIONS, &table)?;
            let (recipe, select) = (args.recipe(), args.select(&options));
            let summary = Summary::new(&task, finished.partitions, device, recipe, select);
            let result = Unfinished {
                ms_per_epoch,
                summary,
            };
            result.save(&directory)?;
            result
        }
        None => {
            text.line("it is trained: only what it is compared with is left")?;
            kept.expect("else there is a session")
        }
    };
    drop(initial);
    for (kind, groups) in comparisons.controls {
        let done = |control: &ControlSummary| control.name == kind;
        if result.summary.controls.iter().any(done) {
            continue;
        }
        let (problem, options) = kind.of(&problem, &options, args.seed);
        let outcome = trainer.compare(groups, &problem, &options, kind.name(), &directory)?;
        result.summary.add_control(kind, &outcome);
        result.save(&directory)?;
    }
    let Unfinished {
        ms_per_epoch,
        mut summary,
    } = result;
    if let Some(plans) = comparisons.transfer {
        let summarised = check_transfer(plans, &trainer, &problem, &options, &directory)?;
        summary.transfer = Some(summarised);
    } else if args.check_transfer {
        text.note("--check-transfer needs two labelled target rows of each class: it is left out");
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
    /// Partitions of the groups that are trained, before the one that was.
    finished: usize,
    /// Epochs of its checkpoint.
    checkpoint: Option<usize>,
    /// Whether it left metrics.
    has_metrics: bool,
}

impl Stopped {
    /// Before a group is trained that comes after the `finished` ones.
    fn before(error: Error, finished: &Finished) -> Stopped {
        Stopped {
            error,
            finished: finished.partitions.len(),
            checkpoint: None,
            has_metrics: finished.metrics > 0,
        }
    }

    /// The error for the user, who learns what is kept. Of a new run that left nothing, nothing
    /// stays.
    fn told(self, directory: RunDirectory, is_new: bool, text: &Text) -> Error {
        let folder = directory.path().display().to_string();
        let after = match self.finished {
            0 => String::new(),
            n => format!(" after its first {}", counted(n, "partition")),
        };
        let on = match (self.checkpoint, self.finished) {
            (Some(epochs), _) => format!("goes on from epoch {epochs}{after}"),
            (None, 0) => "begins it again".to_string(),
            (None, _) => format!("goes on{after}"),
        };
        let on = format!("ssan train --resume {folder} {on}");
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
                let mut kept = vec!["options", "metrics"];
                if self.finished > 0 {
                    kept.push("trained partitions");
                }
                if self.checkpoint.is_some() {
                    kept.push("last checkpoint");
                }
                let last = kept.pop().expect("two at least");
                let kept = format!("{} and {last}", kept.join(", "));
                text.note(format_args!("{folder} keeps its {kept}; {on}"));
                error
            }
        }
    }
}

/// Trains the group of partitions after the `finished` ones, from the checkpoint in `directory` if
/// there is one of it, and records there what happens. Returns the length of the metrics too.
fn record(
    directory: &RunDirectory,
    finished: &Finished,
    options: &Options,
    session: &mut Session<f32>,
    checkpoints: CheckpointEvery,
    show: &mut dyn FnMut(&EpochMetrics),
) -> std::result::Result<(Outcome, u64), Stopped> {
    let before = |error| Stopped::before(error, finished);
    let networks = session.networks();
    let (mut recorder, found) =
        Recorder::new(directory, finished, networks, checkpoints, show).map_err(before)?;
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
        Ok(Some(outcome)) => return Ok((outcome, recorder.metrics())),
        Ok(None) => Error::Interrupted {
            signal: recorder.signal().expect("only a signal stops a run"),
            done: String::new(),
        },
        Err(error) => error,
    };
    Err(Stopped {
        error,
        finished: finished.partitions.len(),
        checkpoint: recorder.checkpoint(),
        has_metrics: recorder.metrics() > 0,
    })
}

/// Groups of what a run is compared with.
struct Comparisons {
    controls: Vec<(Control, Groups)>,
    /// Folds of each partition; groups of the run and of each of [`Control::ALL`] on all folds.
    transfer: Option<(usize, Vec<Groups>)>,
}

impl Comparisons {
    /// What `args` ask for, as far as there are enough labelled rows.
    ///
    /// # Errors
    /// It does not fit into memory.
    fn plan(
        args: &TrainArgs,
        task: &Task,
        problem: &Problem,
        options: &Options,
        limit: Option<Limit>,
    ) -> Result<Comparisons> {
        let partitions = problem.partitions.len();
        let controls = args.controls().into_iter().map(|kind| {
            let control = Some(kind);
            let footprint = Footprint::of_comparison(task, partitions, options, control, 2);
            let option = match kind {
                Control::TargetOnly => "--baseline target-only",
                Control::Noise => "--control noise",
            };
            Ok((kind, memory::comparison_groups(option, footprint, limit)?))
        });
        let controls = controls.collect::<Result<_>>()?;
        let folds = transfer::folds_each(problem).filter(|_| args.check_transfer);
        let transfer = folds.map(|folds| -> Result<_> {
            let (of_folds, all) = (transfer::options(options), partitions * folds);
            // The run, its folds, and the control's.
            let run = Footprint::of_comparison(task, all, &of_folds, None, 2);
            let controls = Control::ALL
                .map(|kind| Footprint::of_comparison(task, all, &of_folds, Some(kind), 3));
            let groups = std::iter::once(run)
                .chain(controls)
                .map(|footprint| memory::comparison_groups("--check-transfer", footprint, limit));
            Ok((folds, groups.collect::<Result<_>>()?))
        });
        Ok(Comparisons {
            controls,
            transfer: transfer.transpose()?,
        })
    }
}

/// Trains the run, and its controls, on the folds of the labelled target rows, in groups as planned.
fn check_transfer(
    (folds, groups): (usize, Vec<Groups>),
    trainer: &Trainer,
    problem: &Problem,
    options: &Options,
    directory: &RunDirectory,
) -> Result<TransferSummary> {
    let (folds, options) = (transfer::folds(problem, folds), transfer::options(options));
    let trainer = Trainer {
        given: None,
        ..*trainer
    };
    let train = |groups, problem: &Problem, options: &Options, name: &str| {
        let name = format!("transfer, {name}");
        trainer.compare(groups, problem, options, &name, directory)
    };
    let run = train(groups[0], &folds, &options, "run")?;
    let mut gains = Vec::new();
    for (kind, &groups) in Control::ALL.into_iter().zip(&groups[1..]) {
        let (problem, options) = kind.of(&folds, &options, trainer.args.seed);
        let control = train(groups, &problem, &options, kind.name())?;
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
    let partitions = folds.partitions.len();
    Ok(TransferSummary {
        folds: partitions,
        accuracy: accuracies.sum::<f64>() / partitions as f64,
        verdict: verdicts.join("; "),
        gains,
    })
}

/// What trains a run and what it is compared with.
struct Trainer<'a> {
    chosen: &'a Chosen,
    args: &'a TrainArgs,
    text: &'a Text,
    /// Initial parameters of every network, instead of drawn ones.
    given: Option<Parameters>,
}

impl Trainer<'_> {
    /// Initial parameters of the networks of the group `partitions`.
    fn initial(
        &self,
        problem: &Problem,
        partitions: Range<usize>,
        options: &Options,
    ) -> Vec<Parameters> {
        match &self.given {
            Some(given) => vec![given.clone(); partitions.len() * problem.members],
            None => problem.initial_parameters_of(partitions, options, self.args.seed),
        }
    }

    /// Loads a recorded step to the device.
    fn load(&self, graph: Graph<f32>) -> Result<Box<dyn Device<f32>>> {
        self.chosen
            .device
            .load_with(graph, self.args.cuda_options())
    }

    /// The `plan` with groups that fit on a CUDA device too.
    fn fit_card(&self, plan: Plan, problem: &Problem, options: &Options) -> Result<Plan> {
        match self.chosen.device.free_memory()? {
            Some(free) if plan.groups.at_once() > 1 => {
                let limit = Limit::of_card(self.args.max_memory, free);
                let initial = self.initial(problem, 0..2, options);
                Ok(plan.on_card::<f32>(problem, options, &initial, limit))
            }
            _ => Ok(plan),
        }
    }

    /// What becomes of the partitions of a run called `name` to compare with, in these groups.
    fn compare(
        &self,
        groups: Groups,
        problem: &Problem,
        options: &Options,
        name: &str,
        directory: &RunDirectory,
    ) -> Result<Vec<PartitionResult>> {
        let plan = Plan {
            groups,
            reason: String::new(),
        };
        let groups = self.fit_card(plan, problem, options)?.groups;
        if groups.count() > 1 {
            self.text.detail(format_args!(
                "{name}: {} groups of at most {}",
                groups.count(),
                counted(groups.at_once(), "partition")
            ))?;
        }
        let mut results = Vec::new();
        for group in groups.ranges() {
            let initial = self.initial(problem, group.clone(), options);
            let load = |graph| self.load(graph);
            let mut session = Session::group(problem, group, options, &initial, load)?;
            let mut listener = Listener {
                interrupt: Interrupt::catch()?,
                progress: Progress::new(options, name, &session, self.text),
            };
            let outcome = train_watched(&mut session, options, Vec::new(), &mut listener);
            listener.progress.bar.finish_and_clear();
            if let Some(outcome) = outcome? {
                results.extend(outcome.partitions);
                continue;
            }
            let signal = listener.interrupt.signal();
            let signal = signal.expect("only a signal stops a run");
            return Err(Error::Interrupted {
                signal,
                done: format!(
                    "by signal {signal} while {name} was trained: {0} keeps the models and \
                     predictions, ssan train --resume {0} goes on",
                    directory.path().display()
                ),
            });
        }
        Ok(results)
    }
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
    /// Sums over the networks of the current epoch: loss, accuracy, networks with an accuracy, all.
    sums: (f64, f64, usize, usize),
    networks: usize,
}

impl Progress {
    /// Of a `session` of the run `name`, of the run itself without a name.
    fn new(options: &Options, name: &str, session: &Session<f32>, text: &Text) -> Progress {
        let bar = match text.talk.quiet {
            true => ProgressBar::hidden(),
            false => ProgressBar::new(options.epochs as u64),
        };
        let style = "{prefix}{bar:30} {pos}/{len} epochs  {msg}  {eta} left";
        bar.set_style(ProgressStyle::with_template(style).expect("a valid template"));
        let (group, all) = (session.partitions(), session.problem().all());
        let group = match group == all {
            true => String::new(),
            false => format!(
                "partitions {} to {} of {}",
                group.start,
                group.end - 1,
                all.len()
            ),
        };
        let prefix = [name, &group].into_iter().filter(|part| !part.is_empty());
        let prefix: Vec<&str> = prefix.collect();
        if !prefix.is_empty() {
            bar.set_prefix(format!("{}: ", prefix.join(", ")));
        }
        Progress {
            bar,
            sums: (0.0, 0.0, 0, 0),
            networks: session.networks(),
        }
    }

    fn show(&mut self, epoch: &EpochMetrics) {
        let (loss, accuracy, known, seen) = &mut self.sums;
        *loss += epoch.total;
        *seen += 1;
        if let Some(value) = epoch.unlabelled_acc {
            *accuracy += value;
            *known += 1;
        }
        if *seen < self.networks {
            return;
        }
        let mut message = format!("loss {:.4}", *loss / self.networks as f64);
        if *known > 0 {
            message += &format!("  accuracy {:.1} %", *accuracy / *known as f64);
        }
        self.sums = (0.0, 0.0, 0, 0);
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
