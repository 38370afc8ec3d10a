//! Every operation on ragged and degenerate shapes, to be run on a device and compared with the
//! CPU. The cases know nothing of the device.
//!
//! The same operations are recorded with sizes, values and labels drawn at random:
//! [`random_cases`]. `SSAN_CASES` is how many times each is drawn, `SSAN_CASES_SEED` another
//! sequence.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use ssan::Result;
use ssan::device::launch::Launches;
use ssan::device::rung::{Arithmetic, Rung};
use ssan::device::{Cpu, Device};
use ssan::graph::{Graph, Labels, Var};
use ssan::ops::{
    Adam, ClassMeans, DomainRows, GramLayer, LearningRate, Prototypes, Sgd, Similarity, advance,
    argmax, class_means, count_correct, cross_entropy, domain_bce, gradient_reversal, gram_linear,
    l2_normalize, leaky_relu, linear, pairwise_alignment, record_metrics, refine, schedule,
    similarity, soft_correlation, softmax, triplet_margin, weighted_sum,
};
use ssan::real::Real;

/// What loads a recording to the device under test.
pub type Load<T> = dyn Fn(Graph<T>) -> Result<Box<dyn Device<T>>>;

type Record<T> = Box<dyn Fn(&mut Graph<T>, &[Var]) -> Vec<Var>>;
type Update<T> = Box<dyn Fn(&mut Graph<T>)>;

/// A recording of one operation.
pub struct Case<T: Real> {
    /// The operation's name and what is special.
    pub name: String,
    /// Rows and columns of the parameters that the operation works on.
    shapes: Vec<(usize, usize)>,
    /// Records the operation; returns its results on the tape.
    record: Record<T>,
    /// Records what follows the backward pass.
    update: Option<Update<T>>,
    data: Data,
    /// Partitions, and times that the operation is recorded on the same parameters.
    runs: Vec<(usize, usize)>,
}

/// Where values and labels come from: a random sequence, or the same ones in every case.
#[derive(Clone, Copy)]
struct Data(Option<u64>);

/// The table.
struct Cases<T: Real> {
    table: Vec<Case<T>>,
    data: Data,
    runs: Vec<(usize, usize)>,
}

impl<T: Real> Cases<T> {
    fn add(
        &mut self,
        name: impl Into<String>,
        shapes: &[(usize, usize)],
        record: impl Fn(&mut Graph<T>, &[Var]) -> Vec<Var> + 'static,
    ) {
        self.add_with_update(name, shapes, record, None);
    }

    fn add_with_update(
        &mut self,
        name: impl Into<String>,
        shapes: &[(usize, usize)],
        record: impl Fn(&mut Graph<T>, &[Var]) -> Vec<Var> + 'static,
        update: Option<Update<T>>,
    ) {
        self.table.push(Case {
            name: name.into(),
            shapes: shapes.to_vec(),
            record: Box::new(record),
            update,
            data: self.data,
            runs: self.runs.clone(),
        });
    }
}

/// Numbers spread over (−1, 1), none nearer to 0 than 0.05: no kink is in reach of rounding.
pub fn numbers<T: Real>(seed: u64, len: usize) -> Vec<T> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let number = |_| {
        let x = 2.0 * f64::from(rng.next_u32()) / f64::from(u32::MAX) - 1.0;
        T::of(x.signum() * (0.05 + 0.95 * x.abs()))
    };
    (0..len).map(number).collect()
}

/// A number below `n`, which is not 0.
fn below(random: &mut ChaCha8Rng, n: usize) -> usize {
    ((u64::from(random.next_u32()) * n as u64) >> 32) as usize
}

impl Data {
    /// `rows` rows of [`numbers`]. At random: of another size, some rows 0, some columns equal.
    fn values<T: Real>(self, seed: u64, rows: usize, cols: usize) -> Vec<T> {
        let Data(Some(case)) = self else {
            return numbers(seed, rows * cols);
        };
        let mut random = ChaCha8Rng::seed_from_u64(case);
        random.set_stream(seed);
        let mut values = numbers(u64::from(random.next_u32()), rows * cols);
        let scale = T::of([1.0, 1.0, 0.1, 4.0][below(&mut random, 4)]);
        let (zeros, ties) = (below(&mut random, 4) == 0, below(&mut random, 3) == 0);
        for row in values.chunks_exact_mut(cols) {
            row.iter_mut().for_each(|x| *x *= scale);
            if zeros && below(&mut random, 4) == 0 {
                row.fill(T::zero());
            }
            if ties {
                row[below(&mut random, cols)] = row[below(&mut random, cols)];
            }
        }
        values
    }

    /// Labels of `rows` rows of each partition: every seventh −1, class 1 without rows where there
    /// are more than two. At random: of all or few of the classes, with none to all of them −1.
    fn label_values<T: Real>(self, g: &Graph<T>, rows: usize, classes: usize) -> Vec<i32> {
        let Data(Some(case)) = self else {
            let label = |i: usize| match (i * 5 + 2) % classes {
                _ if i % 7 == 3 => -1,
                1 if classes > 2 => 0,
                class => class as i32,
            };
            let of = |p: usize| (0..rows).map(move |i| label(i + p));
            return (0..g.partitions()).flat_map(of).collect();
        };
        let mut random = ChaCha8Rng::seed_from_u64(case);
        // Other labels than the ones before.
        random.set_stream(1000 + g.all_labels().len() as u64);
        let mut values = Vec::new();
        for _ in 0..g.partitions() {
            let none = [0, 1, 4, 8][below(&mut random, 4)];
            let most = 1 + below(&mut random, classes);
            values.extend((0..rows).map(|_| match below(&mut random, 8) < none {
                true => -1,
                false => (classes - 1 - below(&mut random, most)) as i32,
            }));
        }
        values
    }

    fn labels<T: Real>(self, g: &mut Graph<T>, rows: usize, classes: usize) -> Labels {
        let values = self.label_values(g, rows, classes);
        g.given_labels(rows, values)
    }

    /// The class means of the first two parameters.
    fn centroids<T: Real>(
        self,
        g: &mut Graph<T>,
        x: &[Var],
        classes: usize,
    ) -> (ClassMeans, ClassMeans) {
        let mut of = |x: Var| {
            let labels = self.labels(g, x.shape.rows, classes);
            class_means(g, &[(x, labels)], classes)
        };
        (of(x[0]), of(x[1]))
    }
}

/// Rows and columns that are no multiple of anything, one of each, and those of a tile.
const SHAPES: [(usize, usize); 9] = [
    (1, 1),
    (1, 31),
    (5, 3),
    (7, 1),
    (33, 31),
    (8, 32),
    (40, 33),
    (131, 10),
    (3, 70),
];

/// Rows, columns and classes of class means.
const CENTROIDS: [(usize, usize, usize); 6] = [
    (1, 1, 1),
    (1, 5, 3),
    (6, 3, 5),
    (35, 33, 31),
    (150, 10, 4),
    (9, 130, 2),
];

/// All operations.
pub fn cases<T: Real>() -> Vec<Case<T>> {
    let mut cases = Cases {
        table: Vec::new(),
        data: Data(None),
        runs: vec![(1, 1), (3, 2)],
    };
    for sizes in [
        (1, 1, 1),
        (5, 3, 4),
        (1, 130, 31),
        (33, 31, 31),
        (64, 64, 64),
        (70, 130, 65),
        (131, 17, 1),
        // Few tiles of long sums, in each use.
        (4, 460, 3),
        (5, 3, 460),
        (460, 3, 5),
    ] {
        products(&mut cases, sizes);
    }
    for (rows, cols) in SHAPES {
        for temperature in [1.0, 5.0] {
            softmax_of(&mut cases, rows, cols, temperature);
        }
        rowwise(&mut cases, rows, cols);
        labelled(&mut cases, rows, cols);
    }
    for (first, second) in [(1, 1), (5, 40), (131, 3)] {
        domains(&mut cases, first, second);
    }
    for (rows, cols, classes) in CENTROIDS {
        for margin in [0.0, 0.7, 20.0] {
            margins(&mut cases, [rows, rows + 3], cols, classes, margin);
        }
        centroids(&mut cases, [rows, rows + 3], cols, classes);
    }
    // More rows than are looked through at once, by several warps, and columns of several blocks.
    means(&mut cases, 1100, 33, 4);
    correlated(&mut cases, 1100, 5);
    domains(&mut cases, 1100, 1);
    centroids(&mut cases, [1100, 3], 5, 3);
    means(&mut cases, 40, 70, 3);
    sum(
        &mut cases,
        (1, 1),
        vec![(0, 0.5), (1, -1.5), (2, 0.25), (0, 3.0)],
    );
    let rate = LearningRate {
        peak: 0.5,
        warm_up: 2,
        cosine: true,
    };
    // More scalars than one launch takes, and more epochs than rows in the ring.
    metrics(&mut cases, 10, rate, [1, 7, 14], 2);
    let shapes = [(1, 1), (5, 3), (33, 31), (64, 2), (1, 7)];
    for (momentum, nesterov, weight_decay) in [
        (0.0, false, 0.0),
        (0.9, true, 0.001),
        (0.9, false, 0.0),
        (0.0, false, 0.1),
    ] {
        let sgd = Sgd {
            momentum,
            nesterov,
            weight_decay,
        };
        sgd_of(&mut cases, &shapes, sgd);
    }
    adam_of(&mut cases, &shapes);
    degenerate(&mut cases);
    cases.table
}

/// Partitions of [`products_side_by_side`] with which they reach every rung.
pub const SIDE_BY_SIDE: usize = 20;

/// Products of many partitions: in each use some fill a card with tiles of each size, and with several
/// blocks for each medium tile, and none is a multiple of a tile. Without a slope and of unit length, so that results are off by what factors
/// lose in rounding and no more: no sum has another sign for it, and no logit is large.
pub fn products_side_by_side(partitions: usize) -> Vec<Case<f32>> {
    let mut cases = Cases {
        table: Vec::new(),
        data: Data(None),
        runs: vec![(partitions, 1)],
    };
    for (rows, inputs, outputs) in [
        (129, 33, 257),
        (129, 257, 33),
        (33, 129, 257),
        (129, 70, 130),
        (33, 257, 129),
        (257, 129, 33),
    ] {
        layer(&mut cases, rows, inputs, outputs, l2_normalize);
        gram_layer(&mut cases, rows, outputs, l2_normalize);
    }
    cases.table
}

/// How often [`random_cases`] are drawn, and from which seed.
pub fn draws() -> (u64, u64) {
    let number = |variable: &str, default: u64| {
        std::env::var(variable).map_or(default, |text| {
            let number = text.replace('_', "").parse();
            number.unwrap_or_else(|_| panic!("{variable}={text} is no number"))
        })
    };
    (number("SSAN_CASES", 12), number("SSAN_CASES_SEED", 1))
}

/// All operations, their sizes, values and labels drawn from stream `n` of `seed`.
pub fn random_cases<T: Real>(seed: u64, n: u64) -> Vec<Case<T>> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(n);
    let mut cases = Cases {
        table: Vec::new(),
        data: Data(Some(u64::from(random.next_u32()))),
        runs: vec![(1 + below(&mut random, 4), 1 + below(&mut random, 2))],
    };
    // Small ones more often than large ones.
    let mut up_to = |most: usize| {
        let below_first = 1 + below(&mut random, most);
        1 + below(&mut random, below_first)
    };
    products(&mut cases, (up_to(70), up_to(70), up_to(70)));
    let (rows, cols) = (up_to(70), up_to(70));
    rowwise(&mut cases, rows, cols);
    let temperature = up_to(50) as f64 / 10.0;
    softmax_of(&mut cases, rows, cols, temperature);
    labelled(&mut cases, up_to(70), up_to(40));
    domains(&mut cases, up_to(70), up_to(70));
    let (both, cols, classes) = ([up_to(70), up_to(70)], up_to(70), up_to(40));
    centroids(&mut cases, both, cols, classes);
    margins(&mut cases, both, cols, classes, up_to(40) as f64 / 20.0);
    // Roots of different numbers, so that no sum of them cancels.
    let weight = |i: usize| (i as f64 * 2.0 + 2.0).sqrt() * [1.0, -1.0, 1.0][i % 3];
    let terms = (0..up_to(20)).map(|i| (up_to(3) - 1, weight(i))).collect();
    sum(&mut cases, (up_to(70), up_to(70)), terms);
    let rate = LearningRate {
        peak: 1.0 / up_to(100) as f64,
        warm_up: up_to(6) - 1,
        cosine: up_to(3) == 1,
    };
    let counts = [0; 3].map(|_| up_to(20));
    metrics(&mut cases, up_to(50), rate, counts, up_to(5));
    let shapes = [0; 5].map(|_| (up_to(70), up_to(70)));
    let momentum = [0.0, 0.5, 0.9][up_to(3) - 1];
    let sgd = Sgd {
        momentum,
        nesterov: momentum > 0.0 && up_to(3) == 1,
        weight_decay: [0.0, 0.001, 0.1][up_to(3) - 1],
    };
    sgd_of(&mut cases, &shapes, sgd);
    adam_of(&mut cases, &shapes);
    cases.table
}

fn products<T: Real>(cases: &mut Cases<T>, (rows, inputs, outputs): (usize, usize, usize)) {
    let data = cases.data;
    let name = format!("{rows} x {inputs} to {outputs}");
    let of_layer = [(outputs, inputs), (1, outputs)];
    let shapes = [(rows, inputs), of_layer[0], of_layer[1]];
    layer(cases, rows, inputs, outputs, |_, y| y);
    cases.add(
        format!("linear with leaky_relu, {name}"),
        &shapes,
        |g, x| {
            let y = linear(g, x[0], x[1], x[2]);
            vec![leaky_relu(g, y, 0.2)]
        },
    );
    let shared = move |g: &mut Graph<T>, w: &[Var]| {
        let x = g.constant("x", rows, inputs, data.values(1, rows, inputs));
        let y = linear(g, x, w[0], w[1]);
        vec![leaky_relu(g, y, 0.2)]
    };
    cases.add(format!("linear of shared rows, {name}"), &of_layer, shared);
    gram_layer(cases, rows, outputs, |g, y| leaky_relu(g, y, 0.2));
}

/// A layer, and what `follow` records on its result.
fn layer<T: Real>(
    cases: &mut Cases<T>,
    rows: usize,
    inputs: usize,
    outputs: usize,
    follow: impl Fn(&mut Graph<T>, Var) -> Var + 'static,
) {
    let name = format!("linear, {rows} x {inputs} to {outputs}");
    let shapes = [(rows, inputs), (outputs, inputs), (1, outputs)];
    cases.add(name, &shapes, move |g, x| {
        let y = linear(g, x[0], x[1], x[2]);
        vec![follow(g, y)]
    });
}

/// The same of a layer in Gram form.
fn gram_layer<T: Real>(
    cases: &mut Cases<T>,
    rows: usize,
    outputs: usize,
    follow: impl Fn(&mut Graph<T>, Var) -> Var + 'static,
) {
    let data = cases.data;
    let name = format!("gram_linear, {rows} rows to {outputs}");
    let shapes = [(rows, outputs), (1, 1), (1, outputs)];
    cases.add(name, &shapes, move |g, x| {
        let start = data.values(2, g.partitions() * rows, outputs);
        let layer = GramLayer {
            gram: g.constant("gram", rows, rows, data.values(1, rows, rows)),
            start: g.given_buffer("start", rows, outputs, start),
            scale: x[1],
            coefficients: x[0],
            bias: x[2],
        };
        let y = gram_linear(g, layer);
        vec![follow(g, y)]
    });
}

fn rowwise<T: Real>(cases: &mut Cases<T>, rows: usize, cols: usize) {
    let data = cases.data;
    let (name, shape) = (format!("{rows} x {cols}"), [(rows, cols)]);
    cases.add(format!("leaky_relu, {name}"), &shape, |g, x| {
        vec![leaky_relu(g, x[0], 0.2)]
    });
    cases.add(format!("l2_normalize, {name}"), &shape, |g, x| {
        vec![l2_normalize(g, x[0])]
    });
    cases.add(format!("gradient_reversal, {name}"), &shape, |g, x| {
        let lambda = g.constant("lambda", 1, 1, vec![T::of(0.3)]);
        vec![gradient_reversal(g, x[0], lambda)]
    });
    cases.add(
        format!("argmax and accuracy, {name}"),
        &shape,
        move |g, x| {
            let found = argmax(g, x[0]);
            let truth = data.labels(g, rows, cols);
            count_correct(g, found, truth);
            vec![]
        },
    );
}

fn softmax_of<T: Real>(cases: &mut Cases<T>, rows: usize, cols: usize, temperature: f64) {
    let name = format!("softmax at {temperature}, {rows} x {cols}");
    cases.add(name, &[(rows, cols)], move |g, x| {
        vec![softmax(g, x[0], temperature)]
    });
}

fn labelled<T: Real>(cases: &mut Cases<T>, rows: usize, classes: usize) {
    let data = cases.data;
    let name = format!("{rows} x {classes}");
    let shapes = [(rows, classes), (classes, classes)];
    cases.add(
        format!("cross_entropy, {name}"),
        &shapes[..1],
        move |g, x| {
            let labels = data.labels(g, rows, classes);
            vec![cross_entropy(g, x[0], labels)]
        },
    );
    cases.add(format!("soft_correlation, {name}"), &shapes, move |g, x| {
        let labels = data.labels(g, rows, classes);
        let q = softmax(g, x[1], 1.0);
        vec![soft_correlation(g, x[0], labels, q)]
    });
}

/// Losses of labelled rows, of which each class has many: with correlations that are no softmax, whose
/// gradient is a difference of near numbers.
fn correlated<T: Real>(cases: &mut Cases<T>, rows: usize, classes: usize) {
    let data = cases.data;
    let name = format!("cross_entropy and soft_correlation, {rows} x {classes}");
    let shapes = [(rows, classes), (classes, classes)];
    cases.add(name, &shapes, move |g, x| {
        let labels = data.labels(g, rows, classes);
        vec![
            cross_entropy(g, x[0], labels),
            soft_correlation(g, x[0], labels, x[1]),
        ]
    });
}

fn domains<T: Real>(cases: &mut Cases<T>, first: usize, second: usize) {
    let data = cases.data;
    let shapes = [(first, 1), (second, 1)];
    let name = format!("domain_bce, {first} and {second} rows");
    cases.add(name, &shapes, move |g, x| {
        let mut part = |i: usize, positive| DomainRows {
            logits: x[i],
            rows: data.labels(g, x[i].shape.rows, 2),
            positive,
        };
        let parts = [part(0, true), part(1, false)];
        vec![domain_bce(g, &parts)]
    });
}

fn sum<T: Real>(cases: &mut Cases<T>, shape: (usize, usize), terms: Vec<(usize, f64)>) {
    let name = format!("weighted_sum of {} terms of {shape:?}", terms.len());
    cases.add(name, &[shape; 3], move |g, x| {
        let terms: Vec<(Var, f64)> = terms.iter().map(|&(i, c)| (x[i], c)).collect();
        vec![weighted_sum(g, &terms)]
    });
}

fn margins<T: Real>(
    cases: &mut Cases<T>,
    [first, second]: [usize; 2],
    cols: usize,
    classes: usize,
    margin: f64,
) {
    let data = cases.data;
    let name = format!("{first} and {second} x {cols}, {classes} classes");
    let name = format!("triplet_margin {margin}, {name}");
    cases.add(name, &[(first, cols), (second, cols)], move |g, x| {
        let (source, target) = data.centroids(g, x, classes);
        vec![triplet_margin(g, source, target, margin)]
    });
}

fn means<T: Real>(cases: &mut Cases<T>, rows: usize, cols: usize, classes: usize) {
    let data = cases.data;
    let name = format!("class_means, {rows} x {cols}, {classes} classes");
    cases.add(name, &[(rows, cols)], move |g, x| {
        let labels = data.labels(g, rows, classes);
        vec![class_means(g, &[(x[0], labels)], classes).means]
    });
}

fn centroids<T: Real>(
    cases: &mut Cases<T>,
    [first, second]: [usize; 2],
    cols: usize,
    classes: usize,
) {
    let data = cases.data;
    let name = format!("{first} and {second} x {cols}, {classes} classes");
    let shapes = [(first, cols), (second, cols)];
    means(cases, first, cols, classes);
    let two = move |g: &mut Graph<T>, x: &[Var]| {
        let parts = [0, 1].map(|i| (x[i], data.labels(g, x[i].shape.rows, classes)));
        vec![class_means(g, &parts, classes).means]
    };
    cases.add(format!("class_means of two parts, {name}"), &shapes, two);
    for prototypes in [Prototypes::Two, Prototypes::Three] {
        let name = format!("pairwise_alignment, {prototypes:?}, {name}");
        cases.add(name, &shapes, move |g, x| {
            let (source, target) = data.centroids(g, x, classes);
            vec![pairwise_alignment(g, source, target, prototypes)]
        });
    }
    for kind in [Similarity::Cosine, Similarity::Euclidean] {
        let name = format!("similarity, argmax and refine, {kind:?}, {name}");
        cases.add(name, &shapes, move |g, x| {
            let (prototypes, others) = data.centroids(g, x, classes);
            let similar = similarity(g, x[1], prototypes, kind);
            let nearest = argmax(g, similar);
            // Agrees with the nearest in some rows.
            let otherwise = similarity(g, x[1], others, kind);
            let pseudo = argmax(g, otherwise);
            let values = data.label_values(g, second, classes);
            let unlabelled = values.iter().map(|&l| if l < 0 { 0 } else { -1 }).collect();
            let labelled = g.given_labels(second, values);
            let unlabelled = g.given_labels(second, unlabelled);
            let at = match kind {
                Similarity::Cosine => 0.3,
                Similarity::Euclidean => -1.0,
            };
            let threshold = g.constant("threshold", 1, 1, vec![T::of(at)]);
            for opinion in [
                None,
                Some((similar, nearest, None)),
                Some((similar, nearest, Some(threshold))),
            ] {
                refine(g, labelled, unlabelled, pseudo, opinion);
            }
            vec![]
        });
    }
}

fn metrics<T: Real>(
    cases: &mut Cases<T>,
    epochs: usize,
    rate: LearningRate,
    counts: [usize; 3],
    capacity: usize,
) {
    let record = move |g: &mut Graph<T>, x: &[Var]| {
        let s = schedule(g, epochs, rate);
        let all = [x, &[s.epoch, s.lambda, s.threshold, s.rate]].concat();
        for count in counts {
            let scalars: Vec<Var> = all.iter().copied().cycle().take(count).collect();
            record_metrics(g, all[3], &scalars, capacity);
        }
        vec![weighted_sum(g, &[(x[0], 1.0), (x[1], 1.0), (x[2], 1.0)])]
    };
    let update = |g: &mut Graph<T>| {
        let epoch = g.vars().into_iter().find(|v| g.name(*v) == "epoch");
        let epoch = epoch.expect("the schedule's first variable");
        advance(g, epoch);
    };
    let name = format!("schedule of {epochs} epochs, {rate:?}, advance and metrics");
    cases.add_with_update(name, &[(1, 1); 3], record, Some(Box::new(update)));
}

/// The fourth parameter takes no part in the loss, so that it is not trained.
fn all_but_the_fourth<T: Real>(_: &mut Graph<T>, x: &[Var]) -> Vec<Var> {
    vec![x[0], x[1], x[2], x[4]]
}

fn sgd_of<T: Real>(cases: &mut Cases<T>, shapes: &[(usize, usize); 5], sgd: Sgd) {
    let update = move |g: &mut Graph<T>| {
        let rate = g.constant("rate", 1, 1, vec![T::of(0.1)]);
        sgd.record(g, rate);
    };
    let name = format!("sgd, {sgd:?}, {shapes:?}");
    cases.add_with_update(name, shapes, all_but_the_fourth, Some(Box::new(update)));
}

fn adam_of<T: Real>(cases: &mut Cases<T>, shapes: &[(usize, usize); 5]) {
    let update = |g: &mut Graph<T>| {
        let epoch = g.shared("epoch", 1, 1);
        let rate = g.constant("rate", 1, 1, vec![T::of(0.01)]);
        let adam = Adam {
            beta1: 0.9,
            beta2: 0.99,
            epsilon: 1e-8,
        };
        adam.record(g, epoch, rate);
        advance(g, epoch);
    };
    let name = format!("adam, {shapes:?}");
    cases.add_with_update(name, shapes, all_but_the_fourth, Some(Box::new(update)));
}

/// Rows of zeros, ties, far numbers, no rows at all.
fn degenerate<T: Real>(cases: &mut Cases<T>) {
    let data = cases.data;
    // The second row is 0, where neither a length nor a slope has a side to take.
    cases.add(
        "l2_normalize and leaky_relu of a row of zeros",
        &[],
        |g, _| {
            let mut values = numbers(3, 9 * g.partitions());
            for row in values.chunks_exact_mut(3).skip(1).step_by(3) {
                row.fill(T::zero());
            }
            let x = g.parameter("x", 3, 3, values);
            vec![l2_normalize(g, x), leaky_relu(g, x, 0.2)]
        },
    );
    cases.add("losses without rows", &[(5, 3), (5, 1)], |g, x| {
        let none = g.labels(5);
        let means = class_means(g, &[(x[0], none)], 3);
        let others = class_means(g, &[(x[0], none)], 3);
        let rows = DomainRows {
            logits: x[1],
            rows: none,
            positive: true,
        };
        vec![
            cross_entropy(g, x[0], none),
            soft_correlation(g, x[0], none, means.means),
            pairwise_alignment(g, means, others, Prototypes::Three),
            triplet_margin(g, means, others, 0.5),
            domain_bce(g, &[rows]),
        ]
    });
    cases.add("domain_bce, far logits", &[(4, 1)], move |g, x| {
        let far = g.parameter("far", 4, 1, {
            let values = [200.0, -200.0, 40.0, -40.0].map(T::of);
            values.repeat(g.partitions())
        });
        let mut part = |logits, positive| DomainRows {
            logits,
            rows: data.labels(g, 4, 1),
            positive,
        };
        let parts = [part(far, true), part(far, false), part(x[0], true)];
        vec![domain_bce(g, &parts)]
    });
    cases.add("refine at the threshold", &[], |g, _| {
        let rows = [[0.5, 0.25], [0.5, 0.75], [0.25, 0.125], [0.75, 0.5]];
        let values: Vec<T> = rows.concat().into_iter().map(T::of).collect();
        let similar = g.given_buffer("similarity", 4, 2, values.repeat(g.partitions()));
        let nearest = argmax(g, similar);
        let threshold = g.constant("threshold", 1, 1, vec![T::of(0.5)]);
        let labelled = g.labels(4);
        let unlabelled = g.given_labels(4, vec![0; 4 * g.partitions()]);
        let opinion = Some((similar, nearest, Some(threshold)));
        refine(g, labelled, unlabelled, nearest, opinion);
        vec![]
    });
    cases.add("argmax of ties", &[], |g, _| {
        let values = [[1.0, 1.0, 1.0], [0.0, 2.0, 2.0], [3.0, -1.0, 3.0]];
        let x = g.constant(
            "ties",
            3,
            3,
            values.concat().into_iter().map(T::of).collect(),
        );
        // A constant is one block; the classifier's logits are one per partition.
        let w = g.parameter("identity", 3, 3, {
            let identity = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0].map(T::of);
            identity.repeat(g.partitions())
        });
        let b = g.parameter("bias", 1, 3, vec![T::zero(); 3 * g.partitions()]);
        let logits = linear(g, x, w, b);
        argmax(g, logits);
        vec![logits]
    });
}

/// `L` of a result of any shape, with another gradient for each entry.
fn loss<T: Real>(g: &mut Graph<T>, y: Var, seed: u64) -> Var {
    if y.shape.block() == 1 {
        return y;
    }
    let (cols, partitions) = (y.shape.cols, g.partitions());
    let w = g.parameter("loss.weight", 1, cols, numbers(seed, partitions * cols));
    let b = g.parameter("loss.bias", 1, 1, numbers(seed + 1, partitions));
    let logits = linear(g, y, w, b);
    let rows = g.given_labels(y.shape.rows, vec![0; y.shape.rows * partitions]);
    let part = DomainRows {
        logits,
        rows,
        positive: true,
    };
    domain_bce(g, &[part])
}

impl<T: Real> Case<T> {
    /// Records it for `partitions`, `times` on the same parameters: the gradients of the second
    /// add to those of the first.
    fn graph(&self, partitions: usize, times: usize) -> Graph<T> {
        let mut g = Graph::new(partitions);
        let shapes = self.shapes.iter().enumerate();
        let parameters: Vec<Var> = shapes
            .map(|(i, &(rows, cols))| {
                let values = self.data.values(10 + i as u64, partitions * rows, cols);
                g.parameter(&format!("x{i}"), rows, cols, values)
            })
            .collect();
        let mut terms = Vec::new();
        for time in 0..times {
            for (i, y) in (self.record)(&mut g, &parameters).into_iter().enumerate() {
                let loss = loss(&mut g, y, 20 + 2 * i as u64);
                terms.push((loss, [1.0, -0.7][time] / (i + 1) as f64));
            }
        }
        if !terms.is_empty() {
            let total = weighted_sum(&mut g, &terms);
            g.differentiate(total);
        }
        if let Some(update) = &self.update {
            update(&mut g);
        }
        g
    }

    /// The kernels of its products and the rungs they are on where large ones are computed in
    /// `arithmetic`; and whether several blocks make a tile.
    pub fn rungs(&self, arithmetic: Arithmetic) -> Vec<(&'static str, Rung, bool)> {
        let mut rungs = Vec::new();
        for &(partitions, times) in &self.runs {
            let graph = self.graph(partitions, times);
            let all = Launches::of(&graph, |product| arithmetic.rung(product));
            let products = all.all().filter(|launch| launch.product.is_some());
            rungs.extend(products.map(|l| (l.kernel, l.rung, l.split_k > 1)));
        }
        rungs
    }

    /// Runs it on the CPU and on the device that `load` gives, and compares all values and labels
    /// and the gradients of all parameters: after a forward and a backward pass, after one more,
    /// and after two steps.
    ///
    /// # Errors
    /// They differ, or the device fails.
    pub fn compare(&self, load: &Load<T>) -> std::result::Result<(), String> {
        self.compare_within(T::epsilon().wide() * 256.0, load)
    }

    /// The same, with differences of at most `tolerance` of the largest entry.
    ///
    /// # Errors
    /// As [`Case::compare`].
    pub fn compare_within(
        &self,
        tolerance: f64,
        load: &Load<T>,
    ) -> std::result::Result<(), String> {
        type Replay<T> = fn(&mut dyn Device<T>) -> Result<()>;
        let replays: [(&str, Replay<T>); 4] = [
            ("forward", |d| d.forward()),
            ("backward", |d| d.backward()),
            ("again", |d| d.forward().and_then(|()| d.backward())),
            ("two steps", |d| d.steps(2)),
        ];
        // Where differences of larger numbers are left, the result says nothing of their rounding.
        let floor = if self.data.0.is_some() { 1.0 } else { 0.0 };
        for &(partitions, times) in &self.runs {
            let mut cpu = Cpu::load(self.graph(partitions, times));
            let mut device = load(self.graph(partitions, times)).map_err(|e| e.to_string())?;
            for (when, replay) in replays {
                replay(&mut cpu).expect("the CPU does not fail");
                let run = replay(&mut *device).map_err(|e| e.to_string());
                run.and_then(|()| compare(&cpu, &*device, tolerance, floor))
                    .map_err(|e| {
                        let name = &self.name;
                        format!("{name}, {partitions} partitions, {times} times, {when}: {e}")
                    })?;
            }
        }
        Ok(())
    }
}

fn compare<T: Real>(
    cpu: &dyn Device<T>,
    device: &dyn Device<T>,
    tolerance: f64,
    floor: f64,
) -> std::result::Result<(), String> {
    let graph = cpu.graph();
    for labels in graph.all_labels() {
        let (expected, found) = (cpu.read_labels(labels), device.read_labels(labels));
        let (expected, found) = (expected.unwrap(), found.unwrap());
        if expected != found {
            return Err(format!("labels {found:?}, on the CPU {expected:?}"));
        }
    }
    for var in graph.vars() {
        let (expected, found) = (cpu.read(var).unwrap(), device.read(var).unwrap());
        near(&expected, &found, tolerance, floor)
            .map_err(|e| format!("{}: {e}", graph.name(var)))?;
    }
    for var in graph.trained() {
        let (expected, found) = (cpu.read_grad(var).unwrap(), device.read_grad(var).unwrap());
        let name = graph.name(var);
        near(&expected, &found, tolerance, floor)
            .map_err(|e| format!("gradient of {name}: {e}"))?;
    }
    Ok(())
}

/// Compares entry by entry, within `tolerance` of the largest of all, or of `floor`.
fn near<T: Real>(
    expected: &[T],
    found: &[T],
    tolerance: f64,
    floor: f64,
) -> std::result::Result<(), String> {
    let (entries, on_cpu) = (found.len(), expected.len());
    if entries != on_cpu {
        return Err(format!("{entries} entries, on the CPU {on_cpu}"));
    }
    let finite = expected.iter().map(|x| x.wide().abs());
    let largest = finite.filter(|x| x.is_finite()).fold(floor, f64::max);
    for (i, (&expected, &found)) in expected.iter().zip(found).enumerate() {
        let near = (expected - found).wide().abs() <= tolerance * largest;
        if expected != found && !near {
            return Err(format!(
                "entry {i} is {found:?}, on the CPU {expected:?} (largest {largest:e})"
            ));
        }
    }
    Ok(())
}
