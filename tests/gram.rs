//! The first layer in Gram form is the same training as the first layer by its weight.

use approx::assert_relative_eq;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use ssan::Result;
use ssan::data::{Matrix, Normalisation};
use ssan::device::{Cpu, Device};
use ssan::graph::Graph;
use ssan::model::{Form, Layers, Parameters};
use ssan::ops::{GramLayer, Sgd, cross_entropy, gram_linear, leaky_relu, linear};
use ssan::optim::Optimizer;
use ssan::real::Real;
use ssan::train::{EpochMetrics, FirstLayer, Options, PartitionLabels, Problem, Session};

const OPTIONS: Options = Options {
    // A third of the usual rate: at 0.1 these small problems are chaotic late in training, and any
    // two roundings of one trajectory part.
    lr: 0.03,
    epochs: 300,
    common: 6,
    ..Options::PAPER
};

struct Numbers(ChaCha8Rng);

impl Numbers {
    fn new(seed: u64) -> Numbers {
        Numbers(ChaCha8Rng::seed_from_u64(seed))
    }

    /// Numbers in (−1, 1).
    fn take(&mut self, len: usize) -> Vec<f64> {
        let mut next = || 2.0 * f64::from(self.0.next_u32()) / f64::from(u32::MAX) - 1.0;
        (0..len).map(|_| next()).collect()
    }
}

fn on_cpu<T: Real>(graph: Graph<T>) -> Result<Box<dyn Device<T>>> {
    Ok(Box::new(Cpu::load(graph)))
}

/// `rows` rows of unit length around a centre for each of `classes` classes in turn.
fn blobs(seed: u64, classes: usize, rows: usize, cols: usize, spread: f64) -> Matrix {
    let mut numbers = Numbers::new(seed);
    let centres = numbers.take(classes * cols);
    let centre = |i: usize| &centres[i % classes * cols..][..cols];
    let values = (0..rows).flat_map(|i| {
        let noise = numbers.take(cols);
        let row = centre(i).iter().zip(noise).map(|(c, x)| c + spread * x);
        row.collect::<Vec<_>>()
    });
    let values = values.collect();
    let mut matrix = Matrix { rows, cols, values };
    matrix.normalise_rows();
    matrix
}

/// Three labelled target rows of each class, others in each partition; every seventh row of either
/// domain has no part in a partition.
fn problem(classes: usize, source: Matrix, target: Matrix, partitions: usize) -> Problem {
    let class = |i: usize| (i % classes) as i32;
    let partition = |p: usize| {
        let used = |i: usize| i % 7 != p % 7;
        let labelled = |i: usize| used(i) && (i / classes + p) % (target.rows / classes) < 3;
        let source = (0..source.rows).map(|i| if used(i) { class(i) } else { -1 });
        let of = |yes: &dyn Fn(usize) -> bool, label: &dyn Fn(usize) -> i32| -> Vec<i32> {
            (0..target.rows)
                .map(|i| if yes(i) { label(i) } else { -1 })
                .collect()
        };
        let unlabelled = |i: usize| used(i) && !labelled(i);
        PartitionLabels {
            source: source.collect(),
            labelled: of(&labelled, &class),
            unlabelled: of(&unlabelled, &|_| 0),
            truth: of(&unlabelled, &class),
        }
    };
    Problem {
        classes,
        members: 1,
        normalisation: [Normalisation::L2; 2],
        means: None,
        neighbours: None,
        partitions: (0..partitions).map(partition).collect(),
        source: source.into(),
        target: target.into(),
    }
}

/// 30 source rows of 12 features, 33 target rows of 9.
fn small(partitions: usize) -> Problem {
    let (source, target) = (blobs(1, 3, 30, 12, 0.4), blobs(2, 3, 33, 9, 0.4));
    problem(3, source, target, partitions)
}

fn initial(problem: &Problem, options: &Options, scale: f64) -> Vec<Parameters> {
    let mut all = problem.initial_parameters(options, 2020);
    all.iter_mut().flatten().flatten().for_each(|x| *x *= scale);
    all
}

/// Metrics of all epochs, pseudo-labels after each, and the parameters at the end.
type Run = (Vec<EpochMetrics>, Vec<Vec<i32>>, Vec<Parameters>);

/// Trains in the given form; the initial parameters are `scale` times the usual ones.
fn run<T: Real>(problem: &Problem, options: &Options, scale: f64, form: FirstLayer) -> Run {
    let options = Options {
        first_layer: form,
        ..*options
    };
    let starts = initial(problem, &options, scale);
    let mut session = Session::<T>::new(problem, &options, &starts, on_cpu).unwrap();
    let expected = match form {
        FirstLayer::Gram => Form::Gram,
        _ => Form::Direct,
    };
    assert_eq!(session.first_layers(), [expected; 2]);
    let (mut metrics, mut labels) = (Vec::new(), Vec::new());
    for _ in 0..options.epochs {
        metrics.extend(session.run(1).unwrap());
        let terms = session.terms();
        labels.push(session.device().read_labels(terms.assigned).unwrap());
    }
    metrics.extend(session.finish().unwrap());
    (metrics, labels, session.parameters().unwrap())
}

/// The largest difference, relative to the largest value.
fn error(values: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(values.len(), expected.len());
    let largest = expected.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
    let errors = values.iter().zip(expected).map(|(a, b)| (a - b).abs());
    errors.fold(0.0, f64::max) / largest
}

#[test]
fn same_weights_losses_and_labels_as_direct_training() {
    for optimizer in [Optimizer::Sgd, Optimizer::MomentumSgd] {
        for layers in [Layers::Single, Layers::Double] {
            for partitions in [1, 3] {
                let options = Options {
                    optimizer,
                    layers,
                    ..OPTIONS
                };
                let what = format!("{optimizer:?}, {layers:?}, P = {partitions}");
                let problem = small(partitions);
                let [gram, direct] = [FirstLayer::Gram, FirstLayer::Direct]
                    .map(|form| run::<f64>(&problem, &options, 30.0, form));
                assert_eq!(gram.0.len(), options.epochs * partitions);
                for (gram, direct) in gram.0.iter().zip(&direct.0) {
                    for (a, b) in [
                        (gram.total, direct.total),
                        (gram.source_ce, direct.source_ce),
                        (gram.hard, direct.hard),
                        (gram.soft, direct.soft),
                        (gram.adversarial, direct.adversarial),
                        (gram.alignment, direct.alignment),
                    ] {
                        assert_relative_eq!(a, b, max_relative = 1e-9);
                    }
                    assert_eq!(gram.selected, direct.selected, "{what}");
                    assert_eq!(gram.source_acc, direct.source_acc, "{what}");
                    assert_eq!(gram.labelled_acc, direct.labelled_acc, "{what}");
                    assert_eq!(gram.unlabelled_acc, direct.unlabelled_acc, "{what}");
                }
                assert_eq!(gram.1, direct.1, "{what}: labels");
                let shapes = problem.dimensions(&options).parameters();
                let starts = initial(&problem, &options, 30.0);
                for (p, start) in starts.iter().enumerate() {
                    for (i, shape) in shapes.iter().enumerate() {
                        let (a, b) = (&gram.2[p][i], &direct.2[p][i]);
                        let error = error(a, b);
                        assert!(error <= 1e-9, "{what}: {} differs by {error:e}", shape.name);
                        assert_ne!(b, &start[i], "{what}: {} is trained", shape.name);
                    }
                }
                let last = &direct.0[direct.0.len() - 1];
                assert!(
                    last.unlabelled_acc > Some(80.0),
                    "{what}: it learns, {last:?}"
                );
            }
        }
    }
}

/// In `f32` each form rounds in its own way.
#[test]
fn same_accuracies_in_single_precision() {
    let (source, target) = (blobs(3, 10, 300, 200, 2.0), blobs(4, 10, 320, 400, 2.0));
    let problem = problem(10, source, target, 1);
    let options = Options {
        lr: 0.1,
        epochs: 100,
        common: 64,
        ..OPTIONS
    };
    let [gram, direct] = [FirstLayer::Gram, FirstLayer::Direct]
        .map(|form| run::<f32>(&problem, &options, 10.0, form));
    for (gram, direct) in gram.0.iter().zip(&direct.0) {
        assert_relative_eq!(gram.total, direct.total, max_relative = 1e-4);
        let (a, b) = (gram.unlabelled_acc.unwrap(), direct.unlabelled_acc.unwrap());
        // One row in about 250.
        assert!((a - b).abs() < 0.5, "epoch {}: {a} and {b}", gram.epoch);
    }
    let accuracy = |epoch: usize| direct.0[epoch].unlabelled_acc.unwrap();
    assert!(accuracy(0) < 30.0 && accuracy(99) > 80.0, "it learns");
    for (a, b) in gram.2[0].iter().zip(&direct.2[0]) {
        assert!(error(a, b) < 1e-4);
    }
}

/// Wherever the loss comes from, `a·w₀ + cᵀ·x` follows `w` under any constants of SGD.
#[test]
fn the_weight_follows_under_every_constant() {
    let (n, d, out, partitions) = (5, 4, 3, 2);
    let mut numbers = Numbers::new(9);
    let x = numbers.take(n * d);
    let [w0, b0] = [out * d, out].map(|len| numbers.take(partitions * len));
    let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
    let row = |matrix: &[f64], i: usize| matrix[i * d..(i + 1) * d].to_vec();
    let rows = |m: usize, f: &dyn Fn(usize, usize) -> f64, cols: usize| -> Vec<f64> {
        (0..m * cols).map(|at| f(at / cols, at % cols)).collect()
    };
    for (momentum, nesterov, weight_decay) in [
        (0.0, false, 0.0),
        (0.0, false, 0.1),
        (0.8, false, 0.0),
        (0.8, false, 0.1),
        (0.8, true, 0.0),
        (0.8, true, 0.1),
    ] {
        let sgd = Sgd {
            momentum,
            nesterov,
            weight_decay,
        };
        // A loss of either form's output whose gradient moves with it.
        let finish = |g: &mut Graph<f64>, y| {
            let y = leaky_relu(g, y, 0.2);
            let labels = g.given_labels(n, vec![0, 1, 2, 1, -1, 2, 0, 0, 1, 2]);
            let loss = cross_entropy(g, y, labels);
            g.differentiate(loss);
            let rate = g.constant("rate", 1, 1, vec![0.05]);
            sgd.record(g, rate);
        };
        let mut g = Graph::new(partitions);
        let w = g.parameter("w", out, d, w0.clone());
        let b = g.parameter("b", 1, out, b0.clone());
        let xs = g.constant("x", n, d, x.clone());
        let direct_y = linear(&mut g, xs, w, b);
        finish(&mut g, direct_y);
        let mut direct = Cpu::load(g);

        let mut g = Graph::new(partitions);
        let k = rows(n, &|i, j| dot(&row(&x, i), &row(&x, j)), n);
        let start = rows(
            partitions * n,
            &|i, j| dot(&row(&x, i % n), &row(&w0, i / n * out + j)),
            out,
        );
        let layer = GramLayer {
            gram: g.constant("k", n, n, k),
            start: g.given_buffer("s", n, out, start),
            scale: g.parameter("a", 1, 1, vec![1.0; partitions]),
            coefficients: g.parameter("c", n, out, Vec::new()),
            bias: g.parameter("b", 1, out, b0.clone()),
        };
        let y = gram_linear(&mut g, layer);
        finish(&mut g, y);
        let mut gram = Cpu::load(g);
        for step in 0..20 {
            gram.steps(1).unwrap();
            direct.steps(1).unwrap();
            let (y, expected) = (gram.read(y).unwrap(), direct.read(direct_y).unwrap());
            assert!(error(&y, &expected) < 1e-12, "{sgd:?}: y at {step}");
            assert!(error(&gram.read(layer.bias).unwrap(), &direct.read(b).unwrap()) < 1e-12);
            let (a, c) = (
                gram.read(layer.scale).unwrap(),
                gram.read(layer.coefficients).unwrap(),
            );
            let formed = rows(
                partitions * out,
                &|i, j| {
                    let (p, o) = (i / out, i % out);
                    let of_x: f64 = (0..n)
                        .map(|r| c[(p * n + r) * out + o] * x[r * d + j])
                        .sum();
                    a[p] * w0[i * d + j] + of_x
                },
                d,
            );
            let error = error(&formed, &direct.read(w).unwrap());
            assert!(
                error < 1e-12,
                "{sgd:?}: weight at {step} differs by {error:e}"
            );
        }
    }
}

#[test]
fn auto_takes_what_costs_less() {
    let forms = |rows, cols, epochs| {
        let options = Options { epochs, ..OPTIONS };
        options.first_layer_form(rows, cols, 1)
    };
    assert_eq!(forms(958, 4096, 3000), Form::Gram);
    assert_eq!(forms(958, 800, 3000), Form::Gram);
    assert_eq!(forms(958, 256, 3000), Form::Direct);
    assert_eq!(forms(16000, 1000, 3000), Form::Direct);
    // One epoch does not pay for the Gram matrix.
    assert_eq!(forms(958, 4096, 1), Form::Direct);
    // About where rows are twice the columns.
    assert_eq!(forms(1980, 1000, 3000), Form::Gram);
    assert_eq!(forms(2001, 1000, 3000), Form::Direct);
    // A Gram matrix that no kernel could index.
    assert_eq!(forms(60_000, 100_000, 3000), Form::Direct);

    // 30 rows of 12 features, 33 of 40: a form for each projector.
    let problem = problem(3, blobs(1, 3, 30, 12, 0.4), blobs(2, 3, 33, 40, 0.4), 2);
    assert_eq!(OPTIONS.first_layers(&problem), [Form::Direct, Form::Gram]);
    let starts = initial(&problem, &OPTIONS, 1.0);
    let session = Session::<f64>::new(&problem, &OPTIONS, &starts, on_cpu).unwrap();
    assert_eq!(session.first_layers(), [Form::Direct, Form::Gram]);
}

#[test]
fn adam_trains_directly_and_the_options_say_so() {
    let problem = small(1);
    for first_layer in [FirstLayer::Auto, FirstLayer::Gram, FirstLayer::Direct] {
        for optimizer in [Optimizer::Adam, Optimizer::MomentumSgd, Optimizer::Sgd] {
            let options = Options {
                optimizer,
                first_layer,
                ..OPTIONS
            };
            let refused = first_layer == FirstLayer::Gram && optimizer == Optimizer::Adam;
            let note = options.first_layer_note();
            assert_eq!(note.is_some(), refused);
            assert!(note.is_none_or(|note| note.contains("Adam")));
            if optimizer == Optimizer::Adam {
                assert_eq!(options.first_layers(&problem), [Form::Direct; 2]);
            }
        }
    }
}
