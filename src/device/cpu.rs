//! The CPU: buffers of a recorded step, its replay as plain loops, and the loops' helpers.
//!
//! Everything is allocated when the step is loaded; a replay allocates nothing. Sums run in a
//! fixed order, whatever the number of threads.

use std::time::Instant;

use atomic_refcell::{AtomicRef, AtomicRefCell, AtomicRefMut};
use rayon::prelude::*;

use super::Device;
use super::launch::Launch;
use super::profile::{Part, Phase};
use crate::error::Result;
use crate::graph::{Graph, Labels, Var};
use crate::median::median;
use crate::real::Real;

/// A recorded step with its buffers.
pub struct Cpu<T: Real> {
    graph: Graph<T>,
    values: Vec<AtomicRefCell<Vec<T>>>,
    grads: Vec<AtomicRefCell<Vec<T>>>,
    labels: Vec<AtomicRefCell<Vec<i32>>>,
}

impl<T: Real> Cpu<T> {
    /// Allocates the buffers of `graph` with the values it starts from.
    pub fn load(mut graph: Graph<T>) -> Cpu<T> {
        let mut values = Vec::new();
        let mut grads = Vec::new();
        for (id, info) in graph.vars.iter_mut().enumerate() {
            let initial = std::mem::take(&mut info.initial);
            let len = info.shape.len();
            let value = match initial.is_empty() {
                false => initial,
                // A view has no values of its own.
                true if info.storage != id => Vec::new(),
                true => vec![T::zero(); len],
            };
            let grad = vec![T::zero(); if info.has_grad { len } else { 0 }];
            values.push(AtomicRefCell::new(value));
            grads.push(AtomicRefCell::new(grad));
        }
        let mut labels = Vec::new();
        for (handle, initial) in &mut graph.labels {
            let mut values = std::mem::take(initial);
            values.resize(handle.partitions * handle.rows, -1);
            labels.push(AtomicRefCell::new(values));
        }
        Cpu {
            graph,
            values,
            grads,
            labels,
        }
    }

    /// Values of `var`, all partitions, row-major.
    pub fn value(&self, var: Var) -> AtomicRef<'_, Vec<T>> {
        self.values[self.graph.vars[var.id].storage].borrow()
    }

    /// Values of `var`, to write.
    pub fn value_mut(&self, var: Var) -> AtomicRefMut<'_, Vec<T>> {
        self.values[self.graph.vars[var.id].storage].borrow_mut()
    }

    /// Gradient of `var`; empty where the loss does not depend on it.
    pub fn grad(&self, var: Var) -> AtomicRef<'_, Vec<T>> {
        self.grads[var.id].borrow()
    }

    /// Gradient of `var`, to write.
    pub fn grad_mut(&self, var: Var) -> AtomicRefMut<'_, Vec<T>> {
        self.grads[var.id].borrow_mut()
    }

    /// Labels, all partitions.
    pub fn labels(&self, labels: Labels) -> AtomicRef<'_, Vec<i32>> {
        self.labels[labels.id].borrow()
    }

    /// Labels, to write.
    pub fn labels_mut(&self, labels: Labels) -> AtomicRefMut<'_, Vec<i32>> {
        self.labels[labels.id].borrow_mut()
    }
}

impl<T: Real> Cpu<T> {
    /// Runs `f` on a thread of the pool: from outside of it, every loop that threads share would
    /// have to be handed in and waited for.
    fn in_pool(&self, f: impl FnOnce(&Cpu<T>) + Send) {
        rayon::scope(|_| f(self));
    }

    fn run_forward(&self) {
        for op in &self.graph.forward {
            op.forward(self);
        }
    }

    /// The gradient of the root is 1.
    fn seed_gradient(&self) {
        if let Some(root) = self.graph.root {
            self.grad_mut(root).fill(T::one());
        }
    }

    fn run_backward(&self) {
        self.seed_gradient();
        for call in &self.graph.backward {
            self.graph.forward[call.op].backward(self, &call.wants);
        }
    }

    /// Takes `warm_up` and then `repetitions` (at least one) whole steps and times every operation
    /// of the latter: an operation finds the caches as it finds them in a step.
    pub fn profile(&mut self, warm_up: usize, repetitions: usize) -> Vec<Part> {
        let (mut parts, mut times) = (Vec::new(), Vec::new());
        let mut part = |name, phase, launches: Vec<Launch>| {
            let seconds = 0.0;
            parts.push(Part {
                name,
                phase,
                launches,
                seconds,
            });
            times.push(Vec::new());
        };
        for op in &self.graph.forward {
            part(op.name(), Phase::Forward, op.launches());
        }
        for call in &self.graph.backward {
            let op = &self.graph.forward[call.op];
            part(
                op.name(),
                Phase::Backward,
                op.backward_launches(&call.wants),
            );
        }
        for op in &self.graph.update {
            part(op.name(), Phase::Update, op.launches());
        }
        self.in_pool(|cpu| {
            let graph = &cpu.graph;
            for step in 0..warm_up + repetitions.max(1) {
                let mut times = times.iter_mut();
                let mut time = |run: &dyn Fn()| {
                    let start = Instant::now();
                    run();
                    let times: &mut Vec<f64> = times.next().expect("one entry per operation");
                    if step >= warm_up {
                        times.push(start.elapsed().as_secs_f64());
                    }
                };
                for op in &graph.forward {
                    time(&|| op.forward(cpu));
                }
                cpu.seed_gradient();
                for call in &graph.backward {
                    time(&|| graph.forward[call.op].backward(cpu, &call.wants));
                }
                for op in &graph.update {
                    time(&|| op.forward(cpu));
                }
            }
        });
        for (part, times) in parts.iter_mut().zip(&mut times) {
            part.seconds = median(times);
        }
        parts
    }
}

impl<T: Real> Device<T> for Cpu<T> {
    fn graph(&self) -> &Graph<T> {
        &self.graph
    }

    fn steps(&mut self, epochs: usize) -> Result<()> {
        self.in_pool(|cpu| {
            for _ in 0..epochs {
                cpu.run_forward();
                cpu.run_backward();
                for op in &cpu.graph.update {
                    op.forward(cpu);
                }
            }
        });
        Ok(())
    }

    fn forward(&mut self) -> Result<()> {
        self.in_pool(Cpu::run_forward);
        Ok(())
    }

    fn backward(&mut self) -> Result<()> {
        self.in_pool(Cpu::run_backward);
        Ok(())
    }

    fn read(&self, var: Var) -> Result<Vec<T>> {
        Ok(self.value(var).clone())
    }

    fn read_grad(&self, var: Var) -> Result<Vec<T>> {
        Ok(self.grad(var).clone())
    }

    fn read_labels(&self, labels: Labels) -> Result<Vec<i32>> {
        Ok(self.labels(labels).clone())
    }

    fn write(&mut self, var: Var, values: &[T]) -> Result<()> {
        self.value_mut(var).copy_from_slice(values);
        Ok(())
    }

    fn write_labels(&mut self, labels: Labels, values: &[i32]) -> Result<()> {
        self.labels_mut(labels).copy_from_slice(values);
        Ok(())
    }
}

/// Work, in elements touched, below which a second thread does not pay.
const GRAIN: usize = 1 << 13;

/// Calls `f(i, rows)` for every row `i` of one or several row-major matrices `(data, columns)` of
/// as many rows, over threads where it pays; `cost` is the number of elements a row touches.
pub(crate) fn for_rows<T: Send, const N: usize>(
    cost: usize,
    matrices: [(&mut [T], usize); N],
    f: impl Fn(usize, [&mut [T]; N]) + Sync,
) {
    split_rows(cost, 0, matrices, &f);
}

fn split_rows<T: Send, const N: usize>(
    cost: usize,
    first: usize,
    mut matrices: [(&mut [T], usize); N],
    f: &(impl Fn(usize, [&mut [T]; N]) + Sync),
) {
    let rows = matrices[0].0.len() / matrices[0].1;
    /// Cuts the first `rows` rows off a matrix.
    fn take<'a, T>((data, cols): &mut (&'a mut [T], usize), rows: usize) -> &'a mut [T] {
        let (head, tail) = std::mem::take(data).split_at_mut(rows * *cols);
        *data = tail;
        head
    }
    if rows > 1 && rows * cost > GRAIN {
        let half = rows / 2;
        let head = matrices.each_mut().map(|m| (take(m, half), m.1));
        rayon::join(
            || split_rows(cost, first, head, f),
            || split_rows(cost, first + half, matrices, f),
        );
    } else {
        for i in first..first + rows {
            f(i, matrices.each_mut().map(|m| take(m, 1)));
        }
    }
}

/// `sums_j += Σ_i rows_ij` for a row-major matrix, row after row; threads share the columns.
pub(crate) fn add_rows<T: Real>(sums: &mut [T], rows: &[T]) {
    /// Columns of a thread: a few cache lines of each row.
    const COLUMNS: usize = 256;
    let cols = sums.len();
    sums.par_chunks_mut(COLUMNS)
        .enumerate()
        .for_each(|(n, sums)| {
            for row in rows.chunks_exact(cols) {
                for (sum, &x) in sums.iter_mut().zip(&row[n * COLUMNS..]) {
                    *sum += x;
                }
            }
        });
}

/// A matrix for [`product`]: where it lies and its strides. `transposed` swaps its sides.
#[derive(Clone, Copy)]
pub(crate) struct View<'a, T> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    row_stride: isize,
    col_stride: isize,
}

impl<'a, T> View<'a, T> {
    /// A row-major matrix of `cols` columns.
    pub fn new(data: &'a [T], cols: usize) -> View<'a, T> {
        let rows = data.len() / cols;
        assert_eq!(rows * cols, data.len(), "a matrix has whole rows");
        View {
            data,
            rows,
            cols,
            row_stride: cols as isize,
            col_stride: 1,
        }
    }

    /// The same matrix with rows and columns exchanged.
    pub fn transposed(self) -> View<'a, T> {
        View {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }
}

/// `out = a·b`, or `out += a·b` with `add`; `out` is row-major `a.rows × b.cols`.
pub(crate) fn product<T: Real>(out: &mut [T], a: View<T>, b: View<T>, add: bool) {
    assert_eq!(a.cols, b.rows, "inner sizes of a product");
    assert_eq!(out.len(), a.rows * b.cols, "size of a product");
    // SAFETY: the asserts above and `View::new` guarantee that every index that gemm forms from
    // these sizes and strides lies in the slices; `out` is borrowed mutably, so it overlaps none.
    unsafe {
        gemm::gemm(
            a.rows,
            b.cols,
            a.cols,
            out.as_mut_ptr(),
            1,
            b.cols as isize,
            add,
            a.data.as_ptr(),
            a.col_stride,
            a.row_stride,
            b.data.as_ptr(),
            b.col_stride,
            b.row_stride,
            T::one(),
            T::one(),
            false,
            false,
            false,
            gemm::Parallelism::Rayon(0),
        );
    }
}
