//! The problem that the benchmarks measure: the paper's configuration on random data.

use std::str::FromStr;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use ssan::data::{Matrix, Normalisation};
use ssan::model::Parameters;
use ssan::train::{FirstLayer, Options, PartitionLabels, Problem};

/// Sizes of a random problem, `NSxDS,NTxDT,K` on the command line.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Source rows and columns.
    pub source: (usize, usize),
    /// Target rows and columns.
    pub target: (usize, usize),
    /// Classes.
    pub classes: usize,
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Sizes, String> {
        let number = |text: &str| match text.parse() {
            Ok(0) => Err(format!("{text}: at least 1 expected")),
            Ok(n) => Ok(n),
            Err(e) => Err(format!("{text}: {e}")),
        };
        let pair = |text: &str| -> Result<(usize, usize), String> {
            let (rows, cols) = text.split_once('x').ok_or("rows x columns expected")?;
            Ok((number(rows)?, number(cols)?))
        };
        match text.split(',').collect::<Vec<_>>()[..] {
            [source, target, classes] => Ok(Sizes {
                source: pair(source)?,
                target: pair(target)?,
                classes: number(classes)?,
            }),
            _ => Err("NSxDS,NTxDT,K expected".into()),
        }
    }
}

/// What a benchmark trains: data, options and the parameters to start from.
pub struct Setup {
    /// The data.
    pub problem: Problem,
    /// The paper's options.
    pub options: Options,
    /// Initial parameters of each partition.
    pub initial: Vec<Parameters>,
}

impl Setup {
    /// Random rows of these sizes, three of each target class labelled, for `partitions`
    /// partitions; a common space of `common` dimensions, double layers, `epochs` epochs.
    pub fn new(
        sizes: Sizes,
        partitions: usize,
        common: usize,
        epochs: usize,
        first_layer: FirstLayer,
    ) -> Setup {
        let options = Options {
            epochs,
            common,
            first_layer,
            ..Options::PAPER
        };
        let problem = problem(sizes, partitions);
        let initial = problem.initial_parameters(&options, 2020);
        Setup {
            problem,
            options,
            initial,
        }
    }
}

fn problem(sizes: Sizes, partitions: usize) -> Problem {
    let mut rng = ChaCha8Rng::seed_from_u64(2020);
    let class = |i: usize| (i % sizes.classes) as i32;
    let (source, target) = (sizes.source.0, sizes.target.0);
    let labelled = |i: usize| i < 3 * sizes.classes;
    let target_labels = |label: &dyn Fn(usize) -> i32| (0..target).map(label).collect();
    let labels = PartitionLabels {
        source: (0..source).map(class).collect(),
        labelled: target_labels(&|i| if labelled(i) { class(i) } else { -1 }),
        unlabelled: target_labels(&|i| if labelled(i) { -1 } else { 0 }),
        truth: target_labels(&|i| if labelled(i) { -1 } else { class(i) }),
    };
    Problem {
        classes: sizes.classes,
        members: 1,
        normalisation: [Normalisation::L2; 2],
        means: None,
        neighbours: None,
        source: matrix(&mut rng, sizes.source).into(),
        target: matrix(&mut rng, sizes.target).into(),
        partitions: vec![labels; partitions],
    }
}

fn matrix(rng: &mut ChaCha8Rng, (rows, cols): (usize, usize)) -> Matrix {
    let values = (0..rows * cols)
        .map(|_| StandardNormal.sample(rng))
        .collect();
    let mut matrix = Matrix { rows, cols, values };
    matrix.normalise_rows();
    matrix
}
