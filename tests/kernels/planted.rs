//! The checker is alive: it reports each bug of `planted.cu`, and nothing once the bug is gone.

use std::sync::OnceLock;

use ssan::device::Device;
use ssan::device::kernels::{SOURCES, Source};
use ssan::device::rung::{Arithmetic, Rung, Tile};

use crate::build::Mode;
use crate::cases::cases;
use crate::executor::{self, HostKernels};
use crate::library::{Kernels, Memory, Value};

const SOURCE: Source = Source {
    name: "planted",
    text: include_str!("planted.cu"),
};

fn kernels() -> &'static Kernels {
    static BUILT: OnceLock<Kernels> = OnceLock::new();
    BUILT.get_or_init(|| executor::build(&[SOURCE], "float", Rung::default(), Mode::Checked))
}

/// A planted bug and what the report calls it.
struct Bug {
    kernel: &'static str,
    report: &'static str,
    /// The parameter `n`, if it has one.
    n: Option<i32>,
    blocks: u32,
    threads: u32,
}

const BUGS: [Bug; 22] = [
    bug("removed_barrier", "race: another thread"),
    bug("removed_warp_barrier", "race: another thread wrote it"),
    bug("removed_second_barrier", "race: another thread"),
    with_n("store_off_by_one", 64, "out of bounds: write"),
    with_n("load_off_by_one", 64, "out of bounds: read"),
    with_n("load_before_start", 64, "out of bounds: read"),
    bug("shared_off_by_one", "out of bounds: write"),
    bug("missing_wait", "copy not waited for"),
    bug("wait_without_barrier", "race: another thread"),
    bug("write_to_input", "write to an input"),
    with_n("unwritten_shared", 50, "unwritten shared memory"),
    with_n("early_return", 32, "divergent barrier"),
    with_n("divergent_barrier", 32, "divergent barrier"),
    between_blocks(
        "writes_between_blocks",
        "race between blocks: another wrote it",
    ),
    between_blocks(
        "read_between_blocks",
        "race between blocks: another read it",
    ),
    between_blocks("read_by_all_blocks", "race between blocks: another read it"),
    between_blocks(
        "passed_on_before_all_wrote",
        "race between blocks: another wrote it",
    ),
    between_blocks(
        "passed_on_without_fence",
        "race between blocks: another wrote it",
    ),
    between_blocks(
        "taken_up_without_fence",
        "race between blocks: another wrote it",
    ),
    Bug {
        threads: 48,
        ..bug("absent_lanes", "names absent lanes ffff0000")
    },
    with_n("returned_lanes", 40, "names absent lane"),
    bug("misaligned", "misaligned"),
];

const fn bug(kernel: &'static str, report: &'static str) -> Bug {
    Bug {
        kernel,
        report,
        n: None,
        blocks: 1,
        threads: 64,
    }
}

const fn with_n(kernel: &'static str, n: i32, report: &'static str) -> Bug {
    Bug {
        n: Some(n),
        ..bug(kernel, report)
    }
}

const fn between_blocks(kernel: &'static str, report: &'static str) -> Bug {
    Bug {
        blocks: 3,
        ..bug(kernel, report)
    }
}

impl Bug {
    /// Launches the kernel on buffers of just as many elements as it may touch.
    fn launch(&self, broken: bool) -> Result<(), String> {
        let mut input = vec![1.0_f32; 64];
        let mut output = vec![2.0_f32; 64 * self.blocks as usize];
        let mut values = vec![
            Value::RealIn(Memory::of(&mut input)),
            Value::RealOut(Memory::of(&mut output)),
        ];
        values.extend(self.n.map(Value::Int));
        values.push(Value::Int(broken.into()));
        let (grid, block) = ([self.blocks, 1, 1], [self.threads, 1, 1]);
        // SAFETY: the buffers outlive the launch, and the kernels are checked.
        unsafe { kernels().launch(self.kernel, grid, block, &values) }
    }
}

#[test]
fn every_planted_bug_is_reported() {
    for bug in &BUGS {
        let kernel = bug.kernel;
        let report = bug.launch(true);
        let report = report.expect_err(&format!("{kernel} must be reported"));
        println!("{report}");
        assert!(report.starts_with(kernel), "{report}");
        assert!(report.contains(bug.report), "{kernel}: {report}");
        assert!(
            report.contains("planted.cu:"),
            "no line of the source: {report}"
        );
    }
}

#[test]
fn nothing_is_reported_once_the_bug_is_gone() {
    for bug in &BUGS {
        if let Err(report) = bug.launch(false) {
            panic!("{}: {report}", bug.kernel);
        }
    }
}

#[test]
fn launches_that_the_kernel_does_not_declare_are_reported() {
    let mut memory = vec![0.0_f32; 64];
    let mut launch = |kernel: &str, threads, with: &[Value]| {
        let buffer = Memory::of(&mut memory);
        let mut values = vec![Value::RealIn(buffer), Value::RealOut(buffer)];
        values.extend(with);
        // SAFETY: the buffer outlives the launch, and the kernels are checked.
        let launched = unsafe { kernels().launch(kernel, [1, 1, 1], [threads, 1, 1], &values) };
        launched.expect_err("a wrong launch")
    };
    let report = launch("misaligned", 64, &[Value::Real(0.0)]);
    assert!(
        report.contains("takes [RealIn, RealOut, Int], launched with"),
        "{report}"
    );
    let report = launch("misaligned", 64, &[]);
    assert!(
        report.contains("launched with [RealIn, RealOut]"),
        "{report}"
    );
    let report = launch("misaligned", 1025, &[Value::Int(0)]);
    assert!(
        report.contains("blocks of 1025 x 1 x 1 threads"),
        "{report}"
    );
    let report = launch("absent", 64, &[]);
    assert!(report.contains("no kernel named absent"), "{report}");
}

/// Every barrier, wait for copies and fence of the project's kernel files is there for a reason that a
/// case shows; those of the matrix products on one of their rungs.
#[test]
fn a_barrier_removed_from_any_kernel_is_reported() {
    let rung = |arithmetic, tile| Rung { arithmetic, tile };
    let others = [
        rung(Arithmetic::Plain, Tile::Small),
        rung(Arithmetic::ThreeTf32, Tile::Medium),
        rung(Arithmetic::ThreeTf32, Tile::Small),
    ];
    for (file, source) in SOURCES.iter().enumerate() {
        // Several tiles, and several steps in each.
        let (of, rungs) = match source.name {
            "linear" => ("70 x 130 to 65", [&[Rung::default()], &others[..]].concat()),
            name => (name, vec![Rung::default()]),
        };
        let waits = ["__syncthreads();", "copy_wait<0>();", "__threadfence();"];
        let waits = waits.map(|wait| source.text.match_indices(wait));
        for (at, wait) in waits.into_iter().flatten() {
            let (before, after) = source.text.split_at(at);
            let line = before.lines().count();
            let text = format!("{before};{}", &after[wait.len()..]);
            let mut sources = SOURCES.to_vec();
            sources[file].text = text.leak();
            // The rungs that have it.
            let within = |name: &str| {
                let (begin, end) = (
                    format!("namespace {name} {{"),
                    format!("}}  // namespace {name}"),
                );
                before.contains(&begin) && after.contains(&end)
            };
            let mut having = rungs.iter().filter(|rung| match rung.arithmetic {
                Arithmetic::Plain => !within("tensor"),
                _ => !within("plain"),
            });
            let report = having.find_map(|&rung| {
                let changed = match rung == Rung::default() {
                    true => &sources[..],
                    false => &sources[file..=file],
                };
                let changed = executor::build(changed, "float", rung, Mode::Checked);
                let changed: &Kernels = Box::leak(Box::new(changed));
                let load = move |graph| {
                    let find = |of| match of == rung {
                        true => changed,
                        false => executor::project::<f32>(of, Mode::Checked),
                    };
                    let device = HostKernels::with(find, graph, |_| rung);
                    Ok(Box::new(device) as Box<dyn Device<f32>>)
                };
                let cases = cases::<f32>().into_iter();
                let mut cases = cases.filter(|case| case.name.contains(of));
                cases.find_map(|case| case.compare(&load).err())
            });
            let name = source.name;
            let report = report.unwrap_or_else(|| {
                panic!("{name}.cu works without {wait} at line {line}");
            });
            println!("{name}.cu without line {line}: {report}");
            let expected = [
                "race: ",
                "race between blocks: ",
                "unwritten shared memory",
                "copy not waited for",
            ];
            assert!(expected.iter().any(|e| report.contains(e)), "{report}");
        }
    }
}
