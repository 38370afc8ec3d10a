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
use ssan::device::{CudaOptions, Precision, Request, choose};
use ssan::train::{FirstLayer, train};

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
    /// Matrix products of a CUDA device: fp32, tf32 or bf16
    #[arg(long, default_value = "fp32")]
    precision: Precision,
    /// First layers: auto, gram or direct
    #[arg(long, default_value = "auto")]
    first_layer: FirstLayer,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ssan::Result<()> {
    let args = Args::parse();
    let setup = Setup::new(
        args.synthetic,
        args.partition,
        args.common,
        args.nepoch,
        args.first_layer,
    );
    let Setup {
        problem,
        options,
        initial,
    } = &setup;
    let chosen = choose(args.device)?;
    if let Some(note) = &chosen.note {
        eprintln!("note: {note}");
    }
    if let Some(note) = args.precision.note(chosen.device) {
        eprintln!("note: {note}");
    }
    let cuda = CudaOptions {
        use_graph: !args.no_graph,
        precision: args.precision,
    };
    let load = |graph| {
        chosen
            .device
            .load_with(graph, cuda, &|note| eprintln!("note: {note}"))
    };
    let outcome = train::<f32>(problem, options, initial, load, &mut |_| Ok(()))?;
    println!(
        "{}: {:.2} ms per epoch and partition",
        chosen.device, outcome.ms_per_epoch
    );
    Ok(())
}
