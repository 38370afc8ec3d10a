//! What a run is made of: options, device and data, read and checked before anything is written.

use super::super::config;
use super::super::options::{TaskFiles, TrainArgs};
use super::super::output::Text;
use super::compare::Comparisons;
use super::tell::describe;
use super::trainer::Trainer;
use crate::data::{self, Labelling, Split, Task};
use crate::device::{self, Chosen};
use crate::error::{Error, Result};
use crate::parameters;
use crate::run::{CheckpointEvery, Fingerprints};
use crate::train::memory::{Limit, Plan};
use crate::train::{Options, Problem, Select};

/// How far a run has come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    New,
    /// Some of it is to be trained.
    Interrupted,
    /// Only what it is compared with is left.
    Trained,
}

/// A run's options, device and data.
pub(super) struct Setup {
    pub options: Options,
    pub checkpoints: CheckpointEvery,
    pub chosen: Chosen,
    pub files: TaskFiles,
    pub fingerprints: Fingerprints,
    pub task: Task,
    pub limit: Option<Limit>,
    /// Groups that fit into memory.
    pub plan: Plan,
    pub labelling: Labelling,
    pub splits: Vec<Split>,
    pub problem: Problem,
}

impl Setup {
    /// Of a run at this `stage`.
    ///
    /// # Errors
    /// Options that cannot work, data that cannot be read or has changed since, or no memory.
    pub fn read(args: &TrainArgs, stage: Stage, text: &Text) -> Result<Setup> {
        let options = args.options()?;
        let partitions = args.partitions()?;
        let checkpoints = args.checkpoints()?;
        let chosen = choose(args, &options, text)?;

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
        let plan = match stage {
            Stage::New => Plan::new(&task, partitions, &options, args.at_once, limit)?,
            Stage::Interrupted => Plan::resumed(&task, partitions, &options, args.at_once, limit)?,
            // Nothing of it has to fit.
            Stage::Trained => Plan::resumed(&task, partitions, &options, args.at_once, None)?,
        };
        let labelling = labelling(args, &files, &task)?;
        let splits = task.splits(&labelling, partitions, args.seed)?;
        describe(text, &task, &splits)?;
        let problem = Problem::new(&task, &splits, &options);
        if options.select == Select::BestTest && !problem.has_truth() {
            return Err(Error::Usage(
                "--select best-test chooses by the labels of the unlabelled rows, and none of them \
                 is known"
                    .to_string(),
            ));
        }
        Ok(Setup {
            options,
            checkpoints,
            chosen,
            files,
            fingerprints,
            task,
            limit,
            plan,
            labelling,
            splits,
            problem,
        })
    }

    /// What the run is compared with.
    ///
    /// # Errors
    /// It does not fit into memory.
    pub fn comparisons(&self, args: &TrainArgs, text: &Text) -> Result<Comparisons> {
        let comparisons =
            Comparisons::plan(args, &self.task, &self.problem, &self.options, self.limit)?;
        if comparisons.controls.is_empty() && !args.controls().is_empty() {
            text.note(
                "--baseline and --control compare accuracies on the unlabelled rows, none of whose \
                 labels is known: they are left out; --check-transfer compares on the labelled rows",
            );
        }
        Ok(comparisons)
    }

    /// What trains the run.
    ///
    /// # Errors
    /// The parameters of `--init` cannot be read, or are of another model.
    pub fn trainer<'a>(&'a self, args: &'a TrainArgs, text: &'a Text) -> Result<Trainer<'a>> {
        let dimensions = self.problem.dimensions(&self.options);
        let init = self.files.init.as_deref();
        let given = init.map(|file| parameters::load(file, &dimensions));
        Ok(Trainer {
            chosen: &self.chosen,
            args,
            text,
            given: given.transpose()?,
        })
    }
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
