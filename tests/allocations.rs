//! A replayed step allocates nothing of its own, and ten thousand leave nothing behind: counted by
//! the allocator, over all threads. The one test of its binary, so that no other test allocates
//! beside it.
//!
//! The crate of the matrix products takes workspaces of its own for each, to pack operands into.
//! They have the alignment of a cache line, or of bytes; numbers, handles and lists of them, which
//! are counted here, have that of their type. What is held afterwards is counted of all.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};

use ssan::data::{Matrix, Normalisation};
use ssan::device::Cpu;
use ssan::optim::Optimizer;
use ssan::train::{FirstLayer, Options, PartitionLabels, Problem, Session};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
static HELD: AtomicIsize = AtomicIsize::new(0);

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if matches!(layout.align(), 2 | 4 | 8) {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
        HELD.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: as promised by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: as promised by the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Two partitions of `source` and `target` rows, ten of the latter labelled.
fn problem(source: usize, target: usize) -> Problem {
    let matrix = |rows: usize, cols: usize| Matrix {
        rows,
        cols,
        values: (0..rows * cols)
            .map(|i| (i as f64 * 0.7).sin() / 5.0)
            .collect(),
    };
    let class = |rows: usize, from: usize| -> Vec<i32> {
        (0..rows)
            .map(|i| if i < from { -1 } else { (i % 3) as i32 })
            .collect()
    };
    Problem {
        classes: 3,
        members: 1,
        normalisation: [Normalisation::L2; 2],
        means: None,
        neighbours: None,
        source: matrix(source, 50).into(),
        target: matrix(target, 40).into(),
        partitions: vec![
            PartitionLabels {
                source: class(source, 0),
                labelled: class(target, target - 10),
                unlabelled: (0..target)
                    .map(|i| if i < target - 10 { 0 } else { -1 })
                    .collect(),
                truth: vec![-1; target],
            };
            2
        ],
    }
}

#[test]
fn steps_allocate_nothing_and_leave_nothing() {
    let many = problem(300, 200);
    for (optimizer, first_layer) in [
        (Optimizer::MomentumSgd, FirstLayer::Direct),
        (Optimizer::MomentumSgd, FirstLayer::Gram),
        (Optimizer::Adam, FirstLayer::Direct),
    ] {
        let options = Options {
            optimizer,
            lr: 0.01,
            epochs: 40,
            common: 16,
            first_layer,
            ..Options::PAPER
        };
        let initial = many.initial_parameters(&options, 1);
        let load = |graph| Ok(Box::new(Cpu::<f32>::load(graph)) as _);
        let mut session = Session::new(&many, &options, &initial, load).unwrap();
        // The thread pool and the products' workspaces are made at first use.
        session.run(10).unwrap();
        let counts = [5, 25].map(|epochs| {
            let before = ALLOCATIONS.load(Ordering::Relaxed);
            session.run(epochs).unwrap();
            ALLOCATIONS.load(Ordering::Relaxed) - before
        });
        // Reading takes a few, and the list of metrics grows with the epochs.
        assert!(
            counts[1] <= counts[0] + 4,
            "{optimizer:?}, {first_layer:?}: {counts:?} allocations in 5 and 25 steps"
        );
    }

    let options = Options {
        epochs: 10_200,
        common: 4,
        ..Options::PAPER
    };
    let small = problem(40, 30);
    let initial = small.initial_parameters(&options, 1);
    let load = |graph| Ok(Box::new(Cpu::<f32>::load(graph)) as _);
    let mut session = Session::new(&small, &options, &initial, load).unwrap();
    session.run(50).unwrap();
    let before = HELD.load(Ordering::Relaxed);
    for _ in 0..200 {
        session.run(50).unwrap();
    }
    let left = HELD.load(Ordering::Relaxed) - before;
    // A byte a step would be more.
    assert!(left < 10_000, "10 000 steps leave {left} bytes");
}
