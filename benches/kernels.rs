//! Every part of one SSAN step at real sizes, timed: kernels on a card (CUDA events), operations on
//! the CPU.
//!
//! ```text
//! cargo bench --bench kernels -- --device cuda
//! cargo bench --bench kernels -- --device cpu
//! ```
//!
//! Bytes are the sizes of the buffers that the arguments of the launches name, each once as read
//! and once as written: less than what is moved where a kernel reads something twice or adds to
//! what it writes. Floating-point operations are counted for the products alone, whose sizes are
//! `rows×inner×cols`.

mod common;

use std::time::Instant;

use clap::Parser;
use comfy_table::{CellAlignment, Table, presets};
use common::{Setup, Sizes};
use ssan::Result;
use ssan::device::launch::{Arg, Buffer, Launch, Layout};
use ssan::device::profile::{Part, Phase};
use ssan::device::rung::{Product, Rung};
use ssan::device::{Choice, Cpu, Cuda, CudaOptions, Device, Precision, Request, choose};
use ssan::graph::Graph;
use ssan::median::median;
use ssan::train::{FirstLayer, recorded_step};

/// Time of every kernel (CUDA) or operation (CPU) of one step on random data.
#[derive(Parser)]
struct Args {
    /// Source rows and columns, target rows and columns, classes
    #[arg(long, default_value = "958x800,958x4096,10")]
    synthetic: Sizes,
    /// Partitions in one step
    #[arg(long, default_value_t = 1, value_parser = at_least_one)]
    partition: usize,
    /// Dimensions of the common space
    #[arg(long = "d_common", default_value_t = 256, value_parser = at_least_one)]
    common: usize,
    /// First layers: auto, gram or direct
    #[arg(long, default_value = "auto")]
    first_layer: FirstLayer,
    /// Matrix products of a CUDA device: fp32, tf32 or bf16
    #[arg(long, default_value = "fp32")]
    precision: Precision,
    /// Device: cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    device: Request,
    /// Measurements of each part, of which the median is taken
    #[arg(long, default_value_t = 30, value_parser = at_least_one)]
    repetitions: usize,
    /// Measurements before those
    #[arg(long, default_value_t = 5)]
    warm_up: usize,
    /// Bytes of the copy that the card's memory is measured with, in MiB
    #[arg(long, default_value_t = 512, value_parser = at_least_one)]
    copy: usize,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn at_least_one(text: &str) -> std::result::Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least 1 expected".into()),
        Ok(n) => Ok(n),
        Err(e) => Err(format!("{e}")),
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    let chosen = choose(args.device)?;
    if let Some(note) = &chosen.note {
        eprintln!("note: {note}");
    }
    if let Some(note) = args.precision.note(chosen.device) {
        eprintln!("note: {note}");
    }
    // As many epochs as the paper's runs: more than are taken here.
    let setup = Setup::new(
        args.synthetic,
        args.partition,
        args.common,
        3000,
        args.first_layer,
    );
    match chosen.device {
        Choice::Cpu => on_cpu(&args, &setup),
        Choice::Cuda(ordinal) => on_card(&args, &setup, ordinal),
    }
}

/// The step of a training run, recorded.
fn record(setup: &Setup) -> Graph<f32> {
    recorded_step(&setup.problem, &setup.options, &setup.initial)
}

fn on_cpu(args: &Args, setup: &Setup) -> Result<()> {
    let graph = record(setup);
    let layout = Layout::of(&graph);
    let mut cpu = Cpu::load(graph);
    let parts = cpu.profile(args.warm_up, args.repetitions);
    let step = seconds_per_step(args, |steps| cpu.steps(steps))?;

    println!("CPU, {} threads", rayon::current_num_threads());
    print(args, &parts, &layout, &Limits::default());
    println!("one step          {}", microseconds(step));
    Ok(())
}

fn on_card(args: &Args, setup: &Setup, ordinal: usize) -> Result<()> {
    let load = |use_graph| {
        let precision = args.precision;
        let options = CudaOptions {
            use_graph,
            precision,
        };
        Cuda::load(record(setup), ordinal, options)
    };
    let step = |cuda: &mut Cuda<f32>| {
        seconds_per_step(args, |steps| {
            cuda.steps(steps)?;
            cuda.synchronize()
        })
    };
    let replayed = step(&mut load(true)?)?;
    let mut cuda = load(false)?;
    let plain = step(&mut cuda)?;
    let peak = cuda.peak()?;
    let copy = cuda.copy_bandwidth(args.copy << 20, args.repetitions)?;
    let parts = cuda.profile(args.warm_up, args.repetitions)?;

    let (major, minor) = peak.capability;
    println!("{}, compute capability {major}.{minor}", peak.name);
    println!(
        "copying {} MiB within its memory: {:.0} GB/s read and written",
        args.copy,
        copy / 1e9
    );
    let flops = match peak.flops {
        Some(flops) => format!("{:.0} GFLOP/s in float", flops / 1e9),
        None => "unknown".into(),
    };
    println!(
        "arithmetic peak, {} multiprocessors at {:.0} MHz: {flops}",
        peak.multiprocessors,
        peak.clock / 1e6
    );
    let limits = Limits {
        bandwidth: Some(copy),
        flops: peak.flops,
    };
    print(args, &parts, &Layout::of(cuda.graph()), &limits);
    println!("one step, plain   {}", microseconds(plain));
    println!("one step, graph   {}", microseconds(replayed));
    Ok(())
}

/// Median of whole steps, ten at a time so that a card is not waited for after each.
fn seconds_per_step(args: &Args, mut steps: impl FnMut(usize) -> Result<()>) -> Result<f64> {
    const AT_ONCE: usize = 10;
    steps(args.warm_up + 2)?;
    let mut times = Vec::new();
    for _ in 0..args.repetitions.div_ceil(AT_ONCE).max(3) {
        let start = Instant::now();
        steps(AT_ONCE)?;
        times.push(start.elapsed().as_secs_f64() / AT_ONCE as f64);
    }
    Ok(median(&mut times))
}

/// What a card can do; nothing is known of a CPU.
#[derive(Default)]
struct Limits {
    /// Bytes per second.
    bandwidth: Option<f64>,
    /// Floating-point operations per second.
    flops: Option<f64>,
}

/// Parts of one name, phase and size.
struct Row {
    name: &'static str,
    rung: Rung,
    /// Blocks that make a tile of a product.
    parts: usize,
    phase: Phase,
    size: String,
    bytes: usize,
    flops: f64,
    calls: usize,
    /// Of all calls together.
    seconds: f64,
}

fn print(args: &Args, parts: &[Part], layout: &Layout, limits: &Limits) {
    let Sizes {
        source,
        target,
        classes,
    } = args.synthetic;
    println!(
        "source {}×{}, target {}×{}, {classes} classes, d_common {}, {} partition(s); \
         median of {} measurements after {}",
        source.0,
        source.1,
        target.0,
        target.1,
        args.common,
        args.partition,
        args.repetitions,
        args.warm_up
    );
    let total: f64 = parts.iter().map(|p| p.seconds).sum();
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header([
        "kernel",
        "pass",
        "size",
        "calls",
        "µs",
        "% of sum",
        "GB/s",
        "% of copy",
        "GFLOP/s",
        "% of peak",
    ]);
    for row in rows(parts, layout) {
        let each = row.seconds / row.calls as f64;
        let bandwidth = row.bytes as f64 / each;
        let flops = (row.flops > 0.0).then_some(row.flops / each);
        let share = |value: Option<f64>, limit: Option<f64>| match (value, limit) {
            (Some(value), Some(limit)) => format!("{:.1}", 100.0 * value / limit),
            _ => String::new(),
        };
        let peak = match (flops, limits) {
            // The peak is that of the ordinary units.
            _ if row.rung != Rung::default() => String::new(),
            // On a card whose peak is not known.
            (
                Some(_),
                Limits {
                    bandwidth: Some(_),
                    flops: None,
                },
            ) => "unknown".into(),
            _ => share(flops, limits.flops),
        };
        let mut name = format!("{} {}", row.name, row.rung).trim().to_string();
        if row.parts > 1 {
            name += &format!(", {} parts", row.parts);
        }
        table.add_row([
            name,
            phase(row.phase).to_string(),
            row.size,
            row.calls.to_string(),
            format!("{:.2}", each * 1e6),
            share(Some(row.seconds), Some(total)),
            format!("{:.1}", bandwidth / 1e9),
            share(Some(bandwidth), limits.bandwidth),
            flops.map_or(String::new(), |f| format!("{:.1}", f / 1e9)),
            peak,
        ]);
    }
    for column in table.column_iter_mut().skip(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
    println!("sum of all parts  {}", microseconds(total));
}

fn microseconds(seconds: f64) -> String {
    format!("{:>10.1} µs", seconds * 1e6)
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Forward => "forward",
        Phase::Backward => "backward",
        Phase::Update => "update",
    }
}

/// One row for all parts that do the same at the same size, in the order of the first.
fn rows(parts: &[Part], layout: &Layout) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for part in parts {
        let (size, flops) = products(&part.launches)
            .unwrap_or_else(|| (largest_output(&part.launches, layout), 0.0));
        let bytes = bytes(&part.launches, layout);
        let of = |l: &Launch| (l.rung, l.split_k);
        let (rung, parts) = part.launches.first().map_or((Rung::default(), 1), of);
        let key = (part.name, rung, part.phase, &size, bytes);
        let same = rows
            .iter_mut()
            .find(|r| (r.name, r.rung, r.phase, &r.size, r.bytes) == key);
        match same {
            Some(row) => {
                row.calls += 1;
                row.seconds += part.seconds;
            }
            None => rows.push(Row {
                name: part.name,
                rung,
                parts,
                phase: part.phase,
                size,
                bytes,
                flops,
                calls: 1,
                seconds: part.seconds,
            }),
        }
    }
    rows
}

/// The matrix products among `launches`, each as the sizes of its factors, `rows×inner×cols`, behind
/// the number of partitions where it is not one; and the multiplications and additions that all of
/// them take.
fn products(launches: &[Launch]) -> Option<(String, f64)> {
    let products: Vec<_> = launches.iter().filter_map(|l| l.product).collect();
    let sizes = products.iter().map(|p| {
        let size = format!("{}×{}×{}", p.rows, p.inner, p.cols);
        match p.partitions {
            1 => size,
            n => format!("{n}·{size}"),
        }
    });
    let sizes: Vec<String> = sizes.collect();
    let operations = |p: &Product| 2.0 * (p.partitions * p.rows * p.inner * p.cols) as f64;
    let flops = products.iter().map(operations).sum();
    (!sizes.is_empty()).then(|| (sizes.join(", "), flops))
}

fn buffers(launches: &[Launch]) -> impl Iterator<Item = (Arg, Buffer)> {
    let args = launches.iter().flat_map(|launch| &launch.args);
    args.filter_map(|arg| match *arg {
        Arg::In(buffer) | Arg::Out(buffer) => Some((*arg, buffer)),
        Arg::PartialSums | Arg::Arrived | Arg::Int(_) | Arg::Real(_) => None,
    })
}

/// The largest result as `rows×columns` of one partition, or its number of elements.
fn largest_output(launches: &[Launch], layout: &Layout) -> String {
    let outputs = buffers(launches).filter(|(arg, _)| matches!(arg, Arg::Out(_)));
    let largest = outputs.max_by_key(|(_, buffer)| layout.range(*buffer).len());
    match largest {
        Some((_, Buffer::Value(v) | Buffer::Grad(v))) => {
            format!("{}×{}", v.shape.rows, v.shape.cols)
        }
        Some((_, buffer)) => layout.range(buffer).len().to_string(),
        None => String::new(),
    }
}

/// Bytes of all buffers, once as read and once as written.
fn bytes(launches: &[Launch], layout: &Layout) -> usize {
    let mut counted: Vec<Arg> = Vec::new();
    let mut bytes = 0;
    for (arg, buffer) in buffers(launches) {
        if !counted.contains(&arg) {
            counted.push(arg);
            let size = match buffer {
                Buffer::Labels(_) => size_of::<i32>(),
                _ => size_of::<f32>(),
            };
            bytes += layout.range(buffer).len() * size;
        }
    }
    bytes
}
