//! Memory: the figure that a run is refused by against what it takes, and a replay that keeps
//! nothing. Counted by the allocator, over all threads: the one test of its binary, so that no
//! other test allocates beside it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering};

use ssan::data::{Domain, Label, Labelling, Matrix, Task};
use ssan::device::Cpu;
use ssan::model::Layers;
use ssan::optim::Optimizer;
use ssan::train::{FirstLayer, Options, Problem, Select, Session, memory, train};

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

/// The figure, and the most bytes that were held at once, from data to result.
fn figure_and_peak(sizes: Sizes, partitions: usize, options: &Options) -> (f64, f64) {
    let before = HELD.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let ([n, d], [m, e], classes) = sizes;
    let task = Task::new(domain(n, d, classes), domain(m, e, classes)).unwrap();
    let figure = memory::needed(&task, partitions, options);
    let splits = task.splits(&Labelling::PerClass(2), partitions, 1).unwrap();
    let problem = Problem::new(&task, &splits, options);
    let initial = problem.initial_parameters(options, 1);
    let load = |graph| Ok(Box::new(Cpu::<f32>::load(graph)) as _);
    let outcome = train::<f32>(&problem, options, &initial, load, &mut |_| Ok(())).unwrap();
    drop(outcome);
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
            let (figure, peak) = figure_and_peak(sizes, partitions, &options);
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

/// What is refused is told with the figure and with options that fit.
fn a_refusal_names_what_would_fit() {
    let task = Task::new(domain(30, 400, 2), domain(40, 500, 2)).unwrap();
    let options = Options::PAPER;
    let needed = |partitions, options: &Options| memory::needed(&task, partitions, options);
    let refused = |available: f64| {
        let error = memory::check_against(available, &task, 20, &options).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        error.to_string()
    };
    assert!(memory::check_against(needed(20, &options), &task, 20, &options).is_ok());
    let told = refused(needed(5, &options));
    let figure = format!("{:.1} GiB", needed(20, &options) / f64::from(1 << 30));
    assert!(told.contains(&figure), "{told}");
    assert!(told.contains("--partition 5 would fit"), "{told}");
    let single = Options {
        layers: Layers::Single,
        common: 1,
        ..options
    };
    let told = refused(needed(1, &single));
    let smallest = "--partition 1 --layer single --d_common 1 would fit";
    assert!(told.contains(smallest), "{told}");
    assert!(refused(1000.0).contains("fewer rows or features"));
    let voting = Options {
        members: 4,
        ..options
    };
    let two = Options {
        members: 2,
        ..options
    };
    let told = |available| {
        let error = memory::check_against(available, &task, 3, &voting);
        error.unwrap_err().to_string()
    };
    let found = told(needed(1, &two));
    assert!(
        found.contains("--partition 1 --members 2 would fit"),
        "{found}"
    );
    let found = told(needed(1, &single));
    let smallest = "--partition 1 --members 1 --layer single --d_common 1 would fit";
    assert!(found.contains(smallest), "{found}");
}

#[test]
fn memory_is_foretold_and_given_back() {
    the_figure_is_near_the_truth();
    a_refusal_names_what_would_fit();
    replaying_keeps_nothing();
}
