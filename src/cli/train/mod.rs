//! `ssan train`.

mod compare;
mod progress;
mod stopped;
mod tell;
mod trainer;

use serde::Serialize;

use compare::{Comparisons, check_transfer};
use progress::Progress;
use stopped::{Stopped, discard};
use tell::{describe, tell};
use trainer::Trainer;

use super::config;
use super::options::{TaskFiles, TrainArgs};
use super::output::{Text, counted, print};
use crate::data::{self, Labelling, Split, Task};
use crate::device::{self, Chosen};
use crate::error::{Error, Result};
use crate::inference::TrainedModel;
use crate::model_file;
use crate::parameters;
use crate::predictions;
use crate::report::Report;
use crate::run::embedding::embedding;
use crate::run::{
    self, CheckpointEvery, Config, ControlSummary, Finished, Program, Recorder, RunDirectory,
    Summary, Unfinished,
};
use crate::train::memory::{self, Footprint, Limit, Plan};
use crate::train::{
    EpochMetrics, Groups, Options, Outcome, Problem, Select, Session, train_watched,
};

/// What `--json` prints.
#[derive(Serialize)]
struct Printed<'a> {
    /// The run's folder.
    run: String,
    /// See [`Outcome::ms_per_epoch`]; nothing of a run that had ended before.
    ms_per_epoch: Option<f64>,
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
    let chosen = choose(args, &options, &text)?;

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
    if options.select == Select::BestTest && !problem.has_truth() {
        return Err(Error::Usage(
            "--select best-test chooses by the labels of the unlabelled rows, and none of them is \
             known"
                .to_string(),
        ));
    }
    let comparisons = Comparisons::plan(args, &task, &problem, &options, limit)?;
    if comparisons.controls.is_empty() && !args.controls().is_empty() {
        text.note(
            "--baseline and --control compare accuracies on the unlabelled rows, none of whose \
             labels is known: they are left out; --check-transfer compares on the labelled rows",
        );
    }
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
    let run = Run {
        task: &task,
        splits: &splits,
        problem: &problem,
        options: &options,
        trainer: &trainer,
        checkpoints,
        is_new,
    };
    // Before there is a folder, which a step that does not fit on the device would leave behind.
    let session = match (&kept, groups.after(finished.partitions.len())) {
        (None, Some(group)) => Some(trainer.session(&problem, group, &options)?),
        _ => None,
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
    let (directory, mut result) = match session {
        Some(session) => run.train_groups(directory, finished, &groups, session)?,
        None => {
            text.line("it is trained: only what it is compared with is left")?;
            (directory, kept.expect("else there is a session"))
        }
    };
    run.compare(&mut result, comparisons, &directory)?;
    let Unfinished {
        ms_per_epoch,
        summary,
    } = result;
    directory.write(run::SUMMARY, summary.to_json().as_bytes())?;
    report(&directory, &text);
    let folder = directory.path().display().to_string();
    directory.finish()?;

    tell(&summary, &options, ms_per_epoch, &text, &folder)?;
    if args.json {
        print_json(folder, Some(ms_per_epoch), &summary)?;
    }
    Ok(())
}

/// Prints what `--json` does.
fn print_json(run: String, ms_per_epoch: Option<f64>, summary: &Summary) -> Result<()> {
    let printed = Printed {
        run,
        ms_per_epoch,
        summary,
    };
    print(&serde_json::to_string(&printed).expect("numbers and names"))
}

/// The device that the options name, with a note on each of them that it does not follow.
fn choose(args: &TrainArgs, options: &Options, text: &Text) -> Result<Chosen> {
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
    Ok(chosen)
}

/// A run, as its options, data and device make it.
struct Run<'a> {
    task: &'a Task,
    splits: &'a [Split],
    problem: &'a Problem,
    options: &'a Options,
    trainer: &'a Trainer<'a>,
    checkpoints: CheckpointEvery,
    /// Whether it does not go on from an earlier one.
    is_new: bool,
}

impl<'a> Run<'a> {
    /// Trains the group of `session` and those after it, and leaves models and predictions in
    /// `directory`.
    fn train_groups(
        &self,
        directory: RunDirectory,
        mut finished: Finished,
        groups: &Groups,
        mut session: Session<'a, f32>,
    ) -> Result<(RunDirectory, Unfinished)> {
        let text = self.trainer.text;
        self.tell_details(&session, groups)?;
        loop {
            let group = session.partitions();
            let mut progress = Progress::new(self.options, "", &session, text);
            let mut show = |epoch: &EpochMetrics| progress.show(epoch);
            let outcome = self.record(&directory, &finished, &mut session, &mut show);
            progress.finish();
            let initial = session.into_initial().swap_remove(0);
            let (outcome, metrics) = match outcome {
                Ok(ended) => ended,
                Err(stopped) => return Err(stopped.told(directory, self.is_new, text)),
            };
            finished.take(self.problem, self.splits, &outcome, metrics);
            let (task, parameters) = (self.task, outcome.parameters);
            let prototypes = outcome.prototypes;
            let models =
                TrainedModel::of_run(task, self.problem, self.options, parameters, prototypes);
            self.kept(&directory, || {
                for (p, model) in group.zip(models) {
                    model.save(&directory.file(&model_file::name(p)))?;
                    if p == 0 {
                        let picture = embedding(task, &self.splits[p], &model, &initial)?;
                        directory.write(run::EMBEDDING, &picture)?;
                    }
                }
                Ok(())
            })?;
            let Some(next) = groups.after(finished.partitions.len()) else {
                break;
            };
            self.kept(&directory, || finished.save(&directory))?;
            session = match self.trainer.session(self.problem, next, self.options) {
                Ok(session) => session,
                Err(error) => {
                    let stopped = Stopped::before(error, &finished);
                    return Err(stopped.told(directory, self.is_new, text));
                }
            };
        }
        let ms_per_epoch = finished.ms_per_epoch();
        let labels = finished.predictions.finish(self.splits);
        let table = predictions::to_csv(&labels, &self.task.classes);
        self.kept(&directory, || directory.write(run::PREDICTIONS, &table))?;
        let (args, device) = (self.trainer.args, self.trainer.chosen.device.to_string());
        let (recipe, select) = (args.recipe(), args.select(self.options));
        let summary = Summary::new(self.task, finished.partitions, device, recipe, select);
        let result = Unfinished {
            ms_per_epoch,
            summary,
        };
        self.kept(&directory, || result.save(&directory))?;
        Ok((directory, result))
    }

    /// Does `write` after training; the user learns that the run can go on where it fails, as on a full
    /// disk.
    fn kept(&self, directory: &RunDirectory, write: impl FnOnce() -> Result<()>) -> Result<()> {
        write().inspect_err(|_| {
            let folder = directory.path().display();
            self.trainer.text.note(format_args!(
                "{folder} keeps what was written before; ssan train --resume {folder} goes on"
            ));
        })
    }

    /// Trains the group of partitions after the `finished` ones, from the checkpoint in `directory`
    /// if there is one of it, and records there what happens. Returns the length of the metrics too.
    fn record(
        &self,
        directory: &RunDirectory,
        finished: &Finished,
        session: &mut Session<f32>,
        show: &mut dyn FnMut(&EpochMetrics),
    ) -> std::result::Result<(Outcome, u64), Stopped> {
        let before = |error| Stopped::before(error, finished);
        let networks = session.networks();
        let note = |note: &str| self.trainer.text.note(note);
        let started = Recorder::new(directory, finished, networks, self.checkpoints, show, &note);
        let (mut recorder, found) = started.map_err(before)?;
        let mut told = Vec::new();
        if let Some(start) = found {
            let restored = session.restore(&start.snapshot).map_err(before)?;
            let wrong = |cause| before(Error::file(&start.path, cause));
            restored.map_err(wrong)?;
            told = start.told;
        }
        let outcome = train_watched(session, self.options, told, &mut recorder);
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

    /// Says how large the step is, what becomes of rows, and what the first layers are trained as.
    fn tell_details(&self, session: &Session<f32>, groups: &Groups) -> Result<()> {
        let text = self.trainer.text;
        let footprint = Footprint::of_run(self.task, self.splits.len(), self.options);
        text.detail(format_args!(
            "{} of {} parameters each, in about {} of memory",
            counted(session.networks(), "network"),
            session.dimensions().parameter_count(),
            memory::shown(footprint.needed(groups.at_once()))
        ))?;
        let each = self
            .problem
            .normalisation
            .iter()
            .zip(session.first_layers());
        for (domain, (rows, form)) in ["source", "target"].iter().zip(each) {
            text.detail(format_args!("rows of the {domain}: {rows}"))?;
            text.detail(format_args!("first layer of the {domain}: {form}"))?;
        }
        Ok(())
    }

    /// Trains what the run is compared with, as far as `result` does not have it yet.
    fn compare(
        &self,
        result: &mut Unfinished,
        comparisons: Comparisons,
        directory: &RunDirectory,
    ) -> Result<()> {
        let (trainer, args) = (self.trainer, self.trainer.args);
        for (kind, groups) in comparisons.controls {
            let done = |control: &ControlSummary| control.name == kind;
            if result.summary.controls.iter().any(done) {
                continue;
            }
            let (problem, options) = kind.of(self.problem, self.options, args.seed);
            let outcome = trainer.compare(groups, &problem, &options, kind.name(), directory)?;
            result.summary.add_control(kind, &outcome);
            result.save(directory)?;
        }
        match comparisons.transfer {
            Some(plans) => {
                let (problem, options) = (self.problem, self.options);
                let checked = check_transfer(plans, trainer, problem, options, directory)?;
                result.summary.transfer = Some(checked);
            }
            None if args.check_transfer => trainer.text.note(
                "--check-transfer needs two labelled target rows of each class: it is left out",
            ),
            None => {}
        }
        Ok(())
    }
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
        .write(run::SPLITS, data::splits_to_json(splits).as_bytes())
        .and_then(|()| directory.write(run::CONFIG, config.to_toml().as_bytes()));
    match written {
        Ok(()) => Ok(directory),
        Err(error) => {
            discard(directory, text);
            Err(error)
        }
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
        print_json(folder, None, &Summary::load(&summary)?)?;
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
