//! The CPU: buffers of a recorded step, its replay as plain loops, and the loops' helpers.
//!
//! Partitions have nothing to do with each other but for what they only read, so each has a step of
//! its own over its own [`Buffers`]: as long as there are more of them than threads, a thread takes
//! a partition through all steps of a replay alone, its values in the thread's cache; threads share
//! the loops of those that are left. Everything is allocated when the step is loaded; a replay
//! allocates nothing. Sums run in a fixed order, whatever the number of threads.

use std::cell::Cell;
use std::sync::Arc;
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
    /// Those of each partition.
    partitions: Vec<Buffers<T>>,
}

/// What an operation computes with: the values, gradients and labels of **one** partition, and what
/// all share.
pub struct Buffers<T: Real> {
    /// A view has its original's.
    values: Vec<Arc<AtomicRefCell<Vec<T>>>>,
    grads: Vec<AtomicRefCell<Vec<T>>>,
    labels: Vec<AtomicRefCell<Vec<i32>>>,
}

impl<T: Real> Buffers<T> {
    /// Values of `var`, `rows × cols`, row-major.
    pub fn value(&self, var: Var) -> AtomicRef<'_, Vec<T>> {
        self.values[var.id].borrow()
    }

    /// Values of `var`, to write.
    pub fn value_mut(&self, var: Var) -> AtomicRefMut<'_, Vec<T>> {
        self.values[var.id].borrow_mut()
    }

    /// Gradient of `var`; empty where the loss does not depend on it.
    pub fn grad(&self, var: Var) -> AtomicRef<'_, Vec<T>> {
        self.grads[var.id].borrow()
    }

    /// Gradient of `var`, to write.
    pub fn grad_mut(&self, var: Var) -> AtomicRefMut<'_, Vec<T>> {
        self.grads[var.id].borrow_mut()
    }

    /// Labels, one per row.
    pub fn labels(&self, labels: Labels) -> AtomicRef<'_, Vec<i32>> {
        self.labels[labels.id].borrow()
    }

    /// Labels, to write.
    pub fn labels_mut(&self, labels: Labels) -> AtomicRefMut<'_, Vec<i32>> {
        self.labels[labels.id].borrow_mut()
    }
}

impl<T: Real> Cpu<T> {
    /// Allocates the buffers of `graph` with the values it starts from.
    pub fn load(mut graph: Graph<T>) -> Cpu<T> {
        let mut partitions: Vec<Buffers<T>> = Vec::new();
        partitions.resize_with(graph.partitions(), || Buffers {
            values: Vec::new(),
            grads: Vec::new(),
            labels: Vec::new(),
        });
        let cell = |values| Arc::new(AtomicRefCell::new(values));
        for (id, info) in graph.vars.iter_mut().enumerate() {
            let (mut initial, shape) = (std::mem::take(&mut info.initial), info.shape);
            let var = Var { id, shape };
            let given = !initial.is_empty();
            // What is given and shared is only read; what is shared and computed, each partition
            // computes for itself.
            let shared = given && shape.partitions == 1;
            let constant = shared.then(|| cell(std::mem::take(&mut initial)));
            for (p, buffers) in partitions.iter_mut().enumerate() {
                buffers.values.push(match &constant {
                    Some(constant) => Arc::clone(constant),
                    None if given => cell(initial[var.at(p)].to_vec()),
                    None if info.storage != id => Arc::clone(&buffers.values[info.storage]),
                    None => cell(vec![T::zero(); shape.block()]),
                });
                let grad = vec![T::zero(); if info.has_grad { shape.block() } else { 0 }];
                buffers.grads.push(AtomicRefCell::new(grad));
            }
        }
        for (labels, initial) in &mut graph.labels {
            let initial = std::mem::take(initial);
            for (p, buffers) in partitions.iter_mut().enumerate() {
                let own = match initial.is_empty() {
                    true => vec![-1; labels.rows],
                    false => initial[labels.at(p)].to_vec(),
                };
                buffers.labels.push(AtomicRefCell::new(own));
            }
        }
        Cpu { graph, partitions }
    }

    /// Runs `f` once for each partition, on threads of the pool: from outside of it, every loop that
    /// threads share would have to be handed in and waited for.
    fn each(&self, f: impl Fn(&Buffers<T>) + Send + Sync) {
        rayon::scope(|_| {
            let threads = rayon::current_num_threads();
            let left = self.partitions.len() % threads;
            // Half of the threads or more have one each: better than sharing loops.
            let left = if 2 * left > threads { 0 } else { left };
            let (whole, left) = self.partitions.split_at(self.partitions.len() - left);
            whole.par_iter().with_max_len(1).for_each(|partition| {
                ALONE.set(true);
                f(partition);
                ALONE.set(false);
            });
            left.iter().for_each(&f);
        });
    }

    fn forward_of(&self, buffers: &Buffers<T>) {
        for op in &self.graph.forward {
            op.forward(buffers);
        }
    }

    /// The gradient of the root is 1.
    fn seed_gradient(&self, buffers: &Buffers<T>) {
        if let Some(root) = self.graph.root {
            buffers.grad_mut(root).fill(T::one());
        }
    }

    fn backward_of(&self, buffers: &Buffers<T>) {
        self.seed_gradient(buffers);
        for call in &self.graph.backward {
            self.graph.forward[call.op].backward(buffers, &call.wants);
        }
    }

    fn update_of(&self, buffers: &Buffers<T>) {
        for op in &self.graph.update {
            op.forward(buffers);
        }
    }

    /// Takes `warm_up` and then `repetitions` (at least one) whole steps, of one partition after the
    /// other, and times every operation of the latter: an operation finds the caches as it finds
    /// them in a step.
    pub fn profile(&mut self, warm_up: usize, repetitions: usize) -> Vec<Part> {
        let (mut parts, mut times) = (Vec::new(), Vec::new());
        let repetitions = repetitions.max(1);
        let mut part = |name, phase, launches: Vec<Launch>| {
            let seconds = 0.0;
            parts.push(Part {
                name,
                phase,
                launches,
                seconds,
            });
            times.push(vec![0.0; repetitions]);
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
        let graph = &self.graph;
        rayon::scope(|_| {
            for (step, buffers) in (0..warm_up + repetitions)
                .flat_map(|step| self.partitions.iter().map(move |buffers| (step, buffers)))
            {
                let mut times = times.iter_mut();
                let mut time = |run: &dyn Fn()| {
                    let start = Instant::now();
                    run();
                    let times: &mut Vec<f64> = times.next().expect("one entry per operation");
                    if step >= warm_up {
                        times[step - warm_up] += start.elapsed().as_secs_f64();
                    }
                };
                for op in &graph.forward {
                    time(&|| op.forward(buffers));
                }
                self.seed_gradient(buffers);
                for call in &graph.backward {
                    time(&|| graph.forward[call.op].backward(buffers, &call.wants));
                }
                for op in &graph.update {
                    time(&|| op.forward(buffers));
                }
            }
        });
        for (part, times) in parts.iter_mut().zip(&mut times) {
            part.seconds = median(times);
        }
        parts
    }

    /// What `of` says of the buffers of the first `partitions`, one after the other.
    fn joined<V: Clone>(
        &self,
        partitions: usize,
        of: impl Fn(&Buffers<T>) -> AtomicRef<'_, Vec<V>>,
    ) -> Vec<V> {
        let mut all = Vec::new();
        for buffers in &self.partitions[..partitions] {
            all.extend_from_slice(&of(buffers));
        }
        all
    }
}

impl<T: Real> Device<T> for Cpu<T> {
    fn graph(&self) -> &Graph<T> {
        &self.graph
    }

    fn steps(&mut self, epochs: usize) -> Result<()> {
        self.each(|partition| {
            for _ in 0..epochs {
                self.forward_of(partition);
                self.backward_of(partition);
                self.update_of(partition);
            }
        });
        Ok(())
    }

    fn forward(&mut self) -> Result<()> {
        self.each(|partition| self.forward_of(partition));
        Ok(())
    }

    fn backward(&mut self) -> Result<()> {
        self.each(|partition| self.backward_of(partition));
        Ok(())
    }

    fn read(&self, var: Var) -> Result<Vec<T>> {
        Ok(self.joined(var.shape.partitions, |own| own.value(var)))
    }

    fn read_grad(&self, var: Var) -> Result<Vec<T>> {
        Ok(self.joined(var.shape.partitions, |own| own.grad(var)))
    }

    fn read_labels(&self, labels: Labels) -> Result<Vec<i32>> {
        Ok(self.joined(labels.partitions, |own| own.labels(labels)))
    }

    fn write(&mut self, var: Var, values: &[T]) -> Result<()> {
        for (p, own) in self.partitions.iter().enumerate() {
            own.value_mut(var).copy_from_slice(&values[var.at(p)]);
        }
        Ok(())
    }

    fn write_labels(&mut self, labels: Labels, values: &[i32]) -> Result<()> {
        for (p, own) in self.partitions.iter().enumerate() {
            let values = &values[labels.at(p)];
            own.labels_mut(labels).copy_from_slice(values);
        }
        Ok(())
    }
}

thread_local! {
    /// Whether this thread has a partition to itself, and no other helps with its loops.
    static ALONE: Cell<bool> = const { Cell::new(false) };
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
    if rows > 1 && rows * cost > GRAIN && !ALONE.get() {
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
    let add = |(n, sums): (usize, &mut [T])| {
        for row in rows.chunks_exact(cols) {
            for (sum, &x) in sums.iter_mut().zip(&row[n * COLUMNS..]) {
                *sum += x;
            }
        }
    };
    if ALONE.get() {
        sums.chunks_mut(COLUMNS).enumerate().for_each(add);
    } else {
        sums.par_chunks_mut(COLUMNS).enumerate().for_each(add);
    }
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

    /// Rows from `start` on, `rows` of them.
    fn part(self, start: usize, rows: usize) -> View<'a, T> {
        assert!(start + rows <= self.rows, "rows of a matrix");
        View {
            data: &self.data[start * self.row_stride as usize..],
            rows,
            ..self
        }
    }
}

/// `out = a·b`, or `out += a·b` with `add`; `out` is row-major `a.rows × b.cols`.
pub(crate) fn product<T: Real>(out: &mut [T], a: View<T>, b: View<T>, add: bool) {
    assert_eq!(a.cols, b.rows, "inner sizes of a product");
    assert_eq!(out.len(), a.rows * b.cols, "size of a product");
    /// Rows of a thread with which it is faster at a product of its own than all are at one together.
    /// `gemm` has other ways for results of few rows or columns; so parts have many, and are computed as
    /// the whole would be.
    const OWN: usize = 9 * TILE;
    let threads = rayon::current_num_threads();
    let large = a.rows * a.cols * b.cols > gemm::get_threading_threshold();
    if ALONE.get() || !large {
        gemm(out, a, b, add, gemm::Parallelism::None);
    } else if a.rows < OWN * threads || b.cols < TILE {
        gemm(out, a, b, add, gemm::Parallelism::Rayon(0));
    } else {
        side_by_side(out, a, b, add, threads);
    }
}

/// Rows that parts of a product are multiples of, and columns that they have at least.
const TILE: usize = 16;

/// [`product`] in so many parts, about equal, each by a thread.
fn side_by_side<T: Real>(out: &mut [T], a: View<T>, b: View<T>, add: bool, parts: usize) {
    if parts == 1 {
        return gemm(out, a, b, add, gemm::Parallelism::None);
    }
    let left = parts / 2;
    let rows = a.rows.div_ceil(TILE) * left / parts * TILE;
    let (above, below) = out.split_at_mut(rows * b.cols);
    rayon::join(
        || side_by_side(above, a.part(0, rows), b, add, left),
        || side_by_side(below, a.part(rows, a.rows - rows), b, add, parts - left),
    );
}

/// [`product`], of these threads.
fn gemm<T: Real>(out: &mut [T], a: View<T>, b: View<T>, add: bool, parallelism: gemm::Parallelism) {
    // SAFETY: the asserts in `product`, `View::part` and `View::new` guarantee that every index that
    // gemm forms from these sizes and strides lies in the slices; `out` is borrowed mutably, so it
    // overlaps none.
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
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A product is the same to the bit however many threads share it, also one so narrow that parts of
    /// it would be computed another way.
    #[test]
    fn parts_of_a_product_are_those_of_the_whole() {
        let numbers = |n: usize, by: usize| -> Vec<f32> {
            (0..n).map(|i| (i * by % 97) as f32 / 97.0 - 0.5).collect()
        };
        let on = |threads: usize, run: &mut (dyn FnMut() + Send)| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build().unwrap().install(run);
        };
        let narrow = [(1297, 958, 2), (1441, 500, 1)];
        for (rows, inner, cols) in [(1025, 256, 16), (1441, 700, 40)].into_iter().chain(narrow) {
            let (a, b) = (numbers(rows * inner, 31), numbers(inner * cols, 53));
            let plain = [View::new(&a, inner), View::new(&a, rows).transposed()];
            for a in plain {
                let b = View::new(&b, cols);
                let mut whole = vec![0.0; rows * cols];
                on(1, &mut || product(&mut whole, a, b, false));
                for threads in [2, 3, 7, 8, 10] {
                    let mut found = vec![0.0; rows * cols];
                    on(threads, &mut || product(&mut found, a, b, false));
                    assert!(found == whole, "{rows}×{inner}×{cols}, {threads} threads");
                }
            }
        }
    }
}
