//! One recorded step with its data: what a training run replays.

use std::borrow::Cow;
use std::ops::Range;

use rayon::prelude::*;

use crate::device::Device;
use crate::error::{Cause, Result};
use crate::graph::{Graph, Labels, Var};
use crate::model::{Dimensions, Domain, Form, Model, Parameters};
use crate::objective::{Inputs, Objective, Terms};
use crate::ops::{advance, record_metrics, schedule, softmax_rows};
use crate::real::Real;
use crate::train::pseudo_labels::Heard;
use crate::train::select::consensus;
use crate::train::{
    ClassPrototypes, EpochMetrics, Neighbours, Opinions, Options, PartitionLabels, Problem,
    PseudoLabels, Select, Selection, Snapshot, vote,
};

/// Epochs of metrics that the device keeps before they are read back.
pub(super) const RING: usize = 64;

/// Scalars in each.
const METRICS: usize = 12;

/// A recorded SSAN step for partitions of a problem, all of them or a group, ready to replay.
pub struct Session<'a, T: Real> {
    problem: &'a Problem,
    /// Which partitions of the problem.
    partitions: Range<usize>,
    /// What each network started from: weights in Gram form are formed from it.
    initial: Cow<'a, [Parameters]>,
    device: Box<dyn Device<T>>,
    model: Model,
    terms: Terms,
    ring: Var,
    pseudo_targets: Option<Labels>,
    /// What pseudo-labels are made from; nothing without them.
    heard: Vec<Heard<T>>,
    selection: Selection<T>,
    objective: Objective,
    /// Rows behind each accuracy: source, labelled, unlabelled of known class; per partition.
    counts: Vec<[usize; 3]>,
    /// Whether the class of every unlabelled row is known, per partition.
    all_known: Vec<bool>,
    /// Steps replayed.
    steps: usize,
    /// Loss terms of the last epoch that was read, waiting for its accuracies; per network.
    pending: Vec<Option<EpochMetrics>>,
}

impl<'a, T: Real> Session<'a, T> {
    /// Records the step of all partitions, with network `i` starting from `initial[i]`, and loads it
    /// to a device.
    ///
    /// # Errors
    /// What `load` returns.
    pub fn new(
        problem: &'a Problem,
        options: &Options,
        initial: impl Into<Cow<'a, [Parameters]>>,
        load: impl FnOnce(Graph<T>) -> Result<Box<dyn Device<T>>>,
    ) -> Result<Session<'a, T>> {
        Session::group(problem, problem.all(), options, initial, load)
    }

    /// As [`Session::new`], of the group `partitions` alone; `initial` are its networks'. Partitions
    /// keep their numbers.
    ///
    /// # Errors
    /// What `load` returns.
    pub fn group(
        problem: &'a Problem,
        partitions: Range<usize>,
        options: &Options,
        initial: impl Into<Cow<'a, [Parameters]>>,
        load: impl FnOnce(Graph<T>) -> Result<Box<dyn Device<T>>>,
    ) -> Result<Session<'a, T>> {
        let initial = initial.into();
        let Recorded {
            graph,
            model,
            terms,
            ring,
            pseudo_targets,
        } = record(problem, partitions.clone(), options, &initial);
        let known = |labels: &[i32]| labels.iter().filter(|&&l| l >= 0).count();
        let labels = &problem.partitions[partitions.clone()];
        let counts = labels.iter();
        let counts = counts
            .map(|p| [known(&p.source), known(&p.labelled), known(&p.truth)])
            .collect();
        let all_known = labels.iter();
        let all_known = all_known
            .map(|p| known(&p.truth) == known(&p.unlabelled))
            .collect();
        Ok(Session {
            problem,
            initial,
            device: load(graph)?,
            model,
            terms,
            ring,
            pseudo_targets,
            heard: vec![Heard::nothing(); pseudo_targets.map_or(0, |_| partitions.len())],
            selection: Selection::new(),
            objective: options.objective,
            counts,
            all_known,
            steps: 0,
            pending: vec![None; partitions.len() * problem.members],
            partitions,
        })
    }

    /// Ends it, and what it has on the device with it. Returns what each network started from.
    pub fn into_initial(self) -> Vec<Parameters> {
        self.initial.into_owned()
    }

    /// Replays `epochs` epochs, at most as many as the device keeps metrics of. Returns what is
    /// complete then: the accuracies of an epoch come from the forward pass of the next.
    ///
    /// # Errors
    /// The device fails.
    pub fn run(&mut self, epochs: usize) -> Result<Vec<EpochMetrics>> {
        assert!(epochs <= RING, "at most {RING} epochs between readings");
        let first = self.steps;
        self.device.steps(epochs)?;
        self.steps += epochs;
        self.read(first..self.steps)
    }

    /// All that the rest of the run depends on, as it is between two steps.
    ///
    /// # Errors
    /// The device fails.
    pub fn snapshot(&self) -> Result<Snapshot<T>> {
        let state = self.device.graph().state().into_iter();
        let values = state.map(|var| self.device.read(var));
        let heard = self.heard.iter().map(|heard| Ok(heard.to_values()));
        let values = values.chain(heard);
        let labels = self.pseudo_targets.into_iter();
        let labels = labels.map(|labels| self.device.read_labels(labels));
        Ok(Snapshot {
            epochs: self.steps,
            values: values.collect::<Result<_>>()?,
            labels: labels.collect::<Result<_>>()?,
            selection: self.selection.clone(),
        })
    }

    /// Goes on from a snapshot of a session of the same problem, options and initial parameters.
    /// The error says why the snapshot is of another.
    ///
    /// # Errors
    /// The device fails.
    pub fn restore(&mut self, snapshot: &Snapshot<T>) -> Result<Cause<()>> {
        let refused = Ok(Err("is of a run with other data or options".to_string()));
        let state = self.device.graph().state();
        let Some((values, heard)) = snapshot.values.split_at_checked(state.len()) else {
            return refused;
        };
        let lengths = |all: &[Vec<T>]| -> Vec<usize> { all.iter().map(Vec::len).collect() };
        let sizes: Vec<usize> = state.iter().map(|var| var.shape.len()).collect();
        let labels = self.pseudo_targets.iter().map(|l| l.partitions * l.rows);
        let labelled = snapshot.labels.iter().map(Vec::len).eq(labels);
        let entries = self.problem.target.rows() * self.problem.classes;
        let heard = heard.iter().map(|all| Heard::from_values(all, entries));
        let heard: Option<Vec<Heard<T>>> = heard.collect();
        let Some(heard) = heard.filter(|heard| heard.len() == self.heard.len()) else {
            return refused;
        };
        let chosen = &snapshot.selection.chosen;
        let kept = lengths(&snapshot.selection.values);
        let parameters = self.device.graph().parameters().iter();
        let parameters: Vec<usize> = parameters.map(|var| var.shape.len()).collect();
        let selected = (chosen.len() == self.partitions.len() && kept == parameters)
            || (chosen.is_empty() && kept.is_empty());
        let state_fits = lengths(values) == sizes && snapshot.epochs > 0;
        if !(state_fits && labelled && selected) {
            return refused;
        }
        for (var, values) in state.into_iter().zip(values) {
            self.device.write(var, values)?;
        }
        self.heard = heard;
        for (labels, values) in self.pseudo_targets.into_iter().zip(&snapshot.labels) {
            self.device.write_labels(labels, values)?;
        }
        self.selection = snapshot.selection.clone();
        self.steps = snapshot.epochs;
        self.pending = vec![None; self.networks()];
        self.read(self.steps - 1..self.steps)?;
        Ok(Ok(()))
    }

    /// Metrics of the last epoch, of every network, but for the accuracies that the next forward
    /// pass will tell; none before the first epoch.
    pub(super) fn pending(&self) -> impl Iterator<Item = &EpochMetrics> {
        self.pending.iter().flatten()
    }

    /// The metrics of the last epoch, by one more forward pass.
    ///
    /// # Errors
    /// The device fails.
    pub fn finish(&mut self) -> Result<Vec<EpochMetrics>> {
        self.device.forward()?;
        self.read(self.steps..self.steps + 1)
    }

    /// Completes the pending epoch of every network with the accuracies in the ring at each of
    /// `forwards`, and keeps the loss terms there as pending.
    fn read(&mut self, forwards: std::ops::Range<usize>) -> Result<Vec<EpochMetrics>> {
        let ring = self.device.read(self.ring)?;
        let mut complete = Vec::new();
        for forward in forwards {
            for (network, pending) in self.pending.iter_mut().enumerate() {
                let members = self.problem.members;
                let (p, member) = (network / members, network % members);
                let start = self.ring.at(network).start + forward % RING * METRICS;
                let row: [f64; METRICS] = std::array::from_fn(|i| ring[start + i].wide());
                // In the order of `metrics`.
                let [
                    total,
                    source_ce,
                    labelled_ce,
                    soft,
                    adversarial,
                    alignment,
                    selected,
                    source,
                    labelled,
                    unlabelled,
                    pseudo_ce,
                    selected_correct,
                ] = row;
                if let Some(mut epoch) = pending.take() {
                    let of = |right: f64, n: usize| (n > 0).then(|| 100.0 * right / n as f64);
                    let counts = self.counts[p];
                    epoch.source_acc = of(source, counts[0]);
                    epoch.labelled_acc = of(labelled, counts[1]);
                    epoch.unlabelled_acc = of(unlabelled, counts[2]);
                    complete.push(epoch);
                }
                // With α = 1 the plain cross-entropy is in the total alone, as in the release.
                let alpha = self.objective.alpha;
                let per_class = self.objective.per_class(self.problem.classes);
                *pending = Some(EpochMetrics {
                    partition: self.partitions.start + p,
                    member,
                    epoch: forward,
                    total,
                    source_ce,
                    hard: (1.0 - alpha) * labelled_ce,
                    soft: alpha * per_class * soft,
                    adversarial,
                    alignment: per_class * alignment,
                    pseudo_ce,
                    selected: selected as usize,
                    selected_correct: self.all_known[p].then_some(selected_correct as usize),
                    source_acc: None,
                    labelled_acc: None,
                    unlabelled_acc: None,
                });
            }
        }
        Ok(complete)
    }

    /// Keeps the votes of networks with these `opinions` for the pseudo-labels, where they fit the
    /// target's neighbourhoods no worse than those kept before.
    pub(super) fn hear(&mut self, opinions: &[Opinions]) {
        let graph = self.graph_for_labels();
        let (members, classes) = (self.problem.members, self.problem.classes);
        let each = opinions.par_chunks_exact(members).zip(self.labels());
        let each = each.map(|(opinions, labels)| {
            let vote = vote(opinions);
            (consensus(graph, &vote, labels, classes), vote)
        });
        let each: Vec<(f64, Vec<f64>)> = each.collect();
        for (heard, (consensus, vote)) in self.heard.iter_mut().zip(each) {
            heard.hear(consensus, &vote);
        }
    }

    fn graph_for_labels(&self) -> &'a Neighbours {
        let graph = self.problem.neighbours.as_ref();
        graph.expect("the problem was made for pseudo-labels")
    }

    /// Makes new pseudo-labels from the votes kept by [`Session::hear`]; the steps that follow train on
    /// them.
    ///
    /// # Errors
    /// The device fails.
    pub(super) fn label(&mut self, how: &PseudoLabels) -> Result<()> {
        let graph = self.graph_for_labels();
        let targets = self.pseudo_targets;
        let targets = targets.expect("the step was recorded with pseudo-labels");
        let (members, classes) = (self.problem.members, self.problem.classes);
        let partitions = self.heard.par_iter().zip(self.labels());
        let made = partitions.flat_map_iter(|(heard, labels)| {
            let vote: Vec<f64> = heard.vote.iter().map(|x| x.wide()).collect();
            let made = how.make(&self.problem.target, graph, &vote, classes, labels);
            std::iter::repeat_n(made, members).flatten()
        });
        let made: Vec<i32> = made.collect();
        self.device.write_labels(targets, &made)
    }

    /// Rows of each partition that have a pseudo-label; `None` of a session without them.
    ///
    /// # Errors
    /// The device fails.
    pub(super) fn pseudo_labelled(&self) -> Result<Option<Vec<usize>>> {
        let Some(targets) = self.pseudo_targets else {
            return Ok(None);
        };
        let labels = self.device.read_labels(targets)?;
        let of_partition = self.problem.members * targets.rows;
        let counts = labels
            .chunks_exact(of_partition)
            // Each of a partition's networks has the same.
            .map(|labels| labels[..targets.rows].iter().filter(|&&k| k >= 0).count());
        Ok(Some(counts.collect()))
    }

    /// Considers the networks as they are now as what is kept.
    ///
    /// # Errors
    /// The device fails.
    pub(super) fn consider(&mut self, how: Select) -> Result<()> {
        let parameters = self.device.graph().parameters().to_vec();
        let read = |device: &dyn Device<T>| -> Result<Vec<Vec<T>>> {
            parameters.iter().map(|&var| device.read(var)).collect()
        };
        let (problem, steps) = (self.problem, self.steps);
        if how == Select::Average {
            let values = read(&*self.device)?;
            let partitions = self.partitions.len();
            self.selection.average(partitions, steps, values);
            return Ok(());
        }
        self.device.forward()?;
        let opinions = self.opinions()?;
        let partitions = opinions.chunks_exact(problem.members);
        let partitions = partitions.zip(self.labels());
        let scores: Vec<f64> = match (how, &problem.neighbours) {
            (Select::BestTest, _) => partitions
                .map(|(opinions, labels)| labels.evaluate(opinions, problem.classes))
                .map(|evaluation| evaluation.map_or(0.0, |e| e.accuracy))
                .collect(),
            (_, Some(graph)) => partitions
                .map(|(opinions, labels)| {
                    consensus(graph, &vote(opinions), labels, problem.classes)
                })
                .collect(),
            (_, None) => panic!("the problem was made without the graph of its target"),
        };
        let better = self.selection.better(steps, &scores);
        if better.is_empty() {
            return Ok(());
        }
        let values = read(&*self.device)?;
        if self.selection.values.is_empty() {
            self.selection.values = values;
            return Ok(());
        }
        let kept = self.selection.values.iter_mut();
        for ((kept, values), var) in kept.zip(&values).zip(&parameters) {
            for p in &better {
                for network in p * problem.members..(p + 1) * problem.members {
                    kept[var.at(network)].copy_from_slice(&values[var.at(network)]);
                }
            }
        }
        Ok(())
    }

    /// Epochs after which no partition's candidate was better than all before.
    pub(super) fn settled(&self) -> usize {
        self.selection.settled()
    }

    /// Puts the networks that are kept in the place of the last ones, with a forward pass of
    /// theirs, and returns the epochs each partition's were trained.
    ///
    /// # Errors
    /// The device fails.
    pub(super) fn choose(&mut self) -> Result<Vec<usize>> {
        if self.selection.chosen.is_empty() {
            return Ok(vec![self.steps; self.partitions.len()]);
        }
        let parameters = self.device.graph().parameters().to_vec();
        for (var, values) in parameters.into_iter().zip(&self.selection.values) {
            self.device.write(var, values)?;
        }
        self.device.forward()?;
        let chosen = self.selection.chosen.iter();
        Ok(chosen.map(|chosen| chosen.epochs).collect())
    }

    /// What each network and its prototypes said of the target rows in the last forward
    /// pass; after [`Session::finish`]: those of the last epoch.
    ///
    /// # Errors
    /// The device fails.
    pub fn opinions(&self) -> Result<Vec<Opinions>> {
        let (logits, labels) = (self.terms.target_logits, self.terms.nearest);
        let z = self.device.read(logits)?;
        let asked = self.terms.prototypes.is_some();
        let nearest = asked.then(|| self.device.read_labels(labels)).transpose()?;
        let networks = 0..self.networks();
        let opinions = networks.map(|p| Opinions {
            probabilities: softmax_rows(&z[logits.at(p)], logits.shape.cols),
            nearest: nearest.as_ref().map(|all| all[labels.at(p)].to_vec()),
        });
        Ok(opinions.collect())
    }

    /// The prototypes behind [`Session::opinions`], of each network; `None` without a second
    /// opinion.
    ///
    /// # Errors
    /// The device fails.
    pub fn prototypes(&self) -> Result<Option<Vec<ClassPrototypes>>> {
        let Some((prototypes, similarity)) = self.terms.prototypes else {
            return Ok(None);
        };
        let values = self.device.read(prototypes.means)?;
        let each = values.chunks_exact(prototypes.means.shape.block());
        let each = each.map(|means| ClassPrototypes {
            similarity,
            means: means.iter().map(|x| x.wide()).collect(),
        });
        Ok(Some(each.collect()))
    }

    /// Parameters of every network as they are now.
    ///
    /// # Errors
    /// The device fails.
    pub fn parameters(&self) -> Result<Vec<Parameters>> {
        let features = [&self.problem.source, &self.problem.target];
        let read = |var| self.device.read(var);
        self.model.parameters(&self.initial, features, read)
    }

    /// What is trained on.
    pub fn problem(&self) -> &'a Problem {
        self.problem
    }

    /// Which partitions of it are trained.
    pub fn partitions(&self) -> Range<usize> {
        self.partitions.clone()
    }

    /// Their labels.
    pub fn labels(&self) -> &'a [PartitionLabels] {
        &self.problem.partitions[self.partitions()]
    }

    /// Networks that train side by side.
    pub fn networks(&self) -> usize {
        self.partitions.len() * self.problem.members
    }

    /// Epochs trained.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// What the source and the target projector's first layer is trained as.
    pub fn first_layers(&self) -> [Form; 2] {
        self.model.forms()
    }

    /// Sizes of the model.
    pub fn dimensions(&self) -> &Dimensions {
        self.model.dimensions()
    }

    /// Handles of the recorded results, to look into with [`Session::device`].
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The device with the step's buffers.
    pub fn device(&self) -> &dyn Device<T> {
        &*self.device
    }
}

/// The whole step, recorded.
struct Recorded<T: Real> {
    graph: Graph<T>,
    model: Model,
    terms: Terms,
    ring: Var,
    pseudo_targets: Option<Labels>,
}

/// What the ring keeps of each forward pass, read by [`Session::read`]. Checkpoints have it in this
/// order.
fn metrics(terms: &Terms) -> [Var; METRICS] {
    [
        terms.total,
        terms.source_ce,
        terms.labelled_ce,
        terms.soft,
        terms.adversarial,
        terms.alignment,
        terms.selected,
        terms.source_correct,
        terms.labelled_correct,
        terms.unlabelled_correct,
        terms.pseudo_ce,
        terms.selected_correct,
    ]
}

/// Records the step of the group `partitions`. What the first layers are trained as is a matter of
/// the whole run, so that every group computes what it would without groups.
fn record<T: Real>(
    problem: &Problem,
    partitions: Range<usize>,
    options: &Options,
    initial: &[Parameters],
) -> Recorded<T> {
    let mut graph = Graph::new(partitions.len() * problem.members);
    let g = &mut graph;
    let [source, target] = options.first_layers(problem);
    let domains = [
        Domain {
            features: &problem.source,
            form: source,
        },
        Domain {
            features: &problem.target,
            form: target,
        },
    ];
    let model = Model::record(
        g,
        problem.dimensions(options),
        options.logits,
        initial,
        domains,
    );
    let inputs = record_inputs(g, problem, partitions, options);
    let schedule = schedule(g, options.epochs, options.rate());
    let terms = options.objective.record(g, &model, &inputs, &schedule);
    let ring = record_metrics(g, schedule.epoch, &metrics(&terms), RING);
    g.differentiate(terms.total);
    let decay = options.weight_decay;
    options.optimizer.record(g, decay, &schedule);
    advance(g, schedule.epoch);
    Recorded {
        graph,
        model,
        terms,
        ring,
        pseudo_targets: inputs.pseudo_targets.map(|(labels, _)| labels),
    }
}

/// The step that a [`Session`] of all partitions loads to its device, to look at or to take
/// elsewhere.
pub fn recorded_step<T: Real>(
    problem: &Problem,
    options: &Options,
    initial: &[Parameters],
) -> Graph<T> {
    recorded_group(problem, problem.all(), options, initial)
}

/// That of a [`Session::group`].
pub(super) fn recorded_group<T: Real>(
    problem: &Problem,
    partitions: Range<usize>,
    options: &Options,
    initial: &[Parameters],
) -> Graph<T> {
    record(problem, partitions, options, initial).graph
}

/// Records the labels of the group `partitions`.
fn record_inputs<T: Real>(
    g: &mut Graph<T>,
    problem: &Problem,
    partitions: Range<usize>,
    options: &Options,
) -> Inputs {
    let (source, target) = (&problem.source, &problem.target);
    let gather = |of: &dyn Fn(usize) -> Vec<i32>| -> Vec<i32> {
        let partitions = partitions.clone();
        let networks = partitions.flat_map(|p| std::iter::repeat_n(p, problem.members));
        networks.flat_map(of).collect()
    };
    let partitions = &problem.partitions;
    let in_use = |p: usize| {
        let rows = partitions[p].labelled.iter().zip(&partitions[p].unlabelled);
        let in_use = rows.map(|(&l, &u)| if l >= 0 || u >= 0 { 0 } else { -1 });
        in_use.collect()
    };
    let labels = [
        (source.rows(), gather(&|p| partitions[p].source.clone())),
        (target.rows(), gather(&|p| partitions[p].labelled.clone())),
        (target.rows(), gather(&|p| partitions[p].unlabelled.clone())),
        (target.rows(), gather(&in_use)),
        (target.rows(), gather(&|p| partitions[p].truth.clone())),
    ];
    let pseudo_targets = options.pseudo_labels;
    let pseudo_targets = pseudo_targets.map(|how| (g.labels(target.rows()), how.weight));
    let [source_labels, labelled, unlabelled, target_rows, truth] =
        labels.map(|(rows, values)| g.given_labels(rows, values));
    Inputs {
        source_labels,
        labelled,
        unlabelled,
        target_rows,
        truth,
        pseudo_targets,
    }
}
