//! What a run needs in memory, before anything is taken, and the groups of partitions that fit.

use std::fmt;

use bytesize::ByteSize;

use super::session::recorded_group;
use super::{Control, Groups, Options, Problem, Select};
use crate::data::{Features, Task};
use crate::device::launch::{Launches, Layout};
use crate::error::{Error, Result};
use crate::memory::available;
use crate::model::{Form, Layers, Parameters};
use crate::optim::Optimizer;
use crate::real::Real;

/// How much memory training may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// Bytes.
    pub bytes: f64,
    /// Who says so.
    pub origin: Origin,
}

/// What a [`Limit`] is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `--max-memory`.
    Given,
    /// What the host has available.
    Host,
    /// What is free on a CUDA device.
    Card,
}

impl Limit {
    /// The `given` number of bytes, else what the host has available; `None` where it does not tell.
    pub fn of_host(given: Option<u64>) -> Option<Limit> {
        let limit = |bytes: u64, origin| Limit {
            bytes: bytes as f64,
            origin,
        };
        match given {
            Some(bytes) => Some(limit(bytes, Origin::Given)),
            None => available().map(|bytes| limit(bytes, Origin::Host)),
        }
    }

    /// The `given` number of bytes where fewer than the `free` ones of a CUDA device, else these but
    /// for a reserve: modules, streams, graphs, products whose tiles several blocks make and the
    /// driver's rounding take some too, and who else uses the card may take more.
    pub fn of_card(given: Option<u64>, free: usize) -> Limit {
        let reserve = CARD_RESERVE.max(free as f64 / 20.0);
        let free = Limit {
            bytes: (free as f64 - reserve).max(0.0),
            origin: Origin::Card,
        };
        let given = given.and_then(|bytes| Limit::of_host(Some(bytes)));
        given
            .filter(|given| given.bytes < free.bytes)
            .unwrap_or(free)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let size = shown(self.bytes);
        match self.origin {
            Origin::Given => write!(f, "--max-memory allows {size}"),
            Origin::Host => write!(f, "{size} are available"),
            Origin::Card => write!(f, "{size} are free on the card, less a reserve"),
        }
    }
}

/// Bytes of a CUDA device that are left free at least.
const CARD_RESERVE: f64 = (256 << 20) as f64;

/// A number of bytes for people.
pub fn shown(bytes: f64) -> String {
    format!("{:.1}", ByteSize(bytes as u64))
}

/// Bytes that training takes, about, in `f32` on the CPU. `f64`s, since options may ask for more
/// than any integer counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Footprint {
    partitions: usize,
    /// Data, and what all partitions share.
    shared: f64,
    /// Of each partition from the beginning to the end: its labels, and what it says of the rows.
    kept: f64,
    /// Of each partition while it trains.
    trained: f64,
    /// What is held for a while before the first step, and between steps or after them.
    passing: [f64; 2],
    /// The latter of each partition.
    after_steps: f64,
}

/// A domain's features.
#[derive(Clone, Copy)]
struct Size {
    rows: f64,
    cols: f64,
    /// Numbers that are kept where they are sparse.
    stored: Option<f64>,
}

impl Size {
    fn of(features: &Features) -> Size {
        Size {
            rows: features.rows() as f64,
            cols: features.cols() as f64,
            stored: match features {
                Features::Dense(_) => None,
                Features::Sparse(_) => Some(features.stored() as f64),
            },
        }
    }

    /// Bytes in `f64`, sparse ones with the column of each value.
    fn bytes(self) -> f64 {
        match self.stored {
            None => 8.0 * self.rows * self.cols,
            Some(stored) => 12.0 * stored,
        }
    }
}

impl Footprint {
    /// Of a run of `partitions` partitions of `task`.
    pub fn of_run(task: &Task, partitions: usize, options: &Options) -> Footprint {
        Footprint::of(task, partitions, options, None, 1, true)
    }

    /// Of what such a run is compared with: the `control`, if it is one, of `partitions` partitions
    /// beside the run's data; `problems` is the number of [`Problem`]s that are held then.
    pub fn of_comparison(
        task: &Task,
        partitions: usize,
        options: &Options,
        control: Option<Control>,
        problems: usize,
    ) -> Footprint {
        Footprint::of(task, partitions, options, control, problems, false)
    }

    /// The same; `is_kept` says whether it leaves checkpoints and models.
    fn of(
        task: &Task,
        partitions: usize,
        options: &Options,
        control: Option<Control>,
        problems: usize,
        is_kept: bool,
    ) -> Footprint {
        let (source, target) = (&task.source.features, &task.target.features);
        let networks = partitions.saturating_mul(options.members);
        let dimensions = options.dimensions(source.cols(), target.cols(), task.classes.len());
        // Of each parameter, value and optimiser's state in f32, and its gradient; what is kept of it,
        // where the last is not; in f64 what it started from.
        let state = match options.optimizer {
            Optimizer::Sgd | Optimizer::MomentumSgd => 2.0,
            Optimizer::Adam => 3.0,
        };
        let selected = f64::from(u8::from(options.select != Select::Last));
        let held = 4.0 * (state + 1.0 + selected);
        // A checkpoint, and its file. In the end the value is read, and becomes f64.
        let checkpoint = f64::from(u8::from(is_kept)) * 2.0 * 4.0 * (state + selected);
        let result = 4.0 + 8.0;
        let after = checkpoint.max(result);
        let parameters = dimensions.parameter_count();
        let mut per_network = parameters * (8.0 + held);
        let mut after_steps = parameters * after;
        let (common, classes) = (options.common as f64, task.classes.len() as f64);
        let [source, target] = [source, target].map(Size::of);
        // As read, and as selected for each problem.
        let mut shared = (1.0 + problems as f64) * (source.bytes() + target.bytes());
        let trains_on = match control {
            None => source,
            Some(Control::TargetOnly) => Size {
                rows: 1.0,
                ..source
            },
            Some(Control::Noise) => Size {
                stored: None,
                ..source
            },
        };
        shared += trains_on.bytes() - source.bytes();
        let mut passing = 0.0f64;
        for size in [trains_on, target] {
            let Size { rows, cols, stored } = size;
            let hidden = (cols + common) / 2.0;
            // Hidden layer, features before and after normalisation, the reversed gradient, logits,
            // softmax and similarities: values and gradients. Labels.
            per_network += 4.0 * rows * (2.0 * hidden + 5.0 * common + 8.0 * classes) + 32.0 * rows;
            if options.first_layer_form(rows as usize, cols as usize, networks) == Form::Gram {
                // Instead of the weight: coefficients of the rows, their gradient and momentum, the
                // output of the initial weight. The products of all pairs of rows, of one domain at
                // a time in f64 too.
                let first = options.layers.first(cols as usize, options.common) as f64;
                per_network += first * (4.0 * (4.0 + selected) * rows - held * cols);
                after_steps += first * ((checkpoint * rows).max(result * cols) - after * cols);
                shared += 4.0 * rows * rows;
                passing = passing.max(8.0 * rows * rows);
            } else if stored.is_some() {
                shared += 4.0 * rows * cols;
                passing = passing.max(8.0 * rows * cols);
            }
            if stored.is_none() {
                shared += 4.0 * rows * cols;
            }
        }
        // Sums of what all networks say of the rows, for the vote.
        shared += 12.0 * target.rows * classes;
        // Split, labels, and the labels that the rows get, in memory and as text; confusions.
        let mut kept = 12.0 * source.rows + 180.0 * target.rows + 32.0 * classes * classes;
        if options.pseudo_labels.is_some() {
            // The vote that they are made from.
            kept += 4.0 * target.rows * classes;
        }
        Footprint {
            partitions,
            shared,
            // The file of a model, and a network in f32 that a picture is drawn with.
            passing: [passing, 4.0 * (options.members as f64 + 1.0) * parameters],
            kept,
            trained: options.members as f64 * per_network,
            after_steps: options.members as f64 * after_steps,
        }
    }

    /// Where at most `at_once` partitions train side by side.
    pub fn needed(&self, at_once: usize) -> f64 {
        let [before, after] = self.passing;
        let at_once = at_once as f64;
        let passing = before.max(after + self.after_steps * at_once);
        self.shared + passing + self.kept * self.partitions as f64 + self.trained * at_once
    }

    /// The largest number of partitions that fit side by side.
    pub fn room(&self, limit: Limit) -> usize {
        most_that_fit(self.partitions, |n| self.needed(n) <= limit.bytes)
    }
}

/// The largest number up to `most` that fits, where with it all smaller ones do; 0 if none.
fn most_that_fit(most: usize, fit: impl Fn(usize) -> bool) -> usize {
    let (mut fits, mut not) = (0, most.saturating_add(1));
    while not - fits > 1 {
        let between = fits.midpoint(not);
        match fit(between) {
            true => fits = between,
            false => not = between,
        }
    }
    fits
}

/// The groups that a run's partitions are trained in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The groups.
    pub groups: Groups,
    /// Why they are more than one.
    pub reason: String,
}

impl Plan {
    /// The fewest groups of `partitions` partitions of `task` that fit into memory, of at most
    /// `at_most` partitions where the run that is repeated had no more at once.
    ///
    /// # Errors
    /// Not even one partition fits; the message has the figure, and the options that would reduce
    /// it enough.
    pub fn new(
        task: &Task,
        partitions: usize,
        options: &Options,
        at_most: Option<usize>,
        limit: Option<Limit>,
    ) -> Result<Plan> {
        let mut plan = Plan {
            groups: Groups::new(partitions, at_most.unwrap_or(partitions).max(1)),
            reason: "as in the run that is repeated".to_string(),
        };
        let Some(limit) = limit else {
            return Ok(plan);
        };
        let footprint = Footprint::of_run(task, partitions, options);
        let room = footprint.room(limit);
        if room == 0 {
            let each = match partitions {
                1 => "",
                _ => ", one partition at a time,",
            };
            return Err(Error::Usage(format!(
                "training{each} needs about {} of memory, {limit}: {}",
                shown(footprint.needed(1)),
                remedy(limit, task, partitions, options)
            )));
        }
        plan.shrink(room, footprint.needed(partitions), limit);
        Ok(plan)
    }

    /// The groups of a run that goes on, at most `at_once` partitions in each as when it began.
    ///
    /// # Errors
    /// They do not fit into memory any more.
    pub fn resumed(
        task: &Task,
        partitions: usize,
        options: &Options,
        at_once: Option<usize>,
        limit: Option<Limit>,
    ) -> Result<Plan> {
        let plan = Plan {
            groups: Groups::new(partitions, at_once.unwrap_or(partitions).max(1)),
            reason: "as when the run began".to_string(),
        };
        let needed = Footprint::of_run(task, partitions, options).needed(plan.groups.at_once());
        match limit.filter(|limit| needed > limit.bytes) {
            None => Ok(plan),
            Some(limit) => Err(Error::Usage(format!(
                "the run trains {} of its partitions at once, which needs about {} of memory, \
                 {limit}: go on where there is more, or allow more with --max-memory",
                plan.groups.at_once(),
                shown(needed)
            ))),
        }
    }

    /// The groups that fit on a CUDA device too, by the buffers of the recorded step; `initial` are
    /// the parameters of the first two partitions' networks. A single partition is left to the
    /// device to refuse.
    pub fn on_card<T: Real>(
        mut self,
        problem: &Problem,
        options: &Options,
        initial: &[Parameters],
        limit: Limit,
    ) -> Plan {
        // With two partitions it shows which buffers all share.
        let graph = recorded_group::<T>(problem, 0..2, options, initial);
        let needed = |partitions: usize| {
            let layout = Layout::of_partitions(&graph, partitions * problem.members);
            layout.bytes::<T>().into_iter().sum::<usize>() as f64
        };
        let most = Launches::most_networks(&graph) / problem.members;
        let at_once = self.groups.at_once().min(most.max(1));
        let room = most_that_fit(at_once, |n| needed(n) <= limit.bytes);
        let all = self.groups.partitions();
        self.shrink(room.max(1), needed(all), limit);
        self
    }

    /// Makes the groups small enough for `room` partitions, where they are not.
    fn shrink(&mut self, room: usize, all_at_once: f64, limit: Limit) {
        if room < self.groups.at_once() {
            self.groups = Groups::new(self.groups.partitions(), room);
            self.reason = format!("all at once need about {}, {limit}", shown(all_at_once));
        }
    }
}

/// The fewest groups of what a run is compared with that fit into memory, see
/// [`Footprint::of_comparison`]; `name` is the option that asks for it.
///
/// # Errors
/// Not even one partition fits.
pub fn comparison_groups(name: &str, footprint: Footprint, limit: Option<Limit>) -> Result<Groups> {
    let partitions = footprint.partitions;
    let Some(limit) = limit else {
        return Ok(Groups::new(partitions, partitions));
    };
    match footprint.room(limit) {
        0 => Err(Error::Usage(format!(
            "{name}, one partition at a time, needs about {} of memory, {limit}: leave it out, or \
             allow more with --max-memory",
            shown(footprint.needed(1))
        ))),
        room => Ok(Groups::new(partitions, room)),
    }
}

/// What would fit: fewer networks of a partition; else a smaller one; else fewer partitions, whose
/// labels alone are too many; else nothing but less data.
fn remedy(limit: Limit, task: &Task, partitions: usize, options: &Options) -> String {
    let fits = |partitions, options: &Options| {
        Footprint::of_run(task, partitions, options).needed(1) <= limit.bytes
    };
    let halved =
        |n: usize| std::iter::successors(Some(n / 2), |n| Some(n / 2)).take_while(|&n| n > 0);
    let fewer = halved(options.members).map(|members| Options {
        members,
        ..*options
    });
    if let Some(fewer) = { fewer }.find(|options| fits(partitions, options)) {
        return format!("--members {} would fit", fewer.members);
    }
    let members = match options.members {
        1 => "",
        _ => "--members 1 ",
    };
    for layers in [options.layers, Layers::Single] {
        for common in std::iter::once(options.common).chain(halved(options.common)) {
            let smaller = Options {
                layers,
                common,
                members: 1,
                ..*options
            };
            if fits(partitions, &smaller) {
                let name = match layers {
                    Layers::Single => "single",
                    Layers::Double => "double",
                };
                return format!("{members}--layer {name} --d_common {common} would fit");
            }
        }
    }
    match halved(partitions).find(|&fewer| fits(fewer, options)) {
        Some(fewer) => format!("--partition {fewer} would fit"),
        None => "use fewer rows or features".to_string(),
    }
}
