//! What trains a run and what it is compared with.

use std::ops::Range;

use super::super::options::TrainArgs;
use super::super::output::{Text, counted};
use super::progress::Progress;
use crate::device::Chosen;
use crate::error::{Error, Result};
use crate::model::Parameters;
use crate::run::{Interrupt, RunDirectory};
use crate::train::memory::{Limit, Plan};
use crate::train::{
    EpochMetrics, Groups, Options, PartitionResult, Pause, Problem, Session, Snapshot, Watch,
    train_watched,
};

/// Device, options and initial parameters of a run.
pub(super) struct Trainer<'a> {
    pub chosen: &'a Chosen,
    pub args: &'a TrainArgs,
    pub text: &'a Text,
    /// Initial parameters of every network, instead of drawn ones.
    pub given: Option<Parameters>,
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

    /// The step of the group `partitions`, on the device.
    pub fn session<'p>(
        &self,
        problem: &'p Problem,
        partitions: Range<usize>,
        options: &Options,
    ) -> Result<Session<'p, f32>> {
        let initial = self.initial(problem, partitions.clone(), options);
        let (device, cuda) = (self.chosen.device, self.args.cuda_options());
        let load = |graph| device.load_with(graph, cuda, &|note| self.text.note(note));
        Session::group(problem, partitions, options, initial, load)
    }

    /// The `plan` with groups that fit on a CUDA device too.
    pub fn fit_card(&self, plan: Plan, problem: &Problem, options: &Options) -> Result<Plan> {
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
    pub fn compare(
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
            let mut session = self.session(problem, group, options)?;
            let mut listener = Listener {
                interrupt: Interrupt::catch()?,
                progress: Progress::new(options, name, &session, self.text),
            };
            let outcome = train_watched(&mut session, options, Vec::new(), &mut listener);
            listener.progress.finish();
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
