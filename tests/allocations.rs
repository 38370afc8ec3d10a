//! A replayed step allocates nothing of its own: counted by the allocator, over all threads. The
//! one test of its binary, so that no other test allocates beside it.
//!
//! The crate of the matrix products takes workspaces of its own for each, to pack operands into.
//! They have the alignment of a cache line, or of bytes; numbers, handles and lists of them, which
//! are counted here, have that of their type.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use ssan::data::Matrix;
use ssan::device::Cpu;
use ssan::optim::Optimizer;
use ssan::train::{FirstLayer, Options, PartitionLabels, Problem, Session};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if matches!(layout.align(), 2 | 4 | 8) {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: as promised by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as promised by the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn steps_allocate_nothing() {
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
    let problem = Problem {
        classes: 3,
        members: 1,
        means: None,
        neighbours: None,
        source: matrix(300, 50).into(),
        target: matrix(200, 40).into(),
        partitions: vec![
            PartitionLabels {
                source: class(300, 0),
                labelled: class(200, 190),
                unlabelled: (0..200).map(|i| if i < 190 { 0 } else { -1 }).collect(),
                truth: vec![-1; 200],
            };
            2
        ],
    };
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
        let initial = problem.initial_parameters(&options, 1);
        let load = |graph| Ok(Box::new(Cpu::<f32>::load(graph)) as _);
        let mut session = Session::new(&problem, &options, &initial, load).unwrap();
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
}
