//! The same on a card, and what only a card shows: replays of a graph against plain launches,
//! streams, training.
//!
//! Without a card these tests say in words that they did not run; with `SSAN_REQUIRE_CUDA=1` they
//! fail. With a card that cannot be used, for instance for want of NVRTC, they fail. With the
//! stand-in of `tests/stand_in/` they do less of the same.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use ssan::Result;
use ssan::data::{self, Matrix, Normalisation, Task};
use ssan::device::rung::Arithmetic;
use ssan::device::{Choice, Cuda, CudaOptions, Device, Precision, available};
use ssan::graph::Graph;
use ssan::real::Real;
use ssan::train::{
    EpochMetrics, FirstLayer, Options, PartitionLabels, Problem, Session, recorded_step, train,
};

use crate::card::{present, times};
use crate::cases::{Load, SIDE_BY_SIDE, cases, draws, random_cases};
use crate::rungs::PRECISIONS;
use crate::stand_in::{StandIn, run_tests};
use crate::{golden, gradients, rungs, stand_in, traces};

fn load<T: Real>(graph: Graph<T>, use_graph: bool) -> Result<Box<dyn Device<T>>> {
    let options = CudaOptions {
        use_graph,
        precision: Precision::Fp32,
    };
    Choice::Cuda(0).load_with(graph, options, &|_| {})
}

/// Calls `check` with each precision that the card has, what it computes in, and what loads a
/// recording for it.
fn in_each_precision(check: impl Fn(Arithmetic, &Load<f32>)) {
    let found = available().expect("there is a card");
    for precision in PRECISIONS {
        let Ok(arithmetic) = precision.arithmetic::<f32>(found.cards[0].capability) else {
            continue;
        };
        check(arithmetic, &move |graph| {
            let use_graph = true;
            let options = CudaOptions {
                use_graph,
                precision,
            };
            Choice::Cuda(0).load_with(graph, options, &|_| {})
        });
    }
}

fn every_operation_agrees<T: Real>(use_graph: bool) {
    let load = move |graph| load(graph, use_graph);
    let cases = cases::<T>().into_iter();
    let failed: Vec<String> = cases.filter_map(|c| c.compare(&load).err()).collect();
    assert!(
        failed.is_empty(),
        "{} cases fail:\n{}",
        failed.len(),
        failed.join("\n")
    );
}

/// These tests on a stand-in, which runs what the driver leaves open in two ways. Left out are
/// those that compare single operations, which the host's kernels were compared in already.
#[test]
fn what_a_card_shows_a_stand_in_shows() {
    if stand_in::inside() {
        return;
    }
    let Some(stand_in) = StandIn::new("the card's tests on a stand-in") else {
        return;
    };
    let without = ["agrees_with_the_cpu_", "the_gradient", "bit_for_bit"];
    let without = without.map(|name| ["--skip", name]).concat();
    let all = [&["cuda::"], &without[..]].concat();
    for (order, arguments) in [("others", all), ("7", vec!["bit_for_bit"])] {
        let output = run_tests(&stand_in, order, &arguments);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{order}: {said}");
        let [kernels, graphs] = stand_in.launches();
        println!("{order}: {kernels} launches, {graphs} graphs; {said}");
        assert!(kernels > 1000 && graphs > 10, "tests ran: {said}");
    }
}

#[test]
fn every_operation_agrees_at_random() {
    if !present("every operation at random sizes on the card against the CPU") {
        return;
    }
    let (count, seed) = draws();
    for n in 0..count {
        for case in random_cases::<f64>(seed, n) {
            let compared = case.compare(&|graph| load(graph, true));
            compared.unwrap_or_else(|e| panic!("SSAN_CASES_SEED={seed}, draw {n}: {e}"));
        }
    }
}

#[test]
fn every_operation_agrees_with_the_cpu_in_float() {
    if present("every operation on the card against the CPU, in float") {
        every_operation_agrees::<f32>(true);
    }
}

#[test]
fn every_operation_agrees_with_the_cpu_in_double() {
    if present("every operation on the card against the CPU, in double") {
        every_operation_agrees::<f64>(true);
    }
}

#[test]
fn every_operation_agrees_with_the_cpu_by_plain_launches() {
    if present("every operation on the card, launched plainly, against the CPU") {
        every_operation_agrees::<f32>(false);
    }
}

/// On the rungs that the sizes of real training have.
#[test]
fn products_side_by_side_agrees_with_the_cpu_in_each_precision() {
    if present("products of many partitions on the card against the CPU, in each precision") {
        in_each_precision(|arithmetic, load| {
            let partitions = times(SIDE_BY_SIDE, 1);
            rungs::products_side_by_side_agree(partitions, arithmetic, load);
        });
    }
}

#[test]
fn the_card_follows_every_trace() {
    if !present("the released code's traces on the card, in double") {
        return;
    }
    for first_layer in [FirstLayer::Direct, FirstLayer::Gram] {
        for name in golden::TRACES {
            println!("{name}, {first_layer:?}");
            let epochs = times(usize::MAX, 3);
            golden::follow(&golden::path(name), epochs, first_layer, |graph| {
                load(graph, true)
            });
        }
    }
}

#[test]
fn the_card_gives_the_gradient_of_the_loss_it_computes() {
    if present("the gradient on the card against finite differences, in double") {
        gradients::check(&|graph| load(graph, true));
    }
}

#[test]
fn training_in_each_precision_reaches_the_losses_of_the_cpu() {
    if !present("training in tf32 and bf16 on the card compared with the CPU") {
        return;
    }
    in_each_precision(|arithmetic, load| {
        rungs::training_agrees(&problem(1), &options(times(40, 5)), arithmetic, load);
    });
}

/// Timing the launches of a step leaves no trace in its buffers.
#[test]
fn profiling_changes_nothing() {
    if !present("a profile of the step on the card") {
        return;
    }
    let problem = problem(1);
    let options = options(10);
    let initial = problem.initial_parameters(&options, 2020);
    let graph = recorded_step::<f32>(&problem, &options, &initial);
    let mut card = Cuda::load(graph, 0, CudaOptions::default()).unwrap();
    card.steps(2).unwrap();
    let before = contents(&card);
    assert!(!card.profile(times(1, 0), times(2, 1)).unwrap().is_empty());
    assert!(before == contents(&card), "the step's buffers have changed");
}

pub fn options(epochs: usize) -> Options {
    Options {
        epochs,
        common: times(64, 24),
        ..Options::PAPER
    }
}

/// Classes of the problem.
const CLASSES: usize = 10;

/// Unit rows around a random centre for each class, the class of row `i` being `i % CLASSES`.
fn blobs(seed: u64, rows: usize, cols: usize) -> Matrix {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut number = || f64::from(rng.next_u32()) / f64::from(u32::MAX) - 0.5;
    let centres: Vec<f64> = (0..CLASSES * cols).map(|_| number()).collect();
    let mut values = Vec::new();
    for row in 0..rows {
        let centre = &centres[row % CLASSES * cols..][..cols];
        values.extend(centre.iter().map(|c| c + 1.5 * number()));
    }
    let mut matrix = Matrix { rows, cols, values };
    matrix.normalise_rows();
    matrix
}

/// 323 source and 301 target rows (83 and 101 on the stand-in), 30 of which are labelled, others in
/// each partition.
pub fn problem(partitions: usize) -> Problem {
    let (source, target) = (times(323, 83), times(301, 101));
    let class = |i: usize| (i % CLASSES) as i32;
    let partition = |p: usize| {
        let labelled = |i: usize| (30 * p..30 * p + 30).contains(&i);
        let of = |f: &dyn Fn(usize) -> i32| (0..target).map(f).collect::<Vec<i32>>();
        PartitionLabels {
            source: (0..source).map(class).collect(),
            labelled: of(&|i| if labelled(i) { class(i) } else { -1 }),
            unlabelled: of(&|i| if labelled(i) { -1 } else { 0 }),
            truth: of(&|i| if labelled(i) { -1 } else { class(i) }),
        }
    };
    Problem {
        classes: CLASSES,
        members: 1,
        normalisation: [Normalisation::L2; 2],
        means: None,
        neighbours: None,
        source: blobs(1, source, 47).into(),
        target: blobs(2, target, 130).into(),
        partitions: (0..partitions).map(partition).collect(),
    }
}

/// The bundled digits.
fn digits(partitions: usize) -> Problem {
    let (source, target) = data::digits().expect("bundled");
    let task = Task::new(source, target).expect("a task");
    let splits = task.splits(&task.default_labelling(3), partitions, 2020);
    Problem::new(&task, &splits.expect("splits"), &Options::PAPER)
}

/// Everything that the device holds after some steps, bit by bit.
fn contents<T: Real>(device: &dyn Device<T>) -> Vec<(String, Vec<u8>)> {
    let graph = device.graph();
    let mut all = Vec::new();
    let bytes = |values: &[T]| bytemuck::cast_slice::<T, u8>(values).to_vec();
    for var in graph.vars() {
        let (name, value) = (graph.name(var), device.read(var).unwrap());
        all.push((name.to_string(), bytes(&value)));
        let grad = device.read_grad(var).unwrap();
        all.push((format!("gradient of {name}"), bytes(&grad)));
    }
    for (i, labels) in graph.all_labels().into_iter().enumerate() {
        let values = device.read_labels(labels).unwrap();
        all.push((
            format!("labels {i}"),
            bytemuck::cast_slice(&values).to_vec(),
        ));
    }
    all
}

fn same_bytes<T: Real>(what: &str, problem: &Problem, ways: [bool; 2]) {
    for first_layer in [FirstLayer::Direct, FirstLayer::Gram] {
        let options = Options {
            first_layer,
            ..options(1000)
        };
        let initial = problem.initial_parameters(&options, 2020);
        let run = |use_graph| {
            let load = |graph: Graph<T>| load(graph, use_graph);
            let session = Session::new(problem, &options, &initial, load);
            let mut session = session.unwrap_or_else(|e| panic!("{e}"));
            for steps in [1, 2, times(50, 1)] {
                session.run(steps).unwrap();
            }
            contents(session.device())
        };
        let [first, second] = ways.map(run);
        assert_eq!(first.len(), second.len());
        for ((name, first), (_, second)) in first.iter().zip(&second) {
            assert!(
                first == second,
                "{what}, {}, {first_layer:?}: {name} differs at byte {:?}",
                T::C_NAME,
                first.iter().zip(second).position(|(a, b)| a != b)
            );
        }
    }
}

#[test]
fn graph_replays_equal_plain_launches_bit_for_bit() {
    if !present("graph replay compared with plain launches") {
        return;
    }
    for partitions in [1, 3] {
        let problem = problem(partitions);
        same_bytes::<f32>("replay and plain launches", &problem, [true, false]);
        // The stand-in runs both types in the same order.
        if partitions <= times(3, 1) {
            same_bytes::<f64>("replay and plain launches", &problem, [true, false]);
        }
    }
}

#[test]
fn two_runs_are_equal_bit_for_bit() {
    if !present("two runs on the card compared") {
        return;
    }
    let problem = problem(2);
    same_bytes::<f32>("two replays", &problem, [true, true]);
    same_bytes::<f32>("two runs of plain launches", &problem, [false, false]);
}

#[test]
fn a_snapshot_of_the_card_goes_on() {
    if !present("a snapshot of the card restored") {
        return;
    }
    traces::a_snapshot_goes_on::<f32>(|graph| Choice::Cuda(0).load(graph));
}

#[test]
fn training_agrees_with_the_cpu() {
    if !present("training on the card compared with the CPU") {
        return;
    }
    let problem = digits(times(2, 1));
    let options = options(times(300, 2));
    let initial = problem.initial_parameters(&options, 2020);
    let run = |choice: Choice| {
        let mut all: Vec<EpochMetrics> = Vec::new();
        let mut observe = |epoch: &EpochMetrics| {
            all.push(epoch.clone());
            Ok(())
        };
        let on = |graph: Graph<f32>| choice.load(graph);
        let outcome = train(&problem, &options, &initial, on, &mut observe);
        let outcome = outcome.unwrap_or_else(|e| panic!("{choice}: {e}"));
        (all, outcome.partitions)
    };
    let (expected, cpu) = run(Choice::Cpu);
    let (found, card) = run(Choice::Cuda(0));
    assert_eq!(expected.len(), found.len());
    let first = expected.iter().zip(&found).filter(|(e, _)| e.epoch < 50);
    for (e, f) in first {
        for (name, cpu, card) in [
            ("total", e.total, f.total),
            ("source_ce", e.source_ce, f.source_ce),
            ("hard", e.hard, f.hard),
            ("soft", e.soft, f.soft),
            ("adversarial", e.adversarial, f.adversarial),
            ("alignment", e.alignment, f.alignment),
        ] {
            let error = (cpu - card).abs() / cpu.abs().max(1.0);
            assert!(
                error <= 1e-4,
                "{name} of epoch {}: {card}, on the CPU {cpu}",
                e.epoch
            );
        }
    }
    for (cpu, card) in cpu.iter().zip(&card) {
        let accuracy = |of: Option<f64>| of.expect("all classes are known");
        let (cpu, card) = (accuracy(cpu.accuracy_last), accuracy(card.accuracy_last));
        assert!((cpu - card).abs() <= 2.0, "{card} %, on the CPU {cpu} %");
    }
}

#[test]
fn a_step_larger_than_the_card_is_an_error_that_says_what_helps() {
    if !present("a step that is larger than the card's memory") {
        return;
    }
    let mut graph = Graph::<f32>::new(1);
    // 1 TiB, which is never allocated on the host: it starts at 0.
    for _ in 0..1024 {
        graph.buffer("large", 1 << 14, 1 << 14);
    }
    let error = Cuda::load(graph, 0, CudaOptions::default())
        .map(drop)
        .unwrap_err();
    let error = error.to_string();
    for part in ["1048576 MiB", "MiB are free", "--max-memory"] {
        assert!(error.contains(part), "{error}");
    }
}
