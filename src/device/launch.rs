//! A recorded step as a list of kernel launches, and where its buffers lie.
//!
//! Shapes are fixed, so the list is made once: every operation says which kernels it launches, on
//! which buffers, in its forward and its backward pass. What launches them (CUDA, or an executor on
//! the host) differs in the launch alone.

use std::ops::Range;

use super::rung::{Product, Rung};
use crate::error::{Error, Result};
use crate::graph::{Graph, Labels, Shape, Var, Want};
use crate::real::Real;

/// A buffer that a kernel works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buffer {
    /// Values of a variable, all partitions.
    Value(Var),
    /// Its gradient.
    Grad(Var),
    /// Values of all variables from the first to the last made, which lie one after the other,
    /// each at a multiple of [`ALIGNMENT`] (see [`Layout`]).
    Values(Var, Var),
    /// Their gradients, in the same places relative to the first.
    Grads(Var, Var),
    /// Labels, all partitions.
    Labels(Labels),
}

/// One argument of a kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arg {
    /// A buffer that the kernel reads: `const real*` or `const int*`.
    In(Buffer),
    /// A buffer that the kernel writes, or reads and writes: `real*` or `int*`.
    Out(Buffer),
    /// Where the blocks that make one tile of a product put their sums, `real*`; each stream has
    /// memory of its own for it.
    PartialSums,
    /// How many of a tile's blocks have done so, `int*`; 0 between launches.
    Arrived,
    /// `int`.
    Int(i32),
    /// `real`.
    Real(f64),
}

impl Arg {
    /// Values of a variable, to read.
    pub fn value(var: Var) -> Arg {
        Arg::In(Buffer::Value(var))
    }

    /// Values of a variable, to write.
    pub fn value_mut(var: Var) -> Arg {
        Arg::Out(Buffer::Value(var))
    }

    /// Gradient of a variable, to read.
    pub fn grad(var: Var) -> Arg {
        Arg::In(Buffer::Grad(var))
    }

    /// Gradient of a variable, to write.
    pub fn grad_mut(var: Var) -> Arg {
        Arg::Out(Buffer::Grad(var))
    }

    /// Labels, to read.
    pub fn labels(labels: Labels) -> Arg {
        Arg::In(Buffer::Labels(labels))
    }

    /// Labels, to write.
    pub fn labels_mut(labels: Labels) -> Arg {
        Arg::Out(Buffer::Labels(labels))
    }

    /// A size or a stride.
    pub fn int(n: usize) -> Arg {
        Arg::Int(i32::try_from(n).expect("sizes in a kernel are below 2³¹"))
    }

    /// 1 or 0.
    pub fn flag(flag: bool) -> Arg {
        Arg::Int(flag.into())
    }

    /// A constant.
    pub fn real<T: Real>(x: T) -> Arg {
        Arg::Real(x.wide())
    }

    /// What to do with a gradient: `enum Want` of `kernels/common.cuh`.
    pub fn want(want: Want) -> Arg {
        Arg::Int(want as i32)
    }
}

/// One kernel launch.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// Name of the kernel.
    pub kernel: &'static str,
    /// Sizes of a matrix product, where it is one.
    pub product: Option<Product>,
    /// How that is computed.
    pub rung: Rung,
    /// Blocks that make one tile of it, each from a part of the terms.
    pub split_k: usize,
    /// Blocks in x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y, z.
    pub block: [u32; 3],
    /// Its arguments, in order.
    pub args: Vec<Arg>,
}

/// Blocks that CUDA takes in y and in z.
const GRID_LIMIT: usize = 65535;

/// Rows of a variable of which the tiles of a matrix product can be counted.
const MOST_ROWS: usize = 64 * GRID_LIMIT;

/// Columns of a variable that a warp for each 32 can go over.
const MOST_COLS: usize = WARP * GRID_LIMIT;

/// Threads of a block, where a kernel does not say otherwise.
const THREADS: usize = 256;

/// Threads of a warp.
pub(crate) const WARP: usize = 32;

impl Launch {
    /// Launches `grid` blocks of `threads` threads in a row. The grid's z is the partition.
    ///
    /// # Panics
    /// CUDA has no such grid: it would take more than 65535 partitions, or rows of tiles.
    pub(crate) fn new(
        kernel: &'static str,
        grid: [usize; 3],
        threads: usize,
        args: Vec<Arg>,
    ) -> Launch {
        let limits = [i32::MAX as usize, GRID_LIMIT, GRID_LIMIT];
        for (size, limit) in grid.into_iter().zip(limits) {
            assert!(size <= limit, "{kernel}: no grid of {grid:?} blocks");
        }
        debug_assert!(threads.is_multiple_of(WARP) && threads <= 1024);
        Launch {
            kernel,
            product: None,
            rung: Rung::default(),
            split_k: 1,
            grid: grid.map(|n| n.max(1) as u32),
            block: [threads as u32, 1, 1],
            args,
        }
    }

    /// A matrix product, to be put on a rung.
    pub(crate) fn product(kernel: &'static str, product: Product, args: Vec<Arg>) -> Launch {
        let product = Some(product);
        Launch {
            product,
            ..Launch::new(kernel, [1; 3], THREADS, args)
        }
    }

    /// The same, a matrix product on the rung that `choose` gives it.
    fn on(self, choose: impl Fn(Product) -> Rung) -> Launch {
        let Some(product) = self.product else {
            return self;
        };
        let rung = choose(product);
        let (split_k, [x, y, z]) = (rung.split_k(product), rung.tile.blocks(product));
        let mut args = self.args;
        args.extend([Arg::PartialSums, Arg::Arrived, Arg::int(split_k)]);
        Launch {
            product: Some(product),
            rung,
            split_k,
            ..Launch::new(self.kernel, [x * split_k, y, z], rung.threads(), args)
        }
    }

    /// Elements behind [`Arg::PartialSums`] and [`Arg::Arrived`].
    pub fn workspace(&self) -> [usize; 2] {
        let blocks = self.grid.iter().map(|&n| n as usize).product::<usize>();
        match self.split_k {
            1 => [0, 0],
            split_k => [blocks * self.rung.sums(), blocks / split_k],
        }
    }

    /// One thread for each of `n` elements of every partition.
    pub(crate) fn per_element(
        kernel: &'static str,
        n: usize,
        partitions: usize,
        args: Vec<Arg>,
    ) -> Launch {
        let grid = [n.div_ceil(THREADS), 1, partitions];
        Launch::new(kernel, grid, THREADS, args)
    }

    /// One warp for each of `rows` rows of every partition.
    pub(crate) fn per_row(
        kernel: &'static str,
        rows: usize,
        partitions: usize,
        args: Vec<Arg>,
    ) -> Launch {
        let grid = [rows.div_ceil(THREADS / WARP), 1, partitions];
        Launch::new(kernel, grid, THREADS, args)
    }

    /// One block for each partition, a thread for each of `n` entries, up to 1024.
    pub(crate) fn per_partition(
        kernel: &'static str,
        n: usize,
        partitions: usize,
        args: Vec<Arg>,
    ) -> Launch {
        let threads = n.next_multiple_of(WARP).clamp(WARP, 1024);
        Launch::new(kernel, [1, 1, partitions], threads, args)
    }

    /// One block for each 32 columns of each class, a row of the `[P, K, d]` matrix `of`, that sums up
    /// some of `rows` rows: a warp for each 256 of them, up to eight warps.
    pub(crate) fn per_class(
        kernel: &'static str,
        of: Shape,
        rows: usize,
        args: Vec<Arg>,
    ) -> Launch {
        let threads = rows.div_ceil(8).next_multiple_of(WARP).clamp(WARP, 256);
        let grid = [of.rows, of.cols.div_ceil(WARP), of.partitions];
        Launch::new(kernel, grid, threads, args)
    }
}

/// A recorded step as launches.
#[derive(Clone, Debug, Default)]
pub struct Launches {
    /// Forward pass.
    pub forward: Vec<Launch>,
    /// Backward pass; the gradient of the root is 1 from the start and never written.
    pub backward: Vec<Launch>,
    /// Update.
    pub update: Vec<Launch>,
}

impl Launches {
    /// All, in their order.
    pub fn all(&self) -> impl Iterator<Item = &Launch> {
        let passes = self.forward.iter().chain(&self.backward);
        passes.chain(&self.update)
    }

    /// Networks of the kind in `graph` that kernels can count side by side: the update goes over a
    /// parameter of all of them.
    pub fn most_networks<T: Real>(graph: &Graph<T>) -> usize {
        let parameters = graph.parameters().iter();
        let largest = parameters.map(|var| var.shape.block()).max();
        (LARGEST_SPAN / largest.unwrap_or(1).max(1)).min(GRID_LIMIT)
    }

    /// Whether kernels can count what `graph` works on.
    ///
    /// # Errors
    /// There are more networks, rows of tiles or elements of a variable than they can count.
    pub fn check<T: Real>(graph: &Graph<T>) -> Result<()> {
        let refused = |what: String| {
            let remedy = "use a smaller --partition or --d_common, or --device cpu";
            Err(Error::Device(format!("{what}; {remedy}")))
        };
        let (networks, most) = (graph.partitions(), Launches::most_networks(graph));
        if networks > most {
            return refused(format!(
                "{networks} networks at once, a kernel takes {most}"
            ));
        }
        for info in &graph.vars {
            let (name, shape) = (&info.name, info.shape);
            let too_many = shape.rows > MOST_ROWS || shape.cols > MOST_COLS;
            if shape.block() > LARGEST_SPAN || too_many {
                let (rows, cols) = (shape.rows, shape.cols);
                return refused(format!(
                    "{name} ({rows} × {cols}) is too large for a kernel"
                ));
            }
        }
        Ok(())
    }

    /// The launches of `graph`, with matrix products on the rungs that `choose` gives them.
    ///
    /// # Panics
    /// [`Launches::check`] refuses the graph.
    pub fn of<T: Real>(graph: &Graph<T>, choose: impl Fn(Product) -> Rung) -> Launches {
        if let Err(refused) = Launches::check(graph) {
            panic!("{refused}");
        }
        let forward = graph.forward.iter().flat_map(|op| op.launches());
        let backward = graph.backward.iter();
        let backward =
            backward.flat_map(|call| graph.forward[call.op].backward_launches(&call.wants));
        let update = graph.update.iter().flat_map(|op| op.launches());
        let on_rungs = |launch: Launch| launch.on(&choose);
        Launches {
            forward: forward.map(on_rungs).collect(),
            backward: backward.map(on_rungs).collect(),
            update: update.collect(),
        }
    }
}

/// Every buffer starts at a multiple of this many elements of its arena.
pub const ALIGNMENT: usize = 64;

/// Elements that a kernel can count, one thread each, without its index overflowing.
const LARGEST_SPAN: usize = i32::MAX as usize - 1024;

/// Neighbouring variables that one launch works on.
pub(crate) struct Span<const N: usize> {
    /// The first row of variables.
    first: [Var; N],
    /// The last.
    last: [Var; N],
    /// Elements from the start of the first to the end of the last, the same in every column.
    pub len: usize,
}

impl<const N: usize> Span<N> {
    /// Values of the variables in column `n`.
    pub fn values(&self, n: usize) -> Buffer {
        Buffer::Values(self.first[n], self.last[n])
    }

    /// Their gradients; each has one.
    pub fn grads(&self, n: usize) -> Buffer {
        Buffer::Grads(self.first[n], self.last[n])
    }
}

/// Cuts rows of variables of one shape into as few spans as possible: those in which every column
/// was made one variable after the other, so that all columns lie in their arenas alike.
pub(crate) fn spans<const N: usize>(rows: &[[Var; N]]) -> Vec<Span<N>> {
    let mut spans: Vec<Span<N>> = Vec::new();
    for &row in rows {
        assert!(
            row.iter().all(|v| v.shape == row[0].shape),
            "variables side by side in a span have one shape"
        );
        let len = row[0].shape.len();
        if let Some(span) = spans.last_mut() {
            let start = span.len.next_multiple_of(ALIGNMENT);
            let mut pairs = span.last.iter().zip(&row);
            if pairs.all(|(last, v)| v.id == last.id + 1) && start + len <= LARGEST_SPAN {
                (span.last, span.len) = (row, start + len);
                continue;
            }
        }
        let (first, last) = (row, row);
        spans.push(Span { first, last, len });
    }
    spans
}

/// Where the buffers of a step lie: values, gradients and labels in an arena each, in the order in
/// which the variables were made. A view lies where its original does. What is between two buffers
/// is 0 at the start, and a kernel that runs over a span of buffers must keep it so.
#[derive(Clone, Debug)]
pub struct Layout {
    values: Vec<Range<usize>>,
    grads: Vec<Range<usize>>,
    labels: Vec<Range<usize>>,
    /// Elements of the three arenas.
    sizes: [usize; 3],
}

impl Layout {
    /// The layout of `graph`'s buffers.
    pub fn of<T: Real>(graph: &Graph<T>) -> Layout {
        Layout::of_partitions(graph, graph.partitions())
    }

    /// What the layout would be if `partitions` had been recorded side by side, as is known of a
    /// graph of two or more: of one it does not show which buffers all share.
    pub fn of_partitions<T: Real>(graph: &Graph<T>, partitions: usize) -> Layout {
        assert!(
            graph.partitions() > 1 || partitions == 1,
            "a graph of several partitions"
        );
        let side_by_side = |recorded: usize| match recorded == graph.partitions() {
            true => partitions,
            false => recorded,
        };
        let place = |size: &mut usize, len: usize| {
            let start = *size;
            *size = (start + len).next_multiple_of(ALIGNMENT);
            start..start + len
        };
        let mut sizes = [0; 3];
        let (mut values, mut grads) = (Vec::new(), Vec::new());
        for (id, info) in graph.vars.iter().enumerate() {
            let len = side_by_side(info.shape.partitions) * info.shape.block();
            let value = match info.storage == id {
                true => place(&mut sizes[0], len),
                false => Range::clone(&values[info.storage]),
            };
            values.push(value);
            let len = if info.has_grad { len } else { 0 };
            grads.push(place(&mut sizes[1], len));
        }
        let labels = graph.labels.iter();
        let labels = labels.map(|(l, _)| place(&mut sizes[2], side_by_side(l.partitions) * l.rows));
        Layout {
            values,
            grads,
            labels: labels.collect(),
            sizes,
        }
    }

    /// Bytes of the arenas of values, gradients and labels.
    pub fn bytes<T: Real>(&self) -> [usize; 3] {
        let [values, grads, labels] = self.sizes;
        let real = size_of::<T>();
        [values * real, grads * real, labels * size_of::<i32>()]
    }

    /// Elements of the arena of values.
    pub fn values_len(&self) -> usize {
        self.sizes[0]
    }

    /// Elements of the arena of gradients.
    pub fn grads_len(&self) -> usize {
        self.sizes[1]
    }

    /// Elements of the arena of labels.
    pub fn labels_len(&self) -> usize {
        self.sizes[2]
    }

    /// Where a buffer lies in its arena.
    pub fn range(&self, buffer: Buffer) -> Range<usize> {
        let span = |ranges: &[Range<usize>], first: Var, last: Var| {
            ranges[first.id].start..ranges[last.id].end
        };
        match buffer {
            Buffer::Value(v) => self.values[v.id].clone(),
            Buffer::Grad(v) => self.grads[v.id].clone(),
            Buffer::Values(first, last) => span(&self.values, first, last),
            Buffer::Grads(first, last) => span(&self.grads, first, last),
            Buffer::Labels(l) => self.labels[l.id].clone(),
        }
    }

    /// The three arenas as a step starts with them: the graph's initial values, which are taken
    /// out of it, gradients 0 but for 1 at the root, labels −1 unless given.
    pub fn arenas<T: Real>(&self, graph: &mut Graph<T>) -> (Vec<T>, Vec<T>, Vec<i32>) {
        let mut values = vec![T::zero(); self.values_len()];
        let mut grads = vec![T::zero(); self.grads_len()];
        let mut labels = vec![-1; self.labels_len()];
        for (info, range) in graph.vars.iter_mut().zip(&self.values) {
            let initial = std::mem::take(&mut info.initial);
            if !initial.is_empty() {
                values[range.clone()].copy_from_slice(&initial);
            }
        }
        if let Some(root) = graph.root {
            grads[self.range(Buffer::Grad(root))].fill(T::one());
        }
        for ((_, initial), range) in graph.labels.iter_mut().zip(&self.labels) {
            let initial = std::mem::take(initial);
            if !initial.is_empty() {
                labels[range.clone()].copy_from_slice(&initial);
            }
        }
        (values, grads, labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_kernels_can_count_is_refused() {
        assert!(Launches::check(&Graph::<f32>::new(GRID_LIMIT)).is_ok());
        let partitions = Launches::check(&Graph::<f32>::new(GRID_LIMIT + 1)).unwrap_err();
        assert!(partitions.to_string().contains("--partition"));
        // A parameter is counted over all networks, where it has values of its own in each.
        let many = |networks: usize| {
            let mut graph = Graph::<f32>::new(networks);
            graph.parameter("w", 1 << 13, 1 << 13, Vec::new());
            Launches::check(&graph)
        };
        assert!(many(31).is_ok());
        let error = many(32).unwrap_err().to_string();
        assert!(
            error.contains("32 networks at once, a kernel takes 31"),
            "{error}"
        );
        for (rows, cols) in [(1 << 16, 1 << 15), (MOST_ROWS + 1, 1)] {
            let mut graph = Graph::<f32>::new(1);
            graph.shared("much", rows, cols);
            let error = Launches::check(&graph).unwrap_err().to_string();
            assert!(error.contains("much"), "{error}");
        }
    }
}
