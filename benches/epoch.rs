//! Milliseconds per epoch of the paper's configuration on random data of a given size:
//!
//! ```text
//! cargo bench --bench epoch -- --synthetic 958x800,958x4096,10 --partition 1
//! ```
//!
//! `benches/peer/ssan_torch.py --synthetic …` is the same in PyTorch. Both evaluate every epoch.

use std::str::FromStr;

use clap::Parser;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use ssan::data::Matrix;
use ssan::device::{Request, choose};
use ssan::model::{Layers, initial_parameters};
use ssan::objective::{Alignment, Objective, Refinement};
use ssan::ops::{Prototypes, Similarity};
use ssan::optim::Optimizer;
use ssan::train::{FirstLayer, Options, PartitionLabels, Problem, train};

/// Milliseconds per epoch on random data.
#[derive(Parser)]
struct Args {
    /// Source rows and columns, target rows and columns, classes
    #[arg(long, default_value = "958x800,958x4096,10")]
    synthetic: Sizes,
    /// Partitions in one step
    #[arg(long, default_value_t = 1)]
    partition: usize,
    /// Epochs
    #[arg(long, default_value_t = 60)]
    nepoch: usize,
    /// Device: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: Request,
    /// First layers: auto, gram or direct
    #[arg(long, default_value = "auto", value_parser = first_layer)]
    first_layer: FirstLayer,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone)]
struct Sizes {
    source: (usize, usize),
    target: (usize, usize),
    classes: usize,
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Sizes, String> {
        let number = |text: &str| text.parse().map_err(|e| format!("{text}: {e}"));
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

fn first_layer(name: &str) -> Result<FirstLayer, String> {
    match name {
        "auto" => Ok(FirstLayer::Auto),
        "gram" => Ok(FirstLayer::Gram),
        "direct" => Ok(FirstLayer::Direct),
        _ => Err("auto, gram or direct expected".into()),
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

fn main() -> ssan::Result<()> {
    let Args {
        synthetic: sizes,
        partition,
        nepoch,
        device,
        first_layer,
        bench: _,
    } = Args::parse();
    let mut rng = ChaCha8Rng::seed_from_u64(2020);
    let class = |i: usize| (i % sizes.classes) as i32;
    let (source, target) = (sizes.source.0, sizes.target.0);
    // Three rows of each class are labelled.
    let labelled = |i: &usize| *i < 3 * sizes.classes;
    let where_labelled = |yes: fn(i32) -> i32, no: fn(i32) -> i32| -> Vec<i32> {
        let label = |i: usize| {
            if labelled(&i) {
                yes(class(i))
            } else {
                no(class(i))
            }
        };
        (0..target).map(label).collect()
    };
    let labels = PartitionLabels {
        source: (0..source).map(class).collect(),
        labelled: where_labelled(|k| k, |_| -1),
        unlabelled: where_labelled(|_| -1, |_| 0),
        truth: where_labelled(|_| -1, |k| k),
    };
    let problem = Problem {
        classes: sizes.classes,
        source: matrix(&mut rng, sizes.source),
        target: matrix(&mut rng, sizes.target),
        partitions: vec![labels; partition],
    };
    let options = Options {
        objective: Objective {
            alpha: 0.1,
            beta: 0.004,
            gamma: 0.1,
            temperature: 5.0,
            refinement: Refinement::Agreement(Similarity::Cosine),
            alignment: Alignment::Pairwise(Prototypes::Three),
        },
        optimizer: Optimizer::MomentumSgd,
        lr: 0.1,
        epochs: nepoch,
        layers: Layers::Double,
        common: 256,
        first_layer,
    };
    let dimensions = options.dimensions(&problem);
    let initial: Vec<_> = (0..partition)
        .map(|p| initial_parameters(&dimensions, 2020, p))
        .collect();
    let chosen = choose(device)?;
    let load = |graph| chosen.device.load(graph);
    let outcome = train::<f32>(&problem, &options, &initial, load, &mut |_| Ok(()))?;
    println!(
        "{}: {:.2} ms per epoch and partition",
        chosen.device, outcome.partitions[0].ms_per_epoch
    );
    Ok(())
}
