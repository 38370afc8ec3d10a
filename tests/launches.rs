//! The launches that a recorded step lists, against what the kernels declare: names, arguments,
//! grids, buffers. Nothing is launched here.

use std::collections::{HashMap, HashSet};

use ssan::data::{Matrix, Normalisation};
use ssan::device::Cpu;
use ssan::device::kernels::{Parameter, SOURCES, signatures};
use ssan::device::launch::{Arg, Buffer, Launch, Launches, Layout};
use ssan::device::rung::{Arithmetic, Precision, Rung};
use ssan::graph::Graph;
use ssan::model::Layers;
use ssan::objective::{Alignment, Objective, Refinement};
use ssan::ops::{Prototypes, Similarity, leaky_relu, linear, schedule, weighted_sum};
use ssan::optim::Optimizer;
use ssan::train::{FirstLayer, Options, PartitionLabels, Problem, recorded_step};

const OPTIONS: Options = Options {
    epochs: 10,
    common: 6,
    first_layer: FirstLayer::Direct,
    ..Options::PAPER
};

/// The default options, and one variant for every choice there is.
fn variants() -> Vec<Options> {
    let objective = OPTIONS.objective;
    let mut objectives = vec![objective];
    for alpha in [0.0, 1.0] {
        objectives.push(Objective { alpha, ..objective });
    }
    let (beta, gamma) = (0.0, 0.0);
    objectives.push(Objective { beta, ..objective });
    objectives.push(Objective { gamma, ..objective });
    for refinement in [
        Refinement::None,
        Refinement::Agreement(Similarity::Euclidean),
        Refinement::Threshold(Similarity::Cosine),
        Refinement::Threshold(Similarity::Euclidean),
    ] {
        objectives.push(Objective {
            refinement,
            ..objective
        });
    }
    for alignment in [Alignment::Pairwise(Prototypes::Two), Alignment::Margin(1.0)] {
        objectives.push(Objective {
            alignment,
            ..objective
        });
    }
    let of = |objective| Options {
        objective,
        ..OPTIONS
    };
    let mut variants: Vec<Options> = objectives.into_iter().map(of).collect();
    for optimizer in [Optimizer::Sgd, Optimizer::Adam] {
        variants.push(Options {
            optimizer,
            ..OPTIONS
        });
    }
    let layers = Layers::Single;
    variants.push(Options { layers, ..OPTIONS });
    // Once more with the first layers in Gram form; with Adam that is the direct one again.
    let first_layer = FirstLayer::Gram;
    let gram = variants.iter().map(|&v| Options { first_layer, ..v });
    let gram: Vec<Options> = gram.collect();
    [variants, gram].concat()
}

/// Three classes, five source rows of seven features, six target rows of four.
fn problem(partitions: usize) -> Problem {
    let matrix = |rows, cols| Matrix {
        rows,
        cols,
        values: (0..rows * cols).map(|i| (i as f64).sin()).collect(),
    };
    let labels = PartitionLabels {
        source: vec![0, 1, 2, 0, 1],
        labelled: vec![0, 1, 2, -1, -1, -1],
        unlabelled: vec![-1, -1, -1, 0, 0, 0],
        truth: vec![-1, -1, -1, 0, 1, 2],
    };
    Problem {
        classes: 3,
        members: 1,
        normalisation: [Normalisation::L2; 2],
        means: None,
        neighbours: None,
        source: matrix(5, 7).into(),
        target: matrix(6, 4).into(),
        partitions: vec![labels; partitions],
    }
}

/// Records the step of `options` and calls `look` with it.
fn recorded(options: &Options, partitions: usize, look: impl FnOnce(&Graph<f32>)) {
    let problem = problem(partitions);
    let initial = problem.initial_parameters(options, 1);
    look(&recorded_step(&problem, options, &initial));
}

/// What no SSAN step records: a LeakyReLU on its own, a sum of more terms than a launch takes, and
/// parameters that do not lie one after the other.
fn others() -> Graph<f32> {
    let mut graph = Graph::new(2);
    let g = &mut graph;
    let schedule = schedule(g, OPTIONS.epochs, OPTIONS.rate());
    let x = g.parameter("x", 1, 4, Vec::new());
    let terms: Vec<_> = (0..11).map(|i| (x, f64::from(i))).collect();
    let sum = weighted_sum(g, &terms);
    let y = leaky_relu(g, sum, 0.2);
    let w = g.parameter("w", 1, 4, Vec::new());
    let b = g.parameter("b", 1, 1, Vec::new());
    let root = linear(g, y, w, b);
    g.differentiate(root);
    OPTIONS.optimizer.record(g, OPTIONS.weight_decay, &schedule);
    graph
}

/// Every kernel's parameters.
fn declared() -> HashMap<String, Vec<Parameter>> {
    let mut parameters = HashMap::new();
    for source in SOURCES {
        let signatures = signatures(source.text);
        for signature in signatures.unwrap_or_else(|e| panic!("{}.cu: {e}", source.name)) {
            let name = signature.name.clone();
            let before = parameters.insert(signature.name, signature.parameters);
            assert!(before.is_none(), "two kernels are named {name}");
        }
    }
    parameters
}

fn parameter(arg: &Arg) -> Parameter {
    match arg {
        Arg::In(Buffer::Labels(_)) => Parameter::IntIn,
        Arg::Out(Buffer::Labels(_)) => Parameter::IntOut,
        Arg::In(_) => Parameter::RealIn,
        Arg::Out(_) => Parameter::RealOut,
        Arg::PartialSums => Parameter::RealOut,
        Arg::Arrived => Parameter::IntOut,
        Arg::Int(_) => Parameter::Int,
        Arg::Real(_) => Parameter::Real,
    }
}

/// An argument's arena and its place there.
fn place(arg: &Arg, layout: &Layout) -> Option<(usize, std::ops::Range<usize>)> {
    let (Arg::In(buffer) | Arg::Out(buffer)) = arg else {
        return None;
    };
    let arena = match buffer {
        Buffer::Value(_) | Buffer::Values(..) => 0,
        Buffer::Grad(_) | Buffer::Grads(..) => 1,
        Buffer::Labels(_) => 2,
    };
    Some((arena, layout.range(*buffer)))
}

fn check(launch: &Launch, layout: &Layout, declared: &HashMap<String, Vec<Parameter>>) {
    let name = launch.kernel;
    let expected = declared.get(name);
    let expected = expected.unwrap_or_else(|| panic!("there is no kernel {name}"));
    let given: Vec<Parameter> = launch.args.iter().map(parameter).collect();
    assert_eq!(&given, expected, "arguments of {name}");

    let limits = [(1 << 31) - 1, 65535, 65535];
    for (size, limit) in launch.grid.into_iter().zip(limits) {
        assert!((1..=limit).contains(&size), "{name}: grid of {size} blocks");
    }
    let [threads, y, z] = launch.block;
    assert!(
        threads % 32 == 0 && (32..=1024).contains(&threads),
        "{name}"
    );
    assert_eq!([y, z], [1, 1], "{name}: the kernels' blocks are rows");

    let sizes = [layout.values_len(), layout.grads_len(), layout.labels_len()];
    let places: Vec<_> = launch.args.iter().map(|a| place(a, layout)).collect();
    for (i, arg) in launch.args.iter().enumerate() {
        let Some((arena, range)) = &places[i] else {
            continue;
        };
        assert!(range.end <= sizes[*arena], "{name}: argument {i}");
        assert!(
            !range.is_empty() || matches!(arg, Arg::Out(_)),
            "{name}: {i}"
        );
        // Kernels take it that what they write is not also another argument; this one may add to
        // one gradient several times, in the order of its arguments.
        if matches!(arg, Arg::Out(_)) && name != "weighted_sum_backward" {
            for (j, other) in places.iter().enumerate() {
                let Some((of, other)) = other else { continue };
                let apart = other.end <= range.start || range.end <= other.start;
                assert!(
                    i == j || of != arena || apart,
                    "{name}: {i} and {j} overlap"
                );
            }
        }
    }
}

#[test]
fn launches_are_what_kernels_declare_and_no_kernel_is_left_over() {
    let declared = declared();
    let mut used = HashSet::new();
    let mut look = |graph: &Graph<f32>| {
        let (launches, layout) = (Launches::of(graph, |_| Rung::default()), Layout::of(graph));
        for launch in launches.all() {
            check(launch, &layout, &declared);
            used.insert(launch.kernel.to_string());
        }
    };
    for options in variants() {
        recorded(&options, 1, &mut look);
        recorded(&options, 3, &mut look);
    }
    look(&others());
    let mut left: Vec<_> = declared.keys().filter(|k| !used.contains(*k)).collect();
    left.sort();
    assert!(left.is_empty(), "kernels that nothing launches: {left:?}");
}

/// An operation is named as its file, and so are the files of the kernels that it launches.
#[test]
fn operations_are_named_as_their_files() {
    let mut files = HashMap::new();
    for source in SOURCES {
        for signature in signatures(source.text).unwrap() {
            files.insert(signature.name, source.name);
        }
    }
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/ops");
    let operations: HashSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .filter(|name| name != "mod")
        .collect();
    let mut seen = HashSet::new();
    let mut look = |graph: Graph<f32>| {
        for part in Cpu::load(graph).profile(0, 1) {
            // The schedule's own step; the Gram form's kernels are those of the linear layer.
            let (operation, kernels) = match part.name {
                "advance" => ("schedule", "schedule"),
                "gram_linear" => ("gram_linear", "linear"),
                name => (name, name),
            };
            for launch in &part.launches {
                assert_eq!(files[launch.kernel], kernels, "{}", launch.kernel);
            }
            assert!(operations.contains(operation), "{operation:?}");
            seen.insert(operation.to_string());
        }
    };
    for options in variants() {
        let problem = problem(1);
        let initial = problem.initial_parameters(&options, 1);
        look(recorded_step(&problem, &options, &initial));
    }
    look(others());
    let mut left: Vec<&String> = operations.difference(&seen).collect();
    left.sort();
    assert!(left.is_empty(), "operations that nothing records: {left:?}");
}

/// What has no weight is not computed.
#[test]
fn a_term_of_weight_0_is_not_recorded() {
    let names = |objective| {
        let options = Options {
            objective,
            ..OPTIONS
        };
        let mut names = HashSet::new();
        recorded(&options, 1, |graph| {
            names.extend(graph.vars().into_iter().map(|v| graph.name(v).to_string()));
        });
        names
    };
    let objective = OPTIONS.objective;
    let all = names(objective);
    let [soft, domains, alignment] = ["soft_correlation", "domain_bce", "pairwise_alignment"];
    for (left_out, objective) in [
        (
            soft,
            Objective {
                alpha: 0.0,
                ..objective
            },
        ),
        (
            soft,
            Objective {
                alpha: 1.0,
                ..objective
            },
        ),
        (
            domains,
            Objective {
                gamma: 0.0,
                ..objective
            },
        ),
        (
            alignment,
            Objective {
                beta: 0.0,
                ..objective
            },
        ),
    ] {
        let found = names(objective);
        for name in [soft, domains, alignment] {
            assert!(all.contains(name), "{name}");
            assert_eq!(found.contains(name), name != left_out, "{name}");
        }
    }
}

/// A precision changes nothing but the rungs of the large products, their grids and their blocks.
#[test]
fn a_precision_reaches_every_large_product() {
    let declared = declared();
    let options = Options {
        common: 64,
        ..OPTIONS
    };
    for precision in [Precision::Fp32, Precision::Tf32, Precision::Bf16] {
        let arithmetic = precision.arithmetic::<f32>((9, 0)).unwrap();
        assert_ne!(arithmetic, Arithmetic::Plain);
        recorded(&options, 2, |graph| {
            let layout = Layout::of(graph);
            let plain = Launches::of(graph, |_| Rung::default());
            let found = Launches::of(graph, |product| arithmetic.rung(product));
            let mut large = 0;
            for (plain, found) in plain.all().zip(found.all()) {
                check(found, &layout, &declared);
                let Some(product) = found.product.filter(|p| p.inner >= 32) else {
                    assert_eq!(plain, found);
                    continue;
                };
                large += 1;
                assert_eq!(plain.kernel, found.kernel);
                // The last is the number of blocks that make a tile.
                let [own, of_plain] = [found, plain].map(|l| l.args.split_last().unwrap());
                assert_eq!(own.1, of_plain.1);
                assert_eq!(*own.0, Arg::Int(found.split_k as i32));
                assert_eq!(found.rung.arithmetic, arithmetic, "{}", found.kernel);
                let side = found.rung.tile.side() as u32;
                let tiles = found.grid[0] / found.split_k as u32;
                assert_eq!(tiles * found.split_k as u32, found.grid[0]);
                assert!(tiles * side >= product.cols as u32);
                assert!(found.grid[1] * side >= product.rows as u32);
                assert_eq!(found.grid[2], plain.grid[2]);
            }
            assert!(large > 0, "{precision}: no product is large");
            assert_eq!(plain.all().count(), found.all().count());
        });
    }
}

/// Where the update's spans start in the arena of values, and their elements.
fn spans(graph: &Graph<f32>) -> Vec<(usize, usize)> {
    let layout = Layout::of(graph);
    let update = Launches::of(graph, |_| Rung::default()).update;
    let updates = update
        .iter()
        .filter(|l| ["sgd", "adam"].contains(&l.kernel));
    let span = |launch: &Launch| {
        let elements = launch.args.iter().find_map(|arg| match arg {
            Arg::Int(n) => Some(*n as usize),
            _ => None,
        });
        let elements = elements.expect("the number of elements");
        let buffers = launch.args.iter().filter_map(|arg| match arg {
            Arg::In(b @ Buffer::Grads(..)) | Arg::Out(b @ Buffer::Values(..)) => Some(*b),
            _ => None,
        });
        let places: Vec<_> = buffers.map(|b| layout.range(b)).collect();
        assert!(places.len() >= 3, "gradients, parameters and their buffers");
        for place in &places {
            assert_eq!(place.len(), elements, "{}: a span", launch.kernel);
        }
        (places[1].start, elements)
    };
    updates.map(span).collect()
}

#[test]
fn an_update_is_one_launch_over_all_trained_parameters() {
    for options in variants() {
        recorded(&options, 2, |graph| {
            let layout = Layout::of(graph);
            let trained = graph.trained();
            let range = |v| layout.range(Buffer::Value(v));
            let (first, last) = (range(trained[0]), range(trained[trained.len() - 1]));
            assert_eq!(spans(graph), [(first.start, last.end - first.start)]);
            // Variables of a span keep their places relative to its start in every arena.
            let gradient = |v| layout.range(Buffer::Grad(v)).start;
            for &v in &trained {
                let offset = gradient(v) - gradient(trained[0]);
                assert_eq!(range(v).start - first.start, offset);
            }
        });
    }
}

#[test]
fn parameters_apart_are_updated_by_a_launch_each() {
    let graph = others();
    let layout = Layout::of(&graph);
    let starts = graph.parameters().iter();
    let starts: Vec<usize> = starts
        .map(|&v| layout.range(Buffer::Value(v)).start)
        .collect();
    // x; w of two partitions of 4, in its 64 elements, and b of two.
    assert_eq!(spans(&graph), [(starts[0], 8), (starts[1], 64 + 2)]);
}
