//! Memory: the figure that a run is refused by, or cut into groups, against what it takes, and a
//! replay that keeps nothing. Counted by the allocator, over all threads: the one test of its binary, so that no
//! other test allocates beside it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering};

use ssan::data::{Domain, Label, Labelling, Matrix, Sparse, Task, Triplet};
use ssan::device::launch;
use ssan::device::{Choice, Cpu};
use ssan::error::Result;
use ssan::inference::TrainedModel;
use ssan::model::Layers;
use ssan::optim::Optimizer;
use ssan::run::Finished;
use ssan::run::checkpoint::Checkpoint;
use ssan::run::embedding::embedding;
use ssan::train::memory::{self, Footprint, Limit, Origin, Plan};
use ssan::train::{
    Control, EpochMetrics, FirstLayer, Groups, Options, Pause, Problem, Select, Session, Snapshot,
    Watch, recorded_step, train_watched,
};
use tempfile::TempDir;

#[path = "common/card.rs"]
mod card;
#[path = "common/requirement.rs"]
mod requirement;

struct Counting;

static HELD: AtomicIsize = AtomicIsize::new(0);
static PEAK: AtomicIsize = AtomicIsize::new(0);

fn add(bytes: isize) {
    let held = HELD.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(held, Ordering::Relaxed);
}

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size() as isize);
        // SAFETY: as promised by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        add(-(layout.size() as isize));
        // SAFETY: as promised by the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How far the figure may be from the truth, either way.
const FACTOR: f64 = 1.5;

fn domain(rows: usize, cols: usize, classes: usize) -> Domain {
    let value = |i: usize| (i as f64 * 0.7).sin();
    let mut features = Matrix {
        rows,
        cols,
        values: (0..rows * cols).map(value).collect(),
    };
    features.normalise_rows();
    Domain {
        name: "made".to_string(),
        columns: None,
        frequencies: false,
        features: features.into(),
        labels: (0..rows)
            .map(|i| Some(Label::Integer((i % classes) as i64)))
            .collect(),
        parts: vec![rows],
        notes: Vec::new(),
    }
}

/// Rows and columns of a source and a target, and classes.
type Sizes = ([usize; 2], [usize; 2], usize);

/// A task of these sizes.
fn task(([n, d], [m, e], classes): Sizes) -> Task {
    Task::new(domain(n, d, classes), domain(m, e, classes)).unwrap()
}

/// Keeps a checkpoint before every epoch but the first.
struct Keeper(TempDir);

impl Watch<f32> for Keeper {
    fn epoch(&mut self, _: &EpochMetrics) -> Result<()> {
        Ok(())
    }

    fn pause(&mut self, _: usize) -> Pause {
        Pause::Keep
    }

    fn asks_at(&self, next: usize) -> usize {
        next + 1
    }

    fn keep(&mut self, snapshot: Snapshot<f32>) -> Result<()> {
        let checkpoint = Checkpoint {
            first: 0,
            snapshot,
            metrics: 0,
        };
        checkpoint.save(self.0.path())
    }
}

/// The figure, and the most bytes that were held at once, from data to result, with at most
/// `at_once` partitions side by side.
fn figure_and_peak(
    sizes: Sizes,
    partitions: usize,
    at_once: usize,
    options: &Options,
) -> (f64, f64) {
    let before = HELD.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let task = task(sizes);
    let groups = Groups::new(partitions, at_once);
    let figure = Footprint::of_run(&task, partitions, options).needed(groups.at_once());
    let splits = task.splits(&Labelling::PerClass(2), partitions, 1).unwrap();
    let problem = Problem::new(&task, &splits, options);
    let mut finished = Finished::none(&splits, problem.classes);
    for group in groups.ranges() {
        let initial = problem.initial_parameters_of(group.clone(), options, 1);
        let load = |graph| Ok(Box::new(Cpu::<f32>::load(graph)) as _);
        let session = Session::group(&problem, group, options, initial, load);
        let mut session = session.unwrap();
        let mut kept = Keeper(TempDir::new().unwrap());
        let outcome = train_watched(&mut session, options, Vec::new(), &mut kept);
        let outcome = outcome.unwrap().unwrap();
        let initial = session.into_initial().swap_remove(0);
        finished.take(&problem, &splits, &outcome, 0);
        let (parameters, prototypes) = (outcome.parameters, outcome.prototypes);
        for model in TrainedModel::of_run(&task, &problem, options, parameters, prototypes) {
            model.save(&kept.0.path().join("model")).unwrap();
            embedding(&task, &splits[0], &model, &initial).unwrap();
        }
    }
    assert_eq!(finished.partitions.len(), partitions);
    drop(finished.predictions.finish(&splits));
    let peak = PEAK.load(Ordering::Relaxed) - before;
    (figure, peak as f64)
}

fn the_figure_is_near_the_truth() {
    let many_rows = ([3000, 40], [2500, 60], 5);
    let many_features = ([100, 900], [120, 1400], 4);
    let many_classes = ([600, 30], [900, 50], 300);
    for (sizes, partitions) in [(many_rows, 2), (many_features, 2), (many_classes, 3)] {
        for (base, optimizer, first_layer, layers) in [
            (
                Options::PAPER,
                Optimizer::MomentumSgd,
                FirstLayer::Direct,
                Layers::Double,
            ),
            (
                Options::PAPER,
                Optimizer::MomentumSgd,
                FirstLayer::Gram,
                Layers::Double,
            ),
            (
                Options::PAPER,
                Optimizer::Adam,
                FirstLayer::Direct,
                Layers::Single,
            ),
            (
                Options {
                    select: Select::Consensus,
                    ..Options::ROBUST
                },
                Optimizer::MomentumSgd,
                FirstLayer::Auto,
                Layers::Double,
            ),
        ] {
            let options = Options {
                optimizer,
                first_layer,
                layers,
                lr: 0.01,
                epochs: 2,
                common: 64,
                ..base
            };
            let members = options.members;
            let (figure, peak) = figure_and_peak(sizes, partitions, partitions, &options);
            println!(
                "{sizes:?}, {optimizer:?}, {first_layer:?}, {layers:?}, {members} members: \
                 {:.2} of {:.1} MB",
                figure / peak,
                peak / 1e6
            );
            assert!(
                (1.0 / FACTOR..FACTOR).contains(&(figure / peak)),
                "{sizes:?}, {optimizer:?}, {first_layer:?}, {layers:?}, {members} members: \
                 {figure:.3e} bytes foretold, {peak:.3e} taken"
            );
        }
    }
}

/// 10 000 steps leave as many bytes as 50.
fn replaying_keeps_nothing() {
    let task = Task::new(domain(6, 3, 2), domain(8, 4, 2)).unwrap();
    let splits = task.splits(&Labelling::PerClass(1), 2, 1).unwrap();
    for (optimizer, first_layer) in [
        (Optimizer::MomentumSgd, FirstLayer::Direct),
        (Optimizer::MomentumSgd, FirstLayer::Gram),
        (Optimizer::Adam, FirstLayer::Direct),
    ] {
        let options = Options {
            optimizer,
            first_layer,
            lr: 0.01,
            epochs: 20_000,
            common: 4,
            ..Options::PAPER
        };
        let problem = Problem::new(&task, &splits, &options);
        let initial = problem.initial_parameters(&options, 1);
        let load = |graph| Ok(Box::new(Cpu::<f32>::load(graph)) as _);
        let mut session = Session::new(&problem, &options, &initial, load).unwrap();
        // The thread pool and the products' workspaces are made at first use.
        session.run(50).unwrap();
        let before = HELD.load(Ordering::Relaxed);
        for _ in 0..200 {
            drop(session.run(50).unwrap());
        }
        let kept = HELD.load(Ordering::Relaxed) - before;
        // A thread of the pool that had not worked before may make its workspace now.
        assert!(
            kept < 4096,
            "{optimizer:?}, {first_layer:?}: {kept} bytes kept"
        );
    }
}

/// 10 000 steps on a card, and then twenty sessions, leave as much of its memory free as before.
fn replaying_keeps_nothing_on_a_card() {
    if !card::present("10 000 steps leave nothing on the card") {
        return;
    }
    let card = Choice::Cuda(0);
    let free = || card.free_memory().unwrap().expect("a card tells");
    let task = Task::new(domain(60, 30, 2), domain(80, 40, 2)).unwrap();
    let splits = task.splits(&Labelling::PerClass(1), 2, 1).unwrap();
    let options = Options {
        lr: 0.01,
        epochs: 20_000,
        common: 32,
        ..Options::PAPER
    };
    let problem = Problem::new(&task, &splits, &options);
    let initial = problem.initial_parameters(&options, 1);
    let session = || Session::<f32>::new(&problem, &options, &initial, |graph| card.load(graph));
    // Kernels are loaded and the driver's own memory is taken at first use.
    // A replay more than the first step and the captured one.
    let steps = card::times(50, 3);
    let warm = |mut session: Session<f32>| session.run(steps).map(drop);
    warm(session().unwrap()).unwrap();
    let without = free();
    let mut long = session().unwrap();
    long.run(steps).unwrap();
    let with = free();
    for _ in 0..card::times(200, 3) {
        drop(long.run(steps).unwrap());
    }
    // Others may use the card a little too.
    let alike = |now: usize, before: usize| now.abs_diff(before) < 4 << 20;
    assert!(alike(free(), with), "10 000 steps keep memory of the card");
    drop(long);
    for _ in 0..20 {
        warm(session().unwrap()).unwrap();
    }
    assert!(alike(free(), without), "sessions keep memory of the card");
}

/// In groups a run takes less, about as much as foretold, and more groups take less still.
fn groups_take_less() {
    let sizes = ([100, 900], [120, 1400], 4);
    let options = Options {
        epochs: 2,
        common: 64,
        members: 2,
        ..Options::ROBUST
    };
    let peaks = [12, 4, 1].map(|at_once| {
        let (figure, peak) = figure_and_peak(sizes, 12, at_once, &options);
        println!(
            "{at_once} of 12 at once: {:.2} of {:.1} MB",
            figure / peak,
            peak / 1e6
        );
        assert!(
            (1.0 / FACTOR..FACTOR).contains(&(figure / peak)),
            "{at_once} at once: {figure:.3e} bytes foretold, {peak:.3e} taken"
        );
        peak
    });
    assert!(
        peaks[1] < 0.5 * peaks[0] && peaks[2] < 0.5 * peaks[1],
        "{peaks:?}"
    );
}

fn limit(bytes: f64) -> Option<Limit> {
    let origin = Origin::Host;
    Some(Limit { bytes, origin })
}

/// Groups are as few as fit, to the byte.
fn groups_are_as_few_as_fit() {
    let task = task(([30, 400], [40, 500], 2));
    let options = Options::PAPER;
    let footprint = Footprint::of_run(&task, 20, &options);
    let plan = |bytes| Plan::new(&task, 20, &options, None, limit(bytes)).unwrap();
    for (room, at_once) in [
        (1, 1),
        (2, 2),
        (6, 5),
        (7, 7),
        (8, 7),
        (9, 7),
        (10, 10),
        (19, 10),
    ] {
        let needed = footprint.needed(room);
        assert_eq!(plan(needed).groups, Groups::new(20, at_once), "{room}");
        assert_eq!(footprint.room(limit(needed - 1.0).unwrap()), room - 1);
    }
    let all = footprint.needed(20);
    assert_eq!(plan(all).groups.count(), 1);
    assert_eq!(plan(all - 1.0).groups.count(), 2);
    let reason = plan(footprint.needed(7)).reason;
    let figures = [all, footprint.needed(7)].map(memory::shown);
    assert_eq!(
        reason,
        format!(
            "all at once need about {}, {} are available",
            figures[0], figures[1]
        )
    );
    assert_eq!(memory::shown(4.5 * f64::from(1 << 30)), "4.5 GiB");
    // Where nobody knows how much there is, everything is tried at once.
    let unknown = Plan::new(&task, 20, &options, None, None).unwrap();
    assert_eq!(unknown.groups.count(), 1);
    // A run that is repeated has the groups it had, or smaller ones.
    let again = |at_most, bytes| Plan::new(&task, 20, &options, Some(at_most), limit(bytes));
    assert_eq!(again(4, all).unwrap().groups.at_once(), 4);
    assert_eq!(again(4, footprint.needed(3)).unwrap().groups.at_once(), 3);
    // One that goes on has those alone.
    let on = |at_once, bytes| Plan::resumed(&task, 20, &options, at_once, limit(bytes));
    assert_eq!(on(Some(4), all).unwrap().groups.at_once(), 4);
    assert_eq!(on(None, all).unwrap().groups.count(), 1);
    let error = on(Some(4), footprint.needed(3)).unwrap_err().to_string();
    assert!(
        error.contains("4 of its partitions") && error.contains("--max-memory"),
        "{error}"
    );
}

/// What a run is compared with counts beside its data: dense noise in the place of a sparse source
/// takes more than the run, one row of a source less. They leave no checkpoints.
fn comparisons_have_their_own_figure() {
    let task = task(([300, 40], [40, 500], 2));
    let options = Options::ROBUST;
    let of = |control, problems| {
        Footprint::of_comparison(&task, 20, &options, control, problems).needed(5)
    };
    let run = of(None, 1);
    assert!(run < Footprint::of_run(&task, 20, &options).needed(5));
    assert!(of(Some(Control::TargetOnly), 2) < run);
    assert!(of(Some(Control::Noise), 2) > run);
    assert!(of(None, 2) > run && of(Some(Control::Noise), 3) > of(Some(Control::Noise), 2));
    let footprint = Footprint::of_comparison(&task, 20, &options, Some(Control::Noise), 2);
    let groups = |bytes| memory::comparison_groups("--control noise", footprint, limit(bytes));
    assert_eq!(groups(footprint.needed(7)).unwrap().at_once(), 7);
    let mut sparse = task.clone();
    let values = (0..300).map(|row| Triplet {
        row,
        col: row,
        value: 1.0,
    });
    let values: Vec<Triplet> = values.collect();
    sparse.source.features = Sparse::new(300, 4000, &values).into();
    let of = |control| Footprint::of_comparison(&sparse, 20, &options, control, 2).needed(5);
    assert!(of(Some(Control::Noise)) - of(None) > 8.0 * 300.0 * 4000.0);
    let error = groups(footprint.needed(1) - 1.0).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("--control noise"), "{error}");
}

/// The bytes of a step on a card are those of the step that is recorded, of any number of networks.
fn a_card_takes_what_the_recording_says() {
    let task = task(([30, 400], [40, 50], 3));
    let splits = task.splits(&Labelling::PerClass(2), 9, 1).unwrap();
    let options = Options {
        members: 2,
        common: 8,
        ..Options::ROBUST
    };
    let problem = Problem::new(&task, &splits, &options);
    let graph = |partitions: std::ops::Range<usize>| {
        let part = Problem {
            partitions: problem.partitions[partitions].to_vec(),
            ..problem.clone()
        };
        let initial = part.initial_parameters(&options, 1);
        recorded_step::<f32>(&part, &options, &initial)
    };
    let bytes = |layout: launch::Layout| layout.bytes::<f32>().into_iter().sum::<usize>();
    let two = graph(0..2);
    for partitions in 1..10 {
        let foretold = launch::Layout::of_partitions(&two, 2 * partitions);
        assert_eq!(
            bytes(foretold),
            bytes(launch::Layout::of(&graph(0..partitions)))
        );
    }
    let initial = problem.initial_parameters_of(0..2, &options, 1);
    let plan = |room: usize, less: usize| {
        let bytes = bytes(launch::Layout::of_partitions(&two, 2 * room)) - less;
        let plan = Plan::new(&task, 9, &options, None, None).unwrap();
        let limit = Limit::of_card(Some(bytes as u64), 1 << 40);
        plan.on_card::<f32>(&problem, &options, &initial, limit)
    };
    assert_eq!(plan(9, 0).groups.count(), 1);
    assert_eq!(plan(9, 1).groups.at_once(), 5);
    assert_eq!(plan(3, 0).groups.at_once(), 3);
    // Of a single partition the device says that it does not fit.
    assert_eq!(plan(1, 1).groups.at_once(), 1);
    // A part of a card stays free, a twentieth of a large one.
    let of = |given, free| Limit::of_card(given, free).to_string();
    assert_eq!(of(Some(999), 1 << 30), "--max-memory allows 999 B");
    let free = "are free on the card, less a reserve";
    assert_eq!(of(Some(1 << 30), 1 << 30), format!("768.0 MiB {free}"));
    assert_eq!(of(None, 100 << 30), format!("95.0 GiB {free}"));
    assert_eq!(of(None, 1 << 20), format!("0 B {free}"));
}

/// What is refused is told with the figure and with options that fit.
fn a_refusal_names_what_would_fit() {
    let task = task(([30, 400], [40, 500], 2));
    let options = Options::PAPER;
    let needed = |options: &Options| Footprint::of_run(&task, 20, options).needed(1);
    let refused = |options: &Options, bytes: f64| {
        let error = Plan::new(&task, 20, options, None, limit(bytes)).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        error.to_string()
    };
    let single = Options {
        layers: Layers::Single,
        common: 1,
        ..options
    };
    let told = refused(&options, needed(&single));
    assert!(told.contains(&memory::shown(needed(&options))), "{told}");
    assert!(told.contains("one partition at a time"), "{told}");
    let smallest = ": --layer single --d_common 1 would fit";
    assert!(told.ends_with(smallest), "{told}");
    assert!(refused(&options, 1000.0).contains("fewer rows or features"));
    let voting = Options {
        members: 4,
        ..options
    };
    let two = Options {
        members: 2,
        ..options
    };
    let found = refused(&voting, needed(&two));
    assert!(found.ends_with(": --members 2 would fit"), "{found}");
    let found = refused(&voting, needed(&single));
    let smallest = ": --members 1 --layer single --d_common 1 would fit";
    assert!(found.ends_with(smallest), "{found}");
    // Labels of all partitions are kept, whatever the groups.
    let many = 1 << 40;
    let error = Plan::new(&task, many, &options, None, limit(1e9)).unwrap_err();
    let told = error.to_string();
    assert!(
        told.contains("--partition ") && told.ends_with(" would fit"),
        "{told}"
    );
}

#[test]
fn memory_is_foretold_and_given_back() {
    the_figure_is_near_the_truth();
    groups_take_less();
    groups_are_as_few_as_fit();
    comparisons_have_their_own_figure();
    a_card_takes_what_the_recording_says();
    a_refusal_names_what_would_fit();
    replaying_keeps_nothing();
    replaying_keeps_nothing_on_a_card();
}
