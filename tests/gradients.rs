//! Every operation's backward pass, and the whole objective's, against finite differences in f64.
//!
//! The five-point stencil `(8(f(h) − f(−h)) − (f(2h) − f(−2h)))/12h` with h = 1e-4 errs by about
//! 1e-12, so that a relative error of 1e-6 is far above rounding and far below any wrong factor.
//! Inputs are random with a fixed seed; none lies within 2h of a kink.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use ssan::data::{Features, Matrix};
use ssan::device::launch::Launch;
use ssan::device::{Buffers, Cpu, Device};
use ssan::graph::{Graph, Labels, Var, Want};
use ssan::model::{
    Dimensions, Domain, Form, Initialisation, Layers, Logits, Model, initial_parameters,
};
use ssan::objective::{Alignment, Inputs, Objective, OverClasses, Refinement, Terms};
use ssan::ops::{
    ClassMeans, DomainRows, LearningRate, Op, Prototypes, Similarity, class_means, cross_entropy,
    domain_bce, gradient_reversal, l2_normalize, leaky_relu, linear, pairwise_alignment, schedule,
    soft_correlation, softmax, triplet_margin, weighted_sum,
};

const STEP: f64 = 1e-4;
const TOLERANCE: f64 = 1e-6;

/// Numbers spread over (−1, 1), none nearer to 0 than 0.05.
struct Numbers(ChaCha8Rng);

impl Numbers {
    fn new(seed: u64) -> Numbers {
        Numbers(ChaCha8Rng::seed_from_u64(seed))
    }

    fn next(&mut self) -> f64 {
        let unit = self.0.next_u32() as f64 / f64::from(u32::MAX);
        let x = 2.0 * unit - 1.0;
        x.signum() * (0.05 + 0.95 * x.abs())
    }

    fn take(&mut self, len: usize) -> Vec<f64> {
        (0..len).map(|_| self.next()).collect()
    }
}

/// `L = Σ_ij c_ij y_ij`: makes a scalar of any result, with another gradient for each entry.
struct Dot {
    y: Var,
    c: Vec<f64>,
    loss: Var,
}

fn dot(g: &mut Graph<f64>, y: Var, seed: u64) -> Var {
    let loss = g.computed("dot", 1, 1, &[y]);
    let c = Numbers::new(seed).take(y.shape.block());
    g.push(Dot { y, c, loss });
    loss
}

impl Op<f64> for Dot {
    fn name(&self) -> &'static str {
        "dot"
    }

    fn inputs(&self) -> Vec<Var> {
        vec![self.y]
    }

    fn output(&self) -> Option<Var> {
        Some(self.loss)
    }

    fn forward(&self, buffers: &Buffers<f64>) {
        let y = buffers.value(self.y);
        buffers.value_mut(self.loss)[0] = y.iter().zip(&self.c).map(|(y, c)| y * c).sum();
    }

    fn backward(&self, buffers: &Buffers<f64>, wants: &[Want]) {
        let (mut dy, dloss) = (buffers.grad_mut(self.y), buffers.grad(self.loss)[0]);
        for (dy, c) in dy.iter_mut().zip(&self.c) {
            match wants[0] {
                Want::No => {}
                Want::Write => *dy = dloss * c,
                Want::Add => *dy += dloss * c,
            }
        }
    }

    fn launches(&self) -> Vec<Launch> {
        unimplemented!("the gradients of kernels are checked against those of the CPU")
    }
}

/// The derivative of the sum over partitions of each of `roots` by entry `i` of `var`.
fn numeric(cpu: &mut Cpu<f64>, var: Var, i: usize, roots: &[Var]) -> Vec<f64> {
    let mut values = cpu.read(var).unwrap();
    let start = values[i];
    let mut at = |x: f64| -> Vec<f64> {
        values[i] = x;
        cpu.write(var, &values).unwrap();
        cpu.forward().unwrap();
        let sum = |root: &Var| cpu.read(*root).unwrap().iter().sum();
        roots.iter().map(sum).collect()
    };
    let (near, far) = (
        [at(start + STEP), at(start - STEP)],
        [at(start + 2.0 * STEP), at(start - 2.0 * STEP)],
    );
    values[i] = start;
    cpu.write(var, &values).unwrap();
    (0..roots.len())
        .map(|r| (8.0 * (near[0][r] - near[1][r]) - (far[0][r] - far[1][r])) / (12.0 * STEP))
        .collect()
}

/// Compares the gradient of `var` with `expected`, entry by entry, relative to the entry or, where
/// it is small, to a thousandth of the largest.
fn compare(what: &str, name: &str, gradient: &[f64], expected: &[f64]) {
    let largest = expected.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
    assert!(
        largest > 0.0,
        "{what}: the gradient of {name} is 0, nothing is checked"
    );
    for (i, (&a, &n)) in gradient.iter().zip(expected).enumerate() {
        let scale = a.abs().max(n.abs()).max(1e-3 * largest);
        assert!(
            (a - n).abs() <= TOLERANCE * scale,
            "{what}: d/d{name}[{i}] is {a:e}, finite differences give {n:e}"
        );
    }
}

/// Checks the gradient of the scalar that `build` records from parameters of `shapes`, for one and
/// three partitions.
fn check(what: &str, shapes: &[(usize, usize)], build: impl Fn(&mut Graph<f64>, &[Var]) -> Var) {
    for partitions in [1, 3] {
        let mut numbers = Numbers::new(7);
        let mut g = Graph::new(partitions);
        let parameters: Vec<Var> = shapes
            .iter()
            .enumerate()
            .map(|(i, &(rows, cols))| {
                let values = numbers.take(partitions * rows * cols);
                g.parameter(&format!("x{i}"), rows, cols, values)
            })
            .collect();
        let root = build(&mut g, &parameters);
        let mut cpu = differentiated(g, root);
        for (i, &var) in parameters.iter().enumerate() {
            let gradient = cpu.read_grad(var).unwrap();
            assert_eq!(
                gradient.len(),
                var.shape.len(),
                "{what}: x{i} has a gradient"
            );
            let expected: Vec<f64> = (0..var.shape.len())
                .map(|at| numeric(&mut cpu, var, at, &[root])[0])
                .collect();
            compare(
                &format!("{what}, P = {partitions}"),
                &format!("x{i}"),
                &gradient,
                &expected,
            );
        }
    }
}

/// The recorded graph after a forward and a backward pass from `root`.
fn differentiated(mut g: Graph<f64>, root: Var) -> Cpu<f64> {
    g.differentiate(root);
    let mut cpu = Cpu::load(g);
    cpu.forward().unwrap();
    cpu.backward().unwrap();
    cpu
}

/// [`check`] for an operation with a result of any shape: once; twice on the same inputs, so that
/// its second contribution is added to its first; and before something else that reads all entries
/// of its inputs, to whose contribution its own is added.
fn check_op(what: &str, shapes: &[(usize, usize)], op: impl Fn(&mut Graph<f64>, &[Var]) -> Var) {
    check(what, shapes, |g, x| {
        let y = op(g, x);
        dot(g, y, 11)
    });
    check(&format!("{what}, twice"), shapes, |g, x| {
        let (y1, y2) = (op(g, x), op(g, x));
        let (l1, l2) = (dot(g, y1, 11), dot(g, y2, 12));
        weighted_sum(g, &[(l1, 1.0), (l2, -0.7)])
    });
    check(&format!("{what}, beside another"), shapes, |g, x| {
        let y = op(g, x);
        let mut terms = vec![(dot(g, y, 11), 1.0)];
        terms.extend(x.iter().map(|&x| (dot(g, x, 13), 0.3)));
        weighted_sum(g, &terms)
    });
}

/// The same labels for every partition, rotated by its number.
fn labels(g: &mut Graph<f64>, of: &[i32]) -> Labels {
    let mut all = Vec::new();
    for p in 0..g.partitions() {
        let mut rotated = of.to_vec();
        rotated.rotate_left(p);
        all.extend(rotated);
    }
    g.given_labels(of.len(), all)
}

#[test]
fn linear_layer() {
    check_op("linear", &[(5, 3), (4, 3), (1, 4)], |g, x| {
        linear(g, x[0], x[1], x[2])
    });
    check_op("linear of one row", &[(1, 1), (2, 1), (1, 2)], |g, x| {
        linear(g, x[0], x[1], x[2])
    });
}

#[test]
fn linear_layer_of_shared_input() {
    check_op("linear", &[(4, 3), (1, 4)], |g, w| {
        let x = g.constant("x", 5, 3, Numbers::new(1).take(15));
        linear(g, x, w[0], w[1])
    });
}

#[test]
fn leaky_relu_alone_and_fused() {
    check_op("leaky_relu", &[(5, 3)], |g, x| leaky_relu(g, x[0], 0.2));
    check_op(
        "linear with leaky_relu",
        &[(5, 3), (4, 3), (1, 4)],
        |g, x| {
            let y = linear(g, x[0], x[1], x[2]);
            let fused = leaky_relu(g, y, 0.2);
            assert_eq!(fused, y, "taken into the linear operation");
            fused
        },
    );
}

/// What cannot take in a LeakyReLU, or has taken in one, is followed by it.
#[test]
fn leaky_relu_is_applied_as_often_as_it_is_recorded() {
    let mut g = Graph::new(1);
    let x = g.constant("x", 1, 2, vec![-1.0, 2.0]);
    let sum = weighted_sum(&mut g, &[(x, 1.0)]);
    let once = leaky_relu(&mut g, sum, 0.2);
    let w = g.constant("identity", 2, 2, vec![1.0, 0.0, 0.0, 1.0]);
    let b = g.constant("bias", 1, 2, vec![0.0; 2]);
    let y = linear(&mut g, x, w, b);
    let fused = leaky_relu(&mut g, y, 0.2);
    let twice = leaky_relu(&mut g, fused, 0.5);
    assert!(fused == y && twice != y);
    let mut cpu = Cpu::load(g);
    cpu.forward().unwrap();
    let read = |var| cpu.read(var).unwrap();
    assert_eq!(read(once), [-0.2, 2.0]);
    assert_eq!(read(fused), [-0.2, 2.0]);
    assert_eq!(read(twice), [-0.1, 2.0]);
}

/// At the kink the derivative is the slope, in the operation alone and within another.
#[test]
fn the_derivative_of_leaky_relu_at_0_is_its_slope() {
    let mut g = Graph::new(1);
    let x = g.parameter("x", 1, 3, vec![0.0, -1.0, 1.0]);
    let once = weighted_sum(&mut g, &[(x, 1.0)]);
    let alone = leaky_relu(&mut g, once, 0.25);
    let w = g.constant(
        "identity",
        3,
        3,
        vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
    );
    let b = g.constant("bias", 1, 3, vec![0.0; 3]);
    let y = linear(&mut g, x, w, b);
    let fused = leaky_relu(&mut g, y, 0.25);
    assert!(alone != once && fused == y);
    let (first, second) = (dot(&mut g, alone, 1), dot(&mut g, fused, 2));
    let root = weighted_sum(&mut g, &[(first, 1.0), (second, 1.0)]);
    let cpu = differentiated(g, root);
    let [a, b] = [1, 2].map(|seed| Numbers::new(seed).take(3));
    let slopes = [0.25, 0.25, 1.0];
    let expected: Vec<f64> = (0..3).map(|i| slopes[i] * (a[i] + b[i])).collect();
    compare("leaky_relu", "x", &cpu.read_grad(x).unwrap(), &expected);
}

#[test]
fn row_normalisation() {
    check_op("l2_normalize", &[(4, 3)], |g, x| l2_normalize(g, x[0]));
    check_op("l2_normalize of one column", &[(1, 9)], |g, x| {
        l2_normalize(g, x[0])
    });
}

#[test]
fn zero_row_stays_zero_with_finite_gradient() {
    let mut g = Graph::new(1);
    let x = g.parameter("x", 2, 3, vec![0.0, 0.0, 0.0, 3.0, 0.0, 4.0]);
    let y = l2_normalize(&mut g, x);
    let root = dot(&mut g, y, 3);
    let cpu = differentiated(g, root);
    assert_eq!(cpu.read(y).unwrap()[..], [0.0, 0.0, 0.0, 0.6, 0.0, 0.8]);
    assert!(cpu.read_grad(x).unwrap().iter().all(|d| d.is_finite()));
}

/// Below ε = 1e-12 a row is divided by ε, whatever its length.
#[test]
fn a_row_shorter_than_epsilon_is_scaled() {
    let mut g = Graph::new(1);
    let x = g.parameter("x", 1, 2, vec![3e-13, -4e-13]);
    let y = l2_normalize(&mut g, x);
    let root = dot(&mut g, y, 3);
    let cpu = differentiated(g, root);
    compare("l2_normalize", "y", &cpu.read(y).unwrap(), &[0.3, -0.4]);
    let expected: Vec<f64> = Numbers::new(3).take(2).iter().map(|c| c / 1e-12).collect();
    compare("l2_normalize", "x", &cpu.read_grad(x).unwrap(), &expected);
}

#[test]
fn softmax_at_temperatures() {
    for temperature in [0.5, 1.0, 5.0] {
        check_op("softmax", &[(4, 3)], |g, x| softmax(g, x[0], temperature));
    }
}

#[test]
fn cross_entropy_of_labelled_rows() {
    check_op("cross_entropy", &[(5, 3)], |g, x| {
        let y = labels(g, &[2, 0, -1, 0, 1]);
        cross_entropy(g, x[0], y)
    });
}

#[test]
fn losses_without_rows_are_zero() {
    let mut g = Graph::<f64>::new(1);
    let x = g.parameter("x", 2, 3, Numbers::new(1).take(6));
    let none = g.labels(2);
    let ce = cross_entropy(&mut g, x, none);
    let means = class_means(&mut g, &[(x, none)], 3);
    let soft = soft_correlation(&mut g, x, none, means.means);
    let others = class_means(&mut g, &[(x, none)], 3);
    let pair = pairwise_alignment(&mut g, means, others, Prototypes::Three);
    let margin = triplet_margin(&mut g, means, others, 0.5);
    let total = weighted_sum(
        &mut g,
        &[(ce, 1.0), (soft, 1.0), (pair, 1.0), (margin, 1.0)],
    );
    let cpu = differentiated(g, total);
    assert_eq!(cpu.read(total).unwrap()[0], 0.0);
    assert!(cpu.read_grad(x).unwrap().iter().all(|&d| d == 0.0));
}

#[test]
fn class_means_of_several_parts() {
    // Class 1 has no row, class 3 one.
    check_op("class_means", &[(5, 3), (4, 3)], |g, x| {
        let first = labels(g, &[2, 0, -1, 0, 3]);
        let second = labels(g, &[0, 2, 2, -1]);
        class_means(g, &[(x[0], first), (x[1], second)], 4).means
    });
}

#[test]
fn soft_correlation_of_logits_and_soft_labels() {
    // The soft labels are positive, as means of softmax rows are.
    check_op("soft_correlation", &[(5, 3), (3, 3)], |g, x| {
        let y = labels(g, &[2, 0, -1, 0, 2]);
        let q = softmax(g, x[1], 1.0);
        soft_correlation(g, x[0], y, q)
    });
}

/// Class means of both domains: class 1 lacks source rows, class 3 target rows.
fn centroids(g: &mut Graph<f64>, x: &[Var]) -> (ClassMeans, ClassMeans) {
    let source = labels(g, &[2, 0, 3, 0, 4]);
    let target = labels(g, &[0, 2, 2, 1, -1, 4]);
    let source = class_means(g, &[(x[0], source)], 5);
    (source, class_means(g, &[(x[1], target)], 5))
}

#[test]
fn pairwise_alignment_of_two_and_three_prototypes() {
    for prototypes in [Prototypes::Two, Prototypes::Three] {
        check_op("pairwise_alignment", &[(5, 3), (6, 3)], |g, x| {
            let (source, target) = centroids(g, x);
            pairwise_alignment(g, source, target, prototypes)
        });
    }
}

/// Three prototypes need no third mean; here it is made, and gives the same.
#[test]
fn three_prototypes_equal_the_definition() {
    let mut g = Graph::new(1);
    let x = g.parameter("x", 5, 3, Numbers::new(1).take(15));
    let y = g.parameter("y", 4, 3, Numbers::new(2).take(12));
    let ys = g.given_labels(5, vec![0, 1, 1, 0, 0]);
    let yt = g.given_labels(4, vec![1, 0, 0, -1]);
    let source = class_means(&mut g, &[(x, ys)], 2);
    let target = class_means(&mut g, &[(y, yt)], 2);
    let both = class_means(&mut g, &[(x, ys), (y, yt)], 2);
    let loss = pairwise_alignment(&mut g, source, target, Prototypes::Three);
    let mut cpu = Cpu::load(g);
    cpu.forward().unwrap();
    let means = [source, target, both].map(|m| cpu.read(m.means).unwrap());
    let distance =
        |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum() };
    let [s, t, st] = &means;
    let expected = distance(s, t) + distance(s, st) + distance(t, st);
    approx::assert_relative_eq!(cpu.read(loss).unwrap()[0], expected, max_relative = 1e-13);
}

#[test]
fn triplet_margin_of_centroids() {
    // A large margin makes every term positive.
    for margin in [0.3, 20.0] {
        check_op("triplet_margin", &[(5, 3), (6, 3)], |g, x| {
            let (source, target) = centroids(g, x);
            triplet_margin(g, source, target, margin)
        });
    }
}

/// A class whose term is 0 adds nothing to the gradient, and of two centroids at one distance the
/// first is taken.
#[test]
fn triplet_margin_at_its_kinks() {
    // Anchor of class 0 at 0, its own target centroid at 0, the two others at distance 1.
    for (margin, expected) in [(1.0, [0.0, 0.0, 0.0]), (1.5, [0.0, -2.0, 0.0])] {
        let mut g = Graph::new(1);
        let s = g.parameter("s", 1, 1, vec![0.0]);
        let t = g.parameter("t", 3, 1, vec![0.0, 1.0, -1.0]);
        let of = [vec![0], vec![0, 1, 2]].map(|of| g.given_labels(of.len(), of));
        let source = class_means(&mut g, &[(s, of[0])], 3);
        let target = class_means(&mut g, &[(t, of[1])], 3);
        let root = triplet_margin(&mut g, source, target, margin);
        let cpu = differentiated(g, root);
        assert_eq!(cpu.read(root).unwrap()[0], margin - 1.0);
        assert_eq!(cpu.read_grad(t).unwrap()[..], expected, "{margin}");
    }
}

/// A constant keeps no gradient, whatever reads it.
#[test]
fn nothing_flows_back_through_what_is_detached() {
    let mut g = Graph::new(1);
    let x = g.parameter("x", 2, 3, Numbers::new(1).take(6));
    let constant = g.detach(x);
    let (one, other) = (dot(&mut g, x, 2), dot(&mut g, constant, 3));
    let root = weighted_sum(&mut g, &[(one, 1.0), (other, 1.0)]);
    let cpu = differentiated(g, root);
    assert_eq!(cpu.read(constant).unwrap()[..], cpu.read(x).unwrap()[..]);
    assert_eq!(cpu.read_grad(x).unwrap()[..], Numbers::new(2).take(6));
    assert!(cpu.read_grad(constant).unwrap().is_empty());
}

#[test]
fn domain_cross_entropy() {
    check_op("domain_bce", &[(4, 1), (3, 1)], |g, x| {
        let parts = [
            DomainRows {
                logits: x[0],
                rows: labels(g, &[0, -1, 3, 1]),
                positive: true,
            },
            DomainRows {
                logits: x[1],
                rows: labels(g, &[0, 0, -1]),
                positive: false,
            },
        ];
        domain_bce(g, &parts)
    });
}

/// PyTorch's BCELoss: logarithms at least −100, and no gradient where the sigmoid saturates.
#[test]
fn domain_cross_entropy_saturates_as_pytorch() {
    let mut g = Graph::new(1);
    let z = g.parameter("z", 2, 1, vec![-800.0, 50.0]);
    let rows = g.given_labels(2, vec![0, 0]);
    let part = DomainRows {
        logits: z,
        rows,
        positive: true,
    };
    let loss = domain_bce(&mut g, &[part]);
    let cpu = differentiated(g, loss);
    approx::assert_relative_eq!(cpu.read(loss).unwrap()[0], 50.0, max_relative = 1e-12);
    assert_eq!(cpu.read_grad(z).unwrap()[..], [0.0, 0.0]);
}

#[test]
fn reversal_multiplies_the_gradient() {
    let mut g = Graph::new(2);
    let x = g.parameter("x", 2, 3, Numbers::new(1).take(12));
    let lambda = g.constant("lambda", 1, 1, vec![0.25]);
    let reversed = gradient_reversal(&mut g, x, lambda);
    let (l1, l2) = (dot(&mut g, reversed, 3), dot(&mut g, x, 4));
    let total = weighted_sum(&mut g, &[(l1, 1.0), (l2, 1.0)]);
    let cpu = differentiated(g, total);
    let (c1, c2) = (Numbers::new(3).take(6), Numbers::new(4).take(6));
    for p in 0..2 {
        assert_eq!(
            cpu.read(reversed).unwrap()[x.at(p)],
            cpu.read(x).unwrap()[x.at(p)]
        );
        for (i, d) in cpu.read_grad(x).unwrap()[x.at(p)].iter().enumerate() {
            approx::assert_relative_eq!(*d, c2[i] - 0.25 * c1[i], max_relative = 1e-14);
        }
    }
}

#[test]
fn weighted_sums() {
    check("weighted_sum", &[(1, 1), (1, 1)], |g, x| {
        weighted_sum(g, &[(x[0], 0.3), (x[1], -2.0), (x[0], 1.5)])
    });
}

/// The default objective, with weights that let every term matter.
const OBJECTIVE: Objective = Objective {
    alpha: 0.3,
    beta: 0.7,
    gamma: 0.4,
    temperature: 2.0,
    over_classes: OverClasses::Sum,
    refinement: Refinement::Agreement(Similarity::Cosine),
    alignment: Alignment::Pairwise(Prototypes::Three),
};

const CLASSES: usize = 4;

/// A recorded objective at epoch 6 of 20 with random data of unequal class sizes: class 3 has no
/// labelled target row, class 2 no source row.
fn record(
    partitions: usize,
    layers: Layers,
    objective: &Objective,
) -> (Cpu<f64>, Model, Terms, f64) {
    let dimensions = Dimensions {
        source: 5,
        target: 4,
        common: 3,
        classes: CLASSES,
        layers,
    };
    let initial: Vec<_> = (0..partitions)
        .map(|p| {
            let mut parameters = initial_parameters(&dimensions, Initialisation::Small, 5, p, 0);
            // 80 times the usual scale, so that no term is negligible.
            parameters.iter_mut().flatten().for_each(|x| *x *= 80.0);
            parameters
        })
        .collect();
    let mut g = Graph::new(partitions);
    let matrix = |seed, rows, cols| {
        let values = Numbers::new(seed).take(rows * cols);
        Features::from(Matrix { rows, cols, values })
    };
    let (source, target) = (matrix(1, 9, 5), matrix(2, 10, 4));
    let domains = [&source, &target].map(|features| Domain {
        features,
        form: Form::Direct,
    });
    let model = Model::record(&mut g, dimensions, Logits::LeakyRelu, &initial, domains);
    let inputs = Inputs {
        source_labels: labels(&mut g, &[0, 1, 3, 0, -1, 1, 3, 3, 0]),
        labelled: labels(&mut g, &[0, 1, 2, 0, -1, -1, -1, -1, -1, -1]),
        unlabelled: labels(&mut g, &[-1, -1, -1, -1, 0, 0, 0, 0, 0, -1]),
        target_rows: labels(&mut g, &[0, 0, 0, 0, 0, 0, 0, 0, 0, -1]),
        truth: labels(&mut g, &[-1, -1, -1, -1, 0, 1, 2, -1, 3, -1]),
        pseudo_targets: Some((labels(&mut g, &[-1, -1, -1, -1, 0, 3, 2, 2, -1, -1]), 0.6)),
    };
    let epochs = schedule(&mut g, 20, LearningRate::constant(0.1));
    let terms = objective.record(&mut g, &model, &inputs, &epochs);
    g.differentiate(terms.total);
    let mut cpu = Cpu::load(g);
    cpu.write(epochs.epoch, &[6.0]).unwrap();
    cpu.forward().unwrap();
    let lambda = cpu.read(epochs.lambda).unwrap()[0];
    assert!(lambda > 0.5, "the reversal is active");
    cpu.backward().unwrap();
    (cpu, model, terms, lambda)
}

/// The gradient of the total by every parameter. Behind the reversal the adversarial term counts
/// −λ times, so the projectors' gradient is that of `total − (1 + λ)γ·adversarial`.
fn check_objective(what: &str, partitions: usize, layers: Layers, objective: &Objective) {
    let (mut cpu, model, terms, lambda) = record(partitions, layers, objective);
    let roots = [terms.total, terms.adversarial];
    let shapes = model.dimensions().parameters();
    for (var, shape) in model.vars().into_iter().zip(shapes) {
        let gradient = cpu.read_grad(var).unwrap();
        let projector = shape.name.starts_with("source") || shape.name.starts_with("target");
        let excess = if projector {
            (1.0 + lambda) * objective.gamma
        } else {
            0.0
        };
        let expected: Vec<f64> = (0..var.shape.len())
            .map(|i| {
                let d = numeric(&mut cpu, var, i, &roots);
                d[0] - excess * d[1]
            })
            .collect();
        if shape.name.starts_with("discriminator") && objective.gamma == 0.0 {
            assert!(
                gradient.is_empty(),
                "{what}: without γ the discriminator takes no part"
            );
            continue;
        }
        compare(
            &format!("{what}, P = {partitions}"),
            &shape.name,
            &gradient,
            &expected,
        );
    }
}

#[test]
fn objective_in_all_variants() {
    let base = OBJECTIVE;
    let variants = [
        ("default", base),
        ("plain cross-entropy", Objective { alpha: 1.0, ..base }),
        ("no soft correlation", Objective { alpha: 0.0, ..base }),
        ("no alignment", Objective { beta: 0.0, ..base }),
        ("no adversary", Objective { gamma: 0.0, ..base }),
        (
            "two prototypes",
            Objective {
                alignment: Alignment::Pairwise(Prototypes::Two),
                ..base
            },
        ),
        (
            "margin",
            Objective {
                alignment: Alignment::Margin(0.8),
                ..base
            },
        ),
        (
            "no refinement",
            Objective {
                refinement: Refinement::None,
                ..base
            },
        ),
        (
            "Euclidean",
            Objective {
                refinement: Refinement::Agreement(Similarity::Euclidean),
                ..base
            },
        ),
        (
            "cosine threshold",
            Objective {
                refinement: Refinement::Threshold(Similarity::Cosine),
                ..base
            },
        ),
        (
            "Euclidean threshold",
            Objective {
                refinement: Refinement::Threshold(Similarity::Euclidean),
                ..base
            },
        ),
    ];
    for (what, objective) in variants {
        for layers in [Layers::Single, Layers::Double] {
            for partitions in [1, 3] {
                check_objective(what, partitions, layers, &objective);
            }
        }
    }
}

/// What distinguishes the variants is there: rows are selected, and thresholds select fewer.
#[test]
fn variants_select_as_they_should() {
    let selected = |refinement| {
        let objective = Objective {
            refinement,
            ..OBJECTIVE
        };
        let (cpu, _, terms, _) = record(3, Layers::Double, &objective);
        cpu.read(terms.selected).unwrap().iter().sum::<f64>()
    };
    let all = selected(Refinement::None);
    let agreed = selected(Refinement::Agreement(Similarity::Cosine));
    assert_eq!(
        all, 15.0,
        "five unlabelled rows in each of three partitions"
    );
    assert!(0.0 < agreed && agreed < all, "{agreed} agree");
    assert!(selected(Refinement::Threshold(Similarity::Cosine)) <= agreed);
    assert_eq!(selected(Refinement::Threshold(Similarity::Euclidean)), 0.0);
}
