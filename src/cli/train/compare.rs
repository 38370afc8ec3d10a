//! What a run is compared with: controls on its partitions, and cross-validation on the labelled
//! target rows.

use super::super::options::TrainArgs;
use super::trainer::Trainer;
use crate::data::Task;
use crate::error::Result;
use crate::run::{RunDirectory, TransferSummary};
use crate::train::memory::{self, Footprint, Limit};
use crate::train::{Control, Groups, Options, Problem, transfer};

/// Groups of what a run is compared with.
pub(super) struct Comparisons {
    pub controls: Vec<(Control, Groups)>,
    /// Folds of each partition; groups of the run and of each of [`Control::ALL`] on all folds.
    pub transfer: Option<(usize, Vec<Groups>)>,
}

impl Comparisons {
    /// What `args` ask for, as far as there are enough labelled rows, and of controls as far as there
    /// are labels to compare on.
    ///
    /// # Errors
    /// It does not fit into memory.
    pub fn plan(
        args: &TrainArgs,
        task: &Task,
        problem: &Problem,
        options: &Options,
        limit: Option<Limit>,
    ) -> Result<Comparisons> {
        let partitions = problem.partitions.len();
        let controls = args.controls().into_iter();
        let controls = controls.filter(|_| problem.has_truth()).map(|kind| {
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
pub(super) fn check_transfer(
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
    let mut controls = Vec::new();
    for (kind, &groups) in Control::ALL.into_iter().zip(&groups[1..]) {
        let (problem, options) = kind.of(&folds, &options, trainer.args.seed);
        controls.push((kind, train(groups, &problem, &options, kind.name())?));
    }
    Ok(TransferSummary::new(&folds, &run, &controls))
}
