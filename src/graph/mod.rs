//! Recording a step: variables, labels and the list of operations over them.
//!
//! A training step has fixed shapes. It is recorded once as a flat list of operations over
//! preallocated buffers; [`Graph::differentiate`] derives the backward list from it once; a device
//! then replays forward, backward and update. Nothing here computes: see [`crate::ops`] for the
//! operations and [`crate::device`] for what replays them.

use std::ops::Range;

use crate::ops::Op;
use crate::real::Real;

/// `[P, rows, cols]`: `P` partitions train side by side. A variable shared by all partitions has
/// `partitions == 1`, whatever the graph's `P`: its stride over partitions is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Partitions, or 1 for a shared variable.
    pub partitions: usize,
    /// Rows of one partition.
    pub rows: usize,
    /// Columns of one row.
    pub cols: usize,
}

impl Shape {
    /// Elements of one partition.
    pub fn block(&self) -> usize {
        self.rows * self.cols
    }
    /// Elements of all partitions.
    pub fn len(&self) -> usize {
        self.partitions * self.block()
    }
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Elements from one partition to the next: 0 for a shared variable.
    pub fn stride(&self) -> usize {
        if self.partitions == 1 {
            0
        } else {
            self.block()
        }
    }
}

/// Handle of a real-valued variable of one graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Var {
    pub(crate) id: usize,
    /// Its shape.
    pub shape: Shape,
}

impl Var {
    /// Where partition `p` lies in the buffer.
    pub fn at(&self, p: usize) -> Range<usize> {
        let start = p * self.shape.stride();
        start..start + self.shape.block()
    }
}

/// Handle of one `i32` label per row, `[P, rows]`: a class, or −1 for "no part in anything".
/// Such labels are the 0/1 weights of the method: a row labelled −1 weighs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Labels {
    pub(crate) id: usize,
    /// Partitions, or 1 where all partitions share them.
    pub partitions: usize,
    /// Rows of one partition.
    pub rows: usize,
}

impl Labels {
    /// Where partition `p` lies in the buffer.
    pub fn at(&self, p: usize) -> Range<usize> {
        let start = p * self.stride();
        start..start + self.rows
    }
    /// Labels from one partition to the next: 0 where all share them.
    pub fn stride(&self) -> usize {
        if self.partitions == 1 { 0 } else { self.rows }
    }
}

/// What a backward pass does with the gradient of one input; in the order that kernels know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Nothing: the input needs none.
    No,
    /// Store it: the first contribution in backward order.
    Write,
    /// Add it to what is there.
    Add,
}

impl Want {
    /// Puts `value` where it belongs.
    pub(crate) fn put<T: Real>(self, slot: &mut T, value: T) {
        match self {
            Want::No => {}
            Want::Write => *slot = value,
            Want::Add => *slot += value,
        }
    }
}

/// What the graph knows of a variable.
pub(crate) struct VarInfo<T> {
    pub name: String,
    /// Values to start from, 0 if empty; a device takes them when it loads the graph.
    pub initial: Vec<T>,
    /// The variable whose value buffer this one uses: itself, or the original of a view.
    pub storage: usize,
    pub requires_grad: bool,
    /// Whether a gradient buffer is needed: set by [`Graph::differentiate`].
    pub has_grad: bool,
    pub shape: Shape,
}

/// One call of the derived backward list.
pub(crate) struct BackwardCall {
    pub op: usize,
    pub wants: Vec<Want>,
}

/// A step being recorded.
pub struct Graph<T: Real> {
    partitions: usize,
    pub(crate) vars: Vec<VarInfo<T>>,
    /// Labels and the values to start from, −1 if empty.
    pub(crate) labels: Vec<(Labels, Vec<i32>)>,
    pub(crate) forward: Vec<Box<dyn Op<T>>>,
    pub(crate) backward: Vec<BackwardCall>,
    pub(crate) update: Vec<Box<dyn Op<T>>>,
    pub(crate) parameters: Vec<Var>,
    /// Buffers that carry something from one step to the next.
    remembered: Vec<Var>,
    pub(crate) root: Option<Var>,
}

impl<T: Real> Graph<T> {
    /// An empty recording of `partitions` partitions side by side.
    pub fn new(partitions: usize) -> Graph<T> {
        assert!(partitions > 0, "a graph needs at least one partition");
        Graph {
            partitions,
            vars: Vec::new(),
            labels: Vec::new(),
            forward: Vec::new(),
            backward: Vec::new(),
            update: Vec::new(),
            parameters: Vec::new(),
            remembered: Vec::new(),
            root: None,
        }
    }

    /// Number of partitions `P`.
    pub fn partitions(&self) -> usize {
        self.partitions
    }

    fn var(&mut self, name: &str, shape: Shape, requires_grad: bool, initial: Vec<T>) -> Var {
        assert!(
            initial.is_empty() || initial.len() == shape.len(),
            "{name}: {} values for a shape of {}",
            initial.len(),
            shape.len()
        );
        let id = self.vars.len();
        self.vars.push(VarInfo {
            name: name.to_string(),
            initial,
            storage: id,
            requires_grad,
            has_grad: false,
            shape,
        });
        Var { id, shape }
    }

    /// Values shared by all partitions, `[1, rows, cols]`, starting at 0.
    pub fn shared(&mut self, name: &str, rows: usize, cols: usize) -> Var {
        self.constant(name, rows, cols, Vec::new())
    }

    /// Values shared by all partitions, `[1, rows, cols]`, row-major.
    pub fn constant(&mut self, name: &str, rows: usize, cols: usize, values: Vec<T>) -> Var {
        let shape = Shape {
            partitions: 1,
            rows,
            cols,
        };
        self.var(name, shape, false, values)
    }

    /// A buffer without gradient, one block per partition, starting at 0: state of an optimiser
    /// (then also [`Graph::remember`] it), something saved for the backward pass, a result off the
    /// tape.
    pub fn buffer(&mut self, name: &str, rows: usize, cols: usize) -> Var {
        self.given_buffer(name, rows, cols, Vec::new())
    }

    /// A buffer without gradient, `[P, rows, cols]`, and the values it starts from.
    pub fn given_buffer(&mut self, name: &str, rows: usize, cols: usize, values: Vec<T>) -> Var {
        let shape = self.shape(rows, cols);
        self.var(name, shape, false, values)
    }

    /// Notes that a step reads what an earlier one left in `var`, which is no parameter: it is part
    /// of [`Graph::state`].
    pub fn remember(&mut self, var: Var) -> Var {
        self.remembered.push(var);
        var
    }

    /// All that one step hands to the next, given the same labels: with it, a step goes on from
    /// where another process stopped. Known when the update is recorded.
    pub fn state(&self) -> Vec<Var> {
        let both = self.parameters.iter().chain(&self.remembered);
        both.copied().collect()
    }

    /// A trainable parameter, `[P, rows, cols]`, and the values it starts from.
    pub fn parameter(&mut self, name: &str, rows: usize, cols: usize, values: Vec<T>) -> Var {
        let shape = self.shape(rows, cols);
        let var = self.var(name, shape, true, values);
        self.parameters.push(var);
        var
    }

    /// The result of an operation on `inputs`: it has a gradient when one of them has.
    pub fn computed(&mut self, name: &str, rows: usize, cols: usize, inputs: &[Var]) -> Var {
        let requires_grad = inputs.iter().any(|v| self.vars[v.id].requires_grad);
        let shape = self.shape(rows, cols);
        self.var(name, shape, requires_grad, Vec::new())
    }

    /// The same values under another name: with a gradient of its own, or cut off from it.
    pub(crate) fn view(&mut self, of: Var, name: &str, with_grad: bool) -> Var {
        let requires_grad = with_grad && self.vars[of.id].requires_grad;
        let var = self.var(name, of.shape, requires_grad, Vec::new());
        self.vars[var.id].storage = self.vars[of.id].storage;
        var
    }

    /// The same values as a constant: no gradient flows back through the result.
    pub fn detach(&mut self, of: Var) -> Var {
        self.view(of, "detached", false)
    }

    /// One label per row, `[P, rows]`, starting at −1.
    pub fn labels(&mut self, rows: usize) -> Labels {
        self.given_labels(rows, Vec::new())
    }

    /// One given label per row, `[P, rows]`.
    pub fn given_labels(&mut self, rows: usize, values: Vec<i32>) -> Labels {
        let labels = Labels {
            id: self.labels.len(),
            partitions: self.partitions,
            rows,
        };
        assert!(
            values.is_empty() || values.len() == labels.partitions * rows,
            "labels: {} values for {} partitions of {rows} rows",
            values.len(),
            labels.partitions
        );
        self.labels.push((labels, values));
        labels
    }

    fn shape(&self, rows: usize, cols: usize) -> Shape {
        Shape {
            partitions: self.partitions,
            rows,
            cols,
        }
    }

    /// Appends an operation to the forward list.
    pub fn push(&mut self, op: impl Op<T> + 'static) {
        debug_assert!(
            self.backward.is_empty(),
            "forward operations are recorded before differentiate()"
        );
        self.forward.push(Box::new(op));
    }

    /// The operation recorded last, where it made `output` (for fusing into it).
    pub(crate) fn producer_if_last(&mut self, output: Var) -> Option<&mut Box<dyn Op<T>>> {
        self.forward
            .last_mut()
            .filter(|op| op.output() == Some(output))
    }

    /// Appends an operation that runs after the backward pass: an optimiser, the epoch counter.
    pub fn push_update(&mut self, op: impl Op<T> + 'static) {
        self.update.push(Box::new(op));
    }

    /// Derives the backward list for the sum over partitions of the scalar `root` (`[P, 1, 1]`).
    /// Call it once, after the forward pass is recorded.
    pub fn differentiate(&mut self, root: Var) {
        assert_eq!(root.shape.block(), 1, "the root of a gradient is a scalar");
        assert!(self.root.is_none(), "differentiate() is called once");
        self.root = Some(root);
        self.vars[root.id].has_grad = true;
        let mut calls = Vec::new();
        for (index, op) in self.forward.iter().enumerate().rev() {
            let Some(output) = op.output() else { continue };
            if !self.vars[output.id].has_grad {
                continue;
            }
            let mut wants = Vec::new();
            for input in op.inputs() {
                let info = &mut self.vars[input.id];
                wants.push(match (info.requires_grad, info.has_grad) {
                    (false, _) => Want::No,
                    (true, false) => Want::Write,
                    (true, true) => Want::Add,
                });
                info.has_grad |= info.requires_grad;
            }
            if wants.iter().any(|w| *w != Want::No) {
                calls.push(BackwardCall { op: index, wants });
            }
        }
        self.backward = calls;
    }

    /// Parameters that the loss depends on, in the order they were made. The others take no part
    /// in the update, weight decay included. Known after [`Graph::differentiate`].
    pub fn trained(&self) -> Vec<Var> {
        let parameters = self.parameters.iter();
        parameters
            .filter(|v| self.vars[v.id].has_grad)
            .copied()
            .collect()
    }

    /// All parameters, in the order they were made.
    pub fn parameters(&self) -> &[Var] {
        &self.parameters
    }

    /// All variables, in the order they were made.
    pub fn vars(&self) -> Vec<Var> {
        let vars = self.vars.iter().enumerate();
        vars.map(|(id, info)| Var {
            id,
            shape: info.shape,
        })
        .collect()
    }

    /// All labels, in the order they were made.
    pub fn all_labels(&self) -> Vec<Labels> {
        self.labels.iter().map(|(labels, _)| *labels).collect()
    }

    /// The name a variable was made with.
    pub fn name(&self, var: Var) -> &str {
        &self.vars[var.id].name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_lie_one_after_the_other_or_are_shared() {
        let mut g = Graph::<f64>::new(3);
        let (own, shared) = (g.buffer("own", 2, 5), g.shared("shared", 2, 5));
        assert_eq!((own.shape.block(), own.shape.len()), (10, 30));
        assert_eq!((shared.shape.block(), shared.shape.len()), (10, 10));
        assert_eq!((own.shape.stride(), shared.shape.stride()), (10, 0));
        assert_eq!((own.at(2), shared.at(2)), (20..30, 0..10));
        let labels = g.labels(4);
        assert_eq!((labels.stride(), labels.at(2)), (4, 8..12));
        assert_eq!(g.all_labels(), [labels]);
        assert!(!own.shape.is_empty());
        assert!(g.buffer("none", 0, 5).shape.is_empty());
    }
}
