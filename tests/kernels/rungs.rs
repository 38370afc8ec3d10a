//! The ladder of matrix products: every rung in all four uses on ragged shapes, every access
//! checked, against sums in double; and training on the rungs.

use std::collections::HashSet;

use ssan::Result;
use ssan::device::kernels::Source;
use ssan::device::rung::{Arithmetic, Product, Rung, Tile};
use ssan::device::{Cpu, Device, Precision};
use ssan::graph::Graph;
use ssan::real::Real;
use ssan::train::{FirstLayer, Options, Problem, Session};

use crate::build::Mode;
use crate::cases::{self, SIDE_BY_SIDE, cases, numbers, products_side_by_side};
use crate::cuda;
use crate::executor::{self, HostKernels};
use crate::gradients;
use crate::library::{Kernels, Memory, Value};

/// What a user may ask for.
pub const PRECISIONS: [Precision; 3] = [Precision::Fp32, Precision::Tf32, Precision::Bf16];

/// Rows, inner and outer size: one of each, a tile of each size and one more, sizes whose rows
/// begin at multiples of 4, 8 and 16 bytes.
const SHAPES: [[usize; 3]; 9] = [
    [1, 1, 1],
    [5, 3, 4],
    [3, 130, 31],
    [32, 32, 32],
    [64, 64, 64],
    [70, 66, 65],
    [131, 17, 1],
    [33, 257, 10],
    [129, 40, 136],
];

/// The largest relative error of a product of two numbers.
fn rounding(arithmetic: Arithmetic) -> f64 {
    let half = |bits: i32| 0.5 * 2f64.powi(-bits);
    match arithmetic {
        Arithmetic::Plain => half(23),
        // Each factor is off by as much.
        Arithmetic::Tf32 => 2.01 * half(10),
        Arithmetic::Bf16 => 2.01 * half(7),
        // Either factor's second part, at most half a last place, is cut off after 10 bits; the
        // product of both second parts is left out.
        Arithmetic::ThreeTf32 => 5.01 * half(10) * half(10),
    }
}

/// An operand: `rows × cols` of each partition, or of all.
struct Matrix {
    rows: usize,
    cols: usize,
    values: Vec<f32>,
}

impl Matrix {
    fn new(values: &dyn Fn(usize) -> Vec<f32>, [blocks, rows, cols]: [usize; 3]) -> Matrix {
        let values = values(blocks * rows * cols);
        Matrix { rows, cols, values }
    }

    fn at(&self, p: usize, row: usize, col: usize) -> f64 {
        let block = p * self.rows * self.cols % self.values.len();
        f64::from(self.values[block + row * self.cols + col])
    }

    fn stride(&self) -> i32 {
        match self.values.len() == self.rows * self.cols {
            true => 0,
            false => (self.rows * self.cols) as i32,
        }
    }
}

/// Launches kernels on a rung and compares what they give with sums in double.
struct Check<'a> {
    rung: Rung,
    kernels: &'a Kernels,
    partitions: usize,
    /// Blocks that make a tile.
    parts: usize,
    /// The largest error, as a part of what it may be.
    largest: f64,
}

impl Check<'_> {
    /// Launches a kernel of `rows × cols` sums of `term`'s `inner` values, `arguments` being made
    /// for the result; the sum goes through `finish`, which has a slope of at most 1. The result
    /// starts from `before`.
    fn product(
        &mut self,
        kernel: &str,
        [rows, cols, inner]: [usize; 3],
        arguments: &mut dyn FnMut(Memory) -> Vec<Value>,
        before: f32,
        term: &dyn Fn(usize, [usize; 3]) -> f64,
        finish: &dyn Fn(usize, [usize; 2], f64) -> f64,
    ) {
        let partitions = self.partitions;
        let product = Product {
            partitions,
            rows,
            cols,
            inner,
        };
        let mut found = vec![before; partitions * rows * cols];
        let [x, y, z] = self.rung.tile.blocks(product);
        let blocks = x * y * z * self.parts;
        let (mut sums, mut arrived) = (
            vec![f32::NAN; blocks * self.rung.sums()],
            vec![0; x * y * z],
        );
        let grid = [x * self.parts, y, z].map(|n| n as u32);
        let block = [self.rung.threads() as u32, 1, 1];
        let mut arguments = arguments(Memory::of(&mut found));
        arguments.extend([
            Value::RealOut(Memory::of(&mut sums)),
            Value::IntOut(Memory::of(&mut arrived)),
            Value::Int(self.parts as i32),
        ]);
        // SAFETY: what the arguments point to outlives the launch, and the kernels are checked.
        let launched = unsafe { self.kernels.launch(kernel, grid, block, &arguments) };
        let (rung, parts) = (self.rung, self.parts);
        let of = format!("{kernel}, {rung:?} in {parts}, {rows} × {cols}, {inner} terms");
        launched.unwrap_or_else(|e| panic!("{of}: {e}"));
        assert!(arrived.iter().all(|&n: &i32| n == 0), "{of}: {arrived:?}");
        for p in 0..partitions {
            for i in 0..rows {
                for j in 0..cols {
                    let terms = (0..inner).map(|k| term(p, [i, j, k]));
                    let (sum, size) =
                        terms.fold((0.0, 0.0), |(sum, size), x| (sum + x, size + x.abs()));
                    let expected = finish(p, [i, j], sum);
                    let found = f64::from(found[(p * rows + i) * cols + j]);
                    // Beside the products, each addition of float is rounded.
                    let float = 0.5 * f64::from(f32::EPSILON);
                    let most = (rounding(self.rung.arithmetic) + float * inner as f64) * size
                        + 8.0 * float * (1.0 + expected.abs());
                    let error = (found - expected).abs() / most;
                    assert!(
                        error <= 1.0,
                        "{of}, partition {p}: entry ({i}, {j}) is {found}, not {expected}, off by \
                         {error:.2} of what it may be"
                    );
                    self.largest = self.largest.max(error);
                }
            }
        }
    }

    /// All four uses, with operands of such `values`.
    fn uses(&mut self, [n, inner, out]: [usize; 3], values: &dyn Fn(usize) -> Vec<f32>) {
        let p = self.partitions;
        let int = |n: usize| Value::Int(n as i32);
        let matrix = |shape| Matrix::new(values, shape);
        // Rows that all partitions share where there are several.
        let mut x = matrix([1, n, inner]);
        let mut w = matrix([p, out, inner]);
        let mut g = matrix([p, n, out]);
        let mut b = matrix([p, 1, out]);
        let stride = Value::Int(x.stride());
        let of = |m: &mut Matrix| Value::RealIn(Memory::of(&mut m.values));
        let [px, pw, pg, pb] = [of(&mut x), of(&mut w), of(&mut g), of(&mut b)];
        let sizes = [int(n), int(inner), int(out)];
        let slope = 0.25;
        let leaky = |x: f64| if x > 0.0 { x } else { slope * x };

        self.product(
            "linear",
            [n, out, inner],
            &mut |y| {
                [
                    &[px, pw, pb, Value::RealOut(y)],
                    &sizes[..],
                    &[stride, Value::Real(slope)],
                ]
                .concat()
            },
            f32::NAN,
            &|p, [i, j, k]| x.at(p, i, k) * w.at(p, j, k),
            &|p, [_, j], sum| leaky(sum + b.at(p, 0, j)),
        );
        for (want, before) in [(1, f32::NAN), (2, 0.5)] {
            let added = if want == 2 { 0.5 } else { 0.0 };
            let want = Value::Int(want);
            self.product(
                "linear_backward_x",
                [n, inner, out],
                &mut |dx| [&[pg, pw, Value::RealOut(dx)], &sizes[..], &[want]].concat(),
                before,
                &|p, [i, j, k]| g.at(p, i, k) * w.at(p, k, j),
                &|_, _, sum| sum + added,
            );
            self.product(
                "linear_backward_w",
                [out, inner, n],
                &mut |dw| [&[pg, px, Value::RealOut(dw)], &sizes[..], &[stride, want]].concat(),
                before,
                &|p, [i, j, k]| g.at(p, k, i) * x.at(p, k, j),
                &|_, _, sum| sum + added,
            );
        }
        let mut gram = matrix([1, n, n]);
        let mut start = matrix([p, n, out]);
        let mut scale = matrix([p, 1, 1]);
        let [pk, ps, pa] = [of(&mut gram), of(&mut start), of(&mut scale)];
        self.product(
            "gram_linear",
            [n, out, n],
            &mut |y| {
                vec![
                    pk,
                    ps,
                    pa,
                    pg,
                    pb,
                    Value::RealOut(y),
                    int(n),
                    int(out),
                    Value::Real(slope),
                ]
            },
            f32::NAN,
            &|p, [i, j, k]| gram.at(p, i, k) * g.at(p, k, j),
            &|p, [i, j], sum| leaky(sum + scale.at(p, 0, 0) * start.at(p, i, j) + b.at(p, 0, j)),
        );
    }
}

/// Calls `check` for every rung, with the shapes it is to be tried on.
fn every_rung(check: impl Fn(&mut Check, [usize; 3])) -> Vec<(Rung, f64)> {
    let rungs = Rung::all().into_iter().map(|rung| {
        let kernels = executor::project::<f32>(rung, Mode::Checked);
        let mut of = Check {
            rung,
            kernels,
            partitions: 1,
            parts: 1,
            largest: 0.0,
        };
        for (i, shape) in SHAPES.into_iter().enumerate() {
            of.partitions = 1 + i % 2;
            // With more blocks than there are steps, some have no term.
            of.parts = [1, 1, 1, 2, 1, 1, 1, 3, 1][i];
            check(&mut of, shape);
        }
        (rung, of.largest)
    });
    rungs.collect()
}

#[test]
fn every_rung_is_as_accurate_as_its_numbers() {
    let seed = std::cell::Cell::new(0);
    let values = |len: usize| {
        seed.set(seed.get() + 1);
        numbers::<f32>(seed.get(), len)
    };
    let errors = every_rung(|check, shape| check.uses(shape, &values));
    for (rung, largest) in errors {
        println!("{rung:?}: {largest:.3} of the bound");
        // It rounds as it says, and not less: single products come near the bound.
        let rounds = matches!(rung.arithmetic, Arithmetic::Tf32 | Arithmetic::Bf16);
        assert!(!rounds || largest > 0.2, "{rung:?}: {largest}");
    }
}

/// Small integers are what they are in every arithmetic, and so are their sums.
#[test]
fn every_rung_is_exact_where_nothing_is_rounded() {
    let integers = |len: usize| (0..len).map(|i| (i * i % 7) as f32 - 3.0).collect();
    let errors = every_rung(|check, shape| check.uses(shape, &integers));
    for (rung, largest) in errors {
        assert_eq!(largest, 0.0, "{rung:?}");
    }
}

/// Three products of tf32 are as good as float's in long sums too, where tensor cores would lose what
/// they cut off in every step: they keep those sums elsewhere.
#[test]
fn long_sums_of_three_products_are_rounded_as_those_of_float() {
    const INNER: usize = 2048;
    let positive = |len: usize| numbers::<f32>(1, len).iter().map(|x| x.abs()).collect();
    let mut x = Matrix::new(&positive, [1, 8, INNER]);
    let mut w = Matrix::new(&positive, [1, 9, INNER]);
    let mut b = Matrix::new(&positive, [1, 1, 9]);
    let of = |m: &mut Matrix| Value::RealIn(Memory::of(&mut m.values));
    let buffers = [of(&mut x), of(&mut w), of(&mut b)];
    // The largest error as a part of the sum.
    let error = |rung: Rung| {
        let mut check = Check {
            rung,
            kernels: executor::project::<f32>(rung, Mode::Plain),
            partitions: 1,
            parts: 1,
            largest: 0.0,
        };
        let sizes = [8, INNER as i32, 9, 0].map(Value::Int);
        check.product(
            "linear",
            [8, 9, INNER],
            &mut |y| {
                let [y, slope] = [Value::RealOut(y), Value::Real(1.0)];
                [&buffers[..], &[y], &sizes, &[slope]].concat()
            },
            f32::NAN,
            &|p, [i, j, k]| x.at(p, i, k) * w.at(p, j, k),
            &|p, [_, j], sum| sum + b.at(p, 0, j),
        );
        check.largest * (rounding(rung.arithmetic) + 0.5 * f64::from(f32::EPSILON) * INNER as f64)
    };
    let plain = error(Rung::default());
    let rungs = Rung::all().into_iter();
    for rung in rungs.filter(|rung| rung.arithmetic == Arithmetic::ThreeTf32) {
        let three = error(rung);
        println!("{rung}: {three:e}, in float {plain:e}");
        assert!(three <= 2.0 * plain, "{rung}: {three:e}, float {plain:e}");
    }
}

/// `finite_to_tf32` beside `to_tf32`, which stands for PTX that says what rounding is.
const ROUNDED: Source = Source {
    name: "rounded",
    text: "extern \"C\" __global__ void rounded(const real *x, int *ptx, int *finite, int n) {
        for (int i = threadIdx.x; i < n; i += blockDim.x) {
            ptx[i] = (int)to_tf32(x[i]);
            finite[i] = (int)finite_to_tf32(x[i]);
        }
    }",
};

/// Sign, exponent and the 10 bits that stay are tried all, those that go where rounding turns.
#[test]
fn rounding_without_a_look_at_nan_is_rounding_of_every_other_number() {
    let ends = [0, 1, 0xfff, 0x1000, 0x1001, 0x1fff];
    let all = (0..1 << 19).flat_map(|stay: u32| ends.map(|end| f32::from_bits(stay << 13 | end)));
    let mut x: Vec<f32> = all.filter(|x| !x.is_nan()).collect();
    let (mut ptx, mut finite) = (vec![0; x.len()], vec![0; x.len()]);
    let kernels = executor::build(&[ROUNDED], "float", Rung::default(), Mode::Plain);
    let arguments = [
        Value::RealIn(Memory::of(&mut x)),
        Value::IntOut(Memory::of(&mut ptx)),
        Value::IntOut(Memory::of(&mut finite)),
        Value::Int(x.len() as i32),
    ];
    // SAFETY: the kernel keeps to the `n` elements that each buffer has.
    unsafe { kernels.launch("rounded", [1; 3], [256, 1, 1], &arguments) }.unwrap();
    for ((&x, &ptx), &finite) in x.iter().zip(&ptx).zip(&finite) {
        // Rounded in double, where the step between tf32 numbers next to x is 10 bits below its
        // first, or below that of the smallest normal number.
        let exponent = (f64::from(x.abs()).to_bits() >> 52) as i32 - 1023;
        let step = 2f64.powi(exponent.max(-126) - 10);
        let nearest = ((f64::from(x.abs()) / step + 0.5).floor() * step) as f32;
        let expected = nearest.copysign(x).to_bits() as i32;
        assert_eq!((ptx, finite), (expected, expected), "{x:e}");
    }
}

/// What is not finite stays so in three products of tf32, whose rounding does not look for it.
#[test]
fn three_products_lose_no_nan() {
    let rungs = Rung::all().into_iter();
    for rung in rungs.filter(|rung| rung.arithmetic == Arithmetic::ThreeTf32) {
        let kernels = executor::project::<f32>(rung, Mode::Plain);
        for bits in [
            0x7f80_0000, // infinity
            0x7f7f_ffff, // the largest number, too large for tf32
            0x7f80_0001, // NaN with the least bits, and with all
            0x7fff_ffff,
            0xff80_0001,
            0xffff_ffff_u32,
        ] {
            let mut x = [[0.0; 40], [1.0; 40]].concat();
            x[7] = f32::from_bits(bits);
            let (mut w, mut b, mut y) = (vec![1.0f32; 40], vec![0.0f32], vec![0.0f32; 2]);
            let [x, w, b] = [&mut x, &mut w, &mut b].map(|m| Value::RealIn(Memory::of(m)));
            let buffers = [x, w, b, Value::RealOut(Memory::of(&mut y))];
            let sizes = [2, 40, 1, 0].map(Value::Int);
            // One block makes a tile.
            let (mut sums, mut done) = ([0.0f32; 0], [0i32; 0]);
            let alone = [
                Value::RealOut(Memory::of(&mut sums)),
                Value::IntOut(Memory::of(&mut done)),
                Value::Int(1),
            ];
            let arguments = [&buffers[..], &sizes, &[Value::Real(1.0)], &alone].concat();
            let block = [rung.threads() as u32, 1, 1];
            // SAFETY: the buffers outlive the launch, and have these sizes.
            unsafe { kernels.launch("linear", [1; 3], block, &arguments) }.unwrap();
            assert!(y[0].is_nan() && y[1] == 40.0, "{rung}, {bits:#x}: {y:?}");
        }
    }
}

fn recorded_products_agree<T: Real>(rung: Rung, of: &str) {
    let load = move |graph| {
        let device = HostKernels::load_on(graph, |_| rung, Mode::Checked);
        Ok(Box::new(device) as Box<dyn Device<T>>)
    };
    let cases = cases::<T>().into_iter();
    let cases = cases.filter(|case| case.name.contains("linear") && case.name.contains(of));
    let failed: Vec<String> = cases.filter_map(|c| c.compare(&load).err()).collect();
    assert!(failed.is_empty(), "{rung}: {}", failed.join("\n"));
}

/// Recorded operations launch the rungs as they must: three products of tf32 are accurate enough
/// for the tolerance of float.
#[test]
fn recorded_products_agree_with_the_cpu() {
    let rung = |arithmetic| Rung {
        arithmetic,
        tile: Tile::Small,
    };
    recorded_products_agree::<f32>(rung(Arithmetic::ThreeTf32), "");
    recorded_products_agree::<f64>(rung(Arithmetic::Plain), "70 x 130 to 65");
}

/// Compares products of many partitions with the CPU, on a device of `load` that computes them in
/// `arithmetic`.
pub fn products_side_by_side_agree(
    partitions: usize,
    arithmetic: Arithmetic,
    load: &cases::Load<f32>,
) {
    let tolerance = (4.0 * rounding(arithmetic)).max(256.0 * f64::from(f32::EPSILON));
    let cases = products_side_by_side(partitions).into_iter();
    let failed: Vec<String> = cases
        .filter_map(|c| c.compare_within(tolerance, load).err())
        .collect();
    assert!(failed.is_empty(), "{arithmetic:?}: {}", failed.join("\n"));
}

/// What is computed is the same with one partition, which the host has time for.
#[test]
fn products_side_by_side_agree_with_the_cpu() {
    for precision in PRECISIONS {
        let arithmetic = precision.arithmetic::<f32>((9, 0)).unwrap();
        products_side_by_side_agree(1, arithmetic, &move |graph| {
            let choose = |product| arithmetic.rung(product);
            Ok(Box::new(HostKernels::load_on(graph, choose, Mode::Plain)))
        });
    }
}

/// A card that runs the cases runs every rung, in each kernel: those of its tensor cores are reached
/// by sizes alone, and the large tiles by many partitions. So are tiles that several blocks make, but
/// for some whose sizes the host has no time for.
#[test]
fn the_cases_reach_every_rung() {
    for capability in [(8, 0), (9, 0)] {
        let arithmetic = |precision: Precision| precision.arithmetic::<f32>(capability).unwrap();
        let mut reached = HashSet::new();
        for case in cases::<f32>() {
            reached.extend(case.rungs(arithmetic(Precision::Fp32)));
        }
        for case in cases::<f64>() {
            let double = Precision::Fp32.arithmetic::<f64>(capability).unwrap();
            reached.extend(case.rungs(double));
        }
        for case in products_side_by_side(SIDE_BY_SIDE) {
            for precision in PRECISIONS {
                reached.extend(case.rungs(arithmetic(precision)));
            }
        }
        for kernel in [
            "linear",
            "linear_backward_x",
            "linear_backward_w",
            "gram_linear",
        ] {
            for rung in Rung::all() {
                let splits: &[bool] = match (rung.arithmetic, rung.tile) {
                    (_, Tile::Large) | (Arithmetic::Plain, Tile::Medium) => &[false],
                    (Arithmetic::Tf32 | Arithmetic::Bf16, Tile::Small) => &[false],
                    _ => &[false, true],
                };
                for &split in splits {
                    assert!(
                        reached.contains(&(kernel, rung, split)),
                        "no case has {kernel} on {rung:?}, split {split}, at {capability:?}"
                    );
                }
            }
        }
    }
}

type Load<'a> = &'a dyn Fn(Graph<f32>) -> Result<Box<dyn Device<f32>>>;

/// Loss terms of every epoch, by the device of `load`.
fn losses(problem: &Problem, options: &Options, load: Load) -> Vec<[f64; 5]> {
    let initial = problem.initial_parameters(options, 2020);
    let mut session = Session::new(problem, options, &initial, load).unwrap();
    let mut metrics = session.run(options.epochs).unwrap();
    metrics.extend(session.finish().unwrap());
    let terms = metrics.iter();
    let terms = terms.map(|m| [m.total, m.source_ce, m.hard, m.adversarial, m.alignment]);
    terms.collect()
}

/// Trains on the CPU and on a device whose products are in `arithmetic`, and compares all losses.
pub fn training_agrees(problem: &Problem, options: &Options, arithmetic: Arithmetic, load: Load) {
    let cpu = losses(problem, options, &|graph| Ok(Box::new(Cpu::load(graph))));
    let (first, last) = (cpu[0][0], cpu[cpu.len() - 1][0]);
    assert!(last < first, "the loss falls: {first} to {last}");
    let found = losses(problem, options, load);
    let pairs = cpu.iter().flatten().zip(found.iter().flatten());
    let errors = pairs.map(|(cpu, found)| (cpu - found).abs() / cpu.abs().max(1.0));
    let largest = errors.fold(0.0, f64::max);
    println!("{arithmetic:?}: {largest:e}");
    // What rounding does to a loss is of its own size, over some tens of steps.
    let most = 8.0 * rounding(arithmetic) + 1e-5;
    assert!(
        largest <= most,
        "{arithmetic:?}: {largest:e}, at most {most:e}"
    );
    let rounds = matches!(arithmetic, Arithmetic::Tf32 | Arithmetic::Bf16);
    assert!(
        !rounds || largest > 1e-6,
        "{arithmetic:?} reaches the kernels"
    );
}

#[test]
fn training_reaches_the_losses_of_the_cpu() {
    for first_layer in [FirstLayer::Direct, FirstLayer::Gram] {
        for arithmetic in [Arithmetic::ThreeTf32, Arithmetic::Tf32, Arithmetic::Bf16] {
            let options = Options {
                epochs: 40,
                common: 6,
                first_layer,
                members: 1,
                pseudo_labels: None,
                ..Options::ROBUST
            };
            let tile = Tile::Small;
            let rung = Rung { arithmetic, tile };
            training_agrees(&gradients::problem(), &options, arithmetic, &|graph| {
                Ok(Box::new(HostKernels::load_on(graph, |_| rung, Mode::Plain)))
            });
        }
    }
}

/// The same at sizes where products are on several rungs, as a card of that capability has them.
#[test]
fn training_in_each_precision_reaches_the_losses_of_the_cpu() {
    for precision in PRECISIONS {
        let arithmetic = precision.arithmetic::<f32>((9, 0)).unwrap();
        training_agrees(&cuda::problem(1), &cuda::options(3), arithmetic, &|graph| {
            let choose = |product| arithmetic.rung(product);
            Ok(Box::new(HostKernels::load_on(graph, choose, Mode::Plain)))
        });
    }
}
