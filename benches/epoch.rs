//! Milliseconds per epoch of the paper's configuration on random data of a given size:
//!
//! ```text
//! cargo bench --bench epoch -- --synthetic 958x800,958x4096,10 --partition 1
//! ```
//!
//! `benches/peer/ssan_torch.py --synthetic …` is the same in PyTorch. Both evaluate every epoch.

mod common;

use clap::Parser;
use common::{Setup, Sizes};
use ssan::device::{Request, choose};
use ssan::train::train;

/// Milliseconds per epoch on random data.
#[derive(Parser)]
struct Args {
    /// Source rows and columns, target rows and columns, classes
    #[arg(long, default_value = "958x800,958x4096,10")]
    synthetic: Sizes,
    /// Partitions in one step
    #[arg(long, default_value_t = 1)]
    partition: usize,
    /// Dimensions of the common space
    #[arg(long = "d_common", default_value_t = 256)]
    common: usize,
    /// Epochs
    #[arg(long, default_value_t = 60)]
    nepoch: usize,
    /// Device: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: Request,
    /// Launch the kernels one by one, not as a CUDA graph
    #[arg(long)]
    no_graph: bool,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ssan::Result<()> {
<<<<<<< HEAD
    let args = Args::parse();
    let setup = Setup::new(args.synthetic, args.partition, args.common, args.nepoch);
    let Setup {
        problem,
        options,
        initial,
    } = &setup;
    let chosen = choose(args.device)?;
    if let Some(note) = &chosen.note {
        eprintln!("note: {note}");
    }
    let load = |graph| chosen.device.load_with(graph, !args.no_graph);
    let outcome = train::<f32>(problem, options, initial, load, &mut |_| Ok(()))?;
=======
    let Args {
        synthetic: sizes,
        partition,
        nepoch,
        device,
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
    };
    let dimensions = problem.dimensions(&options);
    let initial: Vec<_> = (0..partition)
        .map(|p| initial_parameters(&dimensions, 2020, p))
        .collect();
    let chosen = choose(device)?;
    let load = |graph| chosen.device.load(graph);
    let outcome = train::<f32>(&problem, &options, &initial, load, &mut |_| Ok(()))?;
>>>>>>> cuda
    println!(
        "{}: {:.2} ms per epoch and partition",
        chosen.device, outcome.partitions[0].ms_per_epoch
    );
    Ok(())
}
