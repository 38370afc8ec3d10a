//! `ssan train`.

mod compare;
mod progress;
mod setup;
mod stopped;
mod tell;
mod trainer;

use serde::Serialize;

use compare::{Comparisons, check_transfer};
use progress::Progress;
use setup::{Setup, Stage};
use stopped::{Stopped, discard};
use tell::tell;
use trainer::Trainer;

use super::options::TrainArgs;
use super::output::{Text, counted, print};
use crate::data;
use crate::error::{Error, Result};
use crate::inference::TrainedModel;
use crate::model_file;
use crate::predictions;
use crate::report::Report;
use crate::run::embedding::embedding;
use crate::run::{
    self, Config, ControlSummary, Finished, Program, Recorder, RunDirectory, Summary, Unfinished,
};
use crate::train::memory::{self, Footprint, Plan};
use crate::train::{EpochMetrics, Groups, Outcome, Session, train_watched};

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
    let resumed = match resumed.transpose()? {
        Some(directory) if directory.has_ended() => return tell_ended(directory, &text),
        other => other,
    };
    if let Some(folder) = &args.out {
        RunDirectory::check(folder, args.force)?;
    }
    let kept = resumed.as_ref().and_then(Unfinished::load);
    let stage = match (&resumed, &kept) {
        (None, _) => Stage::New,
        (Some(_), None) => Stage::Interrupted,
        (Some(_), Some(_)) => Stage::Trained,
    };
    let setup = Setup::read(args, stage, &text)?;
    let comparisons = setup.comparisons(args, &text)?;
    let trainer = setup.trainer(args, &text)?;
    let plan = match stage {
        Stage::New => trainer.fit_card(setup.plan.clone(), &setup.problem, &setup.options)?,
        Stage::Interrupted | Stage::Trained => setup.plan.clone(),
    };
    let run = Run {
        setup: &setup,
        trainer: &trainer,
        stage,
    };
    let finished = match &resumed {
        Some(directory) if stage == Stage::Interrupted => run.finished(directory, &plan.groups)?,
        _ => run.nothing_finished(),
    };
    // Before there is a folder, which a step that does not fit on the device would leave behind.
    let session = match plan.groups.after(finished.partitions.len()) {
        Some(group) if kept.is_none() => {
            Some(trainer.session(&setup.problem, group, &setup.options)?)
        }
        _ => None,
    };
    let directory = match resumed {
        Some(directory) => directory,
        None => run.begin(&plan.groups)?,
    };
    run.announce(&directory, &plan)?;
    let (directory, mut result) = match session {
        Some(session) => run.train_groups(directory, finished, &plan.groups, session)?,
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

    let (splits, options) = (&setup.splits, &setup.options);
    tell(&summary, splits, options, ms_per_epoch, &text, &folder)?;
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

/// A run, as its options, data and device make it.
struct Run<'a> {
    setup: &'a Setup,
    trainer: &'a Trainer<'a>,
    stage: Stage,
}

impl<'a> Run<'a> {
    /// The groups that are trained before the first is.
    fn nothing_finished(&self) -> Finished {
        Finished::none(&self.setup.splits, self.setup.task.classes.len())
    }

    /// The groups that an interrupted run in `directory` has trained; none, of which the user learns,
    /// where what they left is damaged.
    fn finished(&self, directory: &RunDirectory, groups: &Groups) -> Result<Finished> {
        let none = self.nothing_finished();
        match none.load(directory, groups) {
            Ok(found) => Ok(found.unwrap_or(none)),
            Err(error) => {
                let text = self.trainer.text;
                text.note(format_args!("{error}: the run begins again"));
                directory.remove_progress()?;
                Ok(none)
            }
        }
    }

    /// The folder of a new run in these groups, with all that is known before training.
    fn begin(&self, groups: &Groups) -> Result<RunDirectory> {
        let (setup, args) = (self.setup, self.trainer.args);
        let device = setup.chosen.device.to_string();
        let config = Config {
            program: Program {
                version: env!("CARGO_PKG_VERSION").to_string(),
                device: device.clone(),
                partitions_at_once: (groups.count() > 1).then(|| groups.at_once()),
            },
            data: setup.fingerprints.clone(),
            options: args.written(
                &setup.options,
                setup.splits.len(),
                &setup.files,
                &setup.labelling,
                &device,
            ),
        };
        let path = match &args.out {
            Some(path) => path.clone(),
            None => RunDirectory::free(&setup.task.source.name, &setup.task.target.name),
        };
        let directory = RunDirectory::create(&path, args.force)?;
        let splits = data::splits_to_json(&setup.splits);
        let written = directory
            .write(run::SPLITS, splits.as_bytes())
            .and_then(|()| directory.write(run::CONFIG, config.to_toml().as_bytes()));
        match written {
            Ok(()) => Ok(directory),
            Err(error) => {
                discard(directory, self.trainer.text);
                Err(error)
            }
        }
    }

    /// Says what is going to be trained, and where.
    fn announce(&self, directory: &RunDirectory, plan: &Plan) -> Result<()> {
        let (setup, args, text) = (self.setup, self.trainer.args, self.trainer.text);
        let partitions = setup.splits.len();
        text.line(format_args!(
            "{} epochs of {}, recipe {}, {} each, on {}, in {}",
            setup.options.epochs,
            counted(partitions, "partition"),
            args.recipe(),
            counted(setup.options.members, "network"),
            setup.chosen.device,
            directory.path().display()
        ))?;
        if plan.groups.count() > 1 {
            text.line(format_args!(
                "{partitions} partitions in {} groups of at most {}, one after the other: {}",
                plan.groups.count(),
                plan.groups.at_once(),
                plan.reason
            ))?;
        }
        Ok(())
    }

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
            let mut progress = Progress::new(&self.setup.options, "", &session, text);
            let mut show = |epoch: &EpochMetrics| progress.show(epoch);
            let outcome = self.record(&directory, &finished, &mut session, &mut show);
            progress.finish();
            let initial = session.into_initial().swap_remove(0);
            let (outcome, metrics) = match outcome {
                Ok(ended) => ended,
                Err(stopped) => {
                    return Err(stopped.told(directory, self.stage == Stage::New, text));
                }
            };
            finished.take(&self.setup.problem, &self.setup.splits, &outcome, metrics);
            let (setup, parameters) = (self.setup, outcome.parameters);
            let task = &setup.task;
            let prototypes = outcome.prototypes;
            let models =
                TrainedModel::of_run(task, &setup.problem, &setup.options, parameters, prototypes);
            self.kept(&directory, || {
                for (p, model) in group.zip(models) {
                    model.save(&directory.file(&model_file::name(p)))?;
                    if p == 0 {
                        let picture = embedding(task, &setup.splits[p], &model, &initial)?;
                        directory.write(run::EMBEDDING, &picture)?;
                    }
                }
                Ok(())
            })?;
            let Some(next) = groups.after(finished.partitions.len()) else {
                break;
            };
            self.kept(&directory, || finished.save(&directory))?;
            session = match self
                .trainer
                .session(&self.setup.problem, next, &self.setup.options)
            {
                Ok(session) => session,
                Err(error) => {
                    let stopped = Stopped::before(error, &finished);
                    return Err(stopped.told(directory, self.stage == Stage::New, text));
                }
            };
        }
        let ms_per_epoch = finished.ms_per_epoch();
        let labels = finished.predictions.finish(&self.setup.splits);
        let table = predictions::to_csv(&labels, &self.setup.task.classes);
        self.kept(&directory, || directory.write(run::PREDICTIONS, &table))?;
        let (args, device) = (self.trainer.args, self.trainer.chosen.device.to_string());
        let (recipe, select) = (args.recipe(), args.select(&self.setup.options));
        let summary = Summary::new(
            &self.setup.task,
            finished.partitions,
            device,
            recipe,
            select,
        );
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
        let started = Recorder::new(
            directory,
            finished,
            networks,
            self.setup.checkpoints,
            show,
            &note,
        );
        let (mut recorder, found) = started.map_err(before)?;
        let mut told = Vec::new();
        if let Some(start) = found {
            let restored = session.restore(&start.snapshot).map_err(before)?;
            let wrong = |cause| before(Error::file(&start.path, cause));
            restored.map_err(wrong)?;
            told = start.told;
        }
        let outcome = train_watched(session, &self.setup.options, told, &mut recorder);
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
        let footprint = Footprint::of_run(
            &self.setup.task,
            self.setup.splits.len(),
            &self.setup.options,
        );
        text.detail(format_args!(
            "{} of {} parameters each, in about {} of memory",
            counted(session.networks(), "network"),
            session.dimensions().parameter_count(),
            memory::shown(footprint.needed(groups.at_once()))
        ))?;
        let each = self
            .setup
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
            let (problem, options) = kind.of(&self.setup.problem, &self.setup.options, args.seed);
            let outcome = trainer.compare(groups, &problem, &options, kind.name(), directory)?;
            result.summary.add_control(kind, &outcome);
            result.save(directory)?;
        }
        match comparisons.transfer {
            Some(plans) => {
                let (problem, options) = (&self.setup.problem, &self.setup.options);
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
