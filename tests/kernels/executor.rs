//! The project's kernels on the host, and a device made of them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use ssan::device::Device;
use ssan::device::kernels::{COMMON, SOURCES, Source};
use ssan::device::launch::{Arg, Buffer, Launch, Launches, Layout};
use ssan::device::rung::{Product, Rung};
use ssan::graph::{Graph, Labels, Var};
use ssan::real::Real;
use ssan::{Error, Result};

use crate::build::Mode;
use crate::library::{Kernels, Memory, Value};

/// Compiles `sources` in the type of that name in C, with matrix products on `rung`.
pub fn build(sources: &[Source], real: &str, rung: Rung, mode: Mode) -> Kernels {
    let rung = rung
        .macros()
        .map(|(name, value)| format!("-D{name}={value}"));
    let macros: Vec<String> = [format!("-DREAL={real}")].into_iter().chain(rung).collect();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    Kernels::build(folder, COMMON, sources, &macros, mode)
}

/// The project's kernels, or those of its matrix products on another rung, compiled when they
/// are first asked for.
pub fn project<T: Real>(rung: Rung, mode: Mode) -> &'static Kernels {
    type Key = (&'static str, Rung, Mode);
    static BUILT: Mutex<Vec<(Key, &'static Kernels)>> = Mutex::new(Vec::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (T::C_NAME, rung, mode);
    if let Some((_, kernels)) = built.iter().find(|(k, _)| *k == key) {
        return kernels;
    }
    let sources: Vec<Source> = match rung == Rung::default() {
        true => SOURCES.to_vec(),
        false => SOURCES
            .iter()
            .filter(|s| s.name == "linear")
            .copied()
            .collect(),
    };
    let kernels: &Kernels = Box::leak(Box::new(build(&sources, T::C_NAME, rung, mode)));
    built.push((key, kernels));
    kernels
}

/// A device on the host: every launch of the recorded step through the project's kernels.
pub struct HostKernels<T: Real> {
    /// The kernels, with matrix products on each rung that the step has.
    kernels: HashMap<Rung, &'static Kernels>,
    graph: Graph<T>,
    launches: Launches,
    layout: Layout,
    values: Vec<T>,
    grads: Vec<T>,
    labels: Vec<i32>,
}

impl<T: Real> HostKernels<T> {
    /// Loads a recorded step for the project's kernels, matrix products on the plain rung.
    pub fn load(graph: Graph<T>, mode: Mode) -> HostKernels<T> {
        HostKernels::load_on(graph, |_| Rung::default(), mode)
    }

    /// The same, each matrix product on the rung that `choose` gives it.
    pub fn load_on(
        graph: Graph<T>,
        choose: impl Fn(Product) -> Rung,
        mode: Mode,
    ) -> HostKernels<T> {
        HostKernels::with(|rung| project::<T>(rung, mode), graph, choose)
    }

    /// Loads a recorded step for the kernels, in the type `T`, that `find` gives for a rung.
    pub fn with(
        find: impl Fn(Rung) -> &'static Kernels,
        mut graph: Graph<T>,
        choose: impl Fn(Product) -> Rung,
    ) -> HostKernels<T> {
        let launches = Launches::of(&graph, choose);
        let all = launches.all();
        let kernels: HashMap<_, _> = all.map(|l| (l.rung, find(l.rung))).collect();
        for kernels in kernels.values() {
            assert_eq!(kernels.double, T::C_NAME == "double", "the kernels' type");
        }
        let layout = Layout::of(&graph);
        let (values, grads, labels) = layout.arenas(&mut graph);
        HostKernels {
            kernels,
            graph,
            launches,
            layout,
            values,
            grads,
            labels,
        }
    }

    fn memory(&mut self, buffer: Buffer) -> (Memory, bool) {
        let range = self.layout.range(buffer);
        match buffer {
            Buffer::Value(_) | Buffer::Values(..) => (Memory::of(&mut self.values[range]), true),
            Buffer::Grad(_) | Buffer::Grads(..) => (Memory::of(&mut self.grads[range]), true),
            Buffer::Labels(_) => (Memory::of(&mut self.labels[range]), false),
        }
    }

    fn launch(&mut self, launch: &Launch) -> Result<()> {
        let [sums, arrived] = launch.workspace();
        // As those of another launch leave them.
        let (mut sums, mut arrived) = (vec![T::of(f64::NAN); sums], vec![0; arrived]);
        let mut values = Vec::new();
        for arg in &launch.args {
            values.push(match *arg {
                Arg::In(buffer) => match self.memory(buffer) {
                    (memory, true) => Value::RealIn(memory),
                    (memory, false) => Value::IntIn(memory),
                },
                Arg::Out(buffer) => match self.memory(buffer) {
                    (memory, true) => Value::RealOut(memory),
                    (memory, false) => Value::IntOut(memory),
                },
                Arg::PartialSums => Value::RealOut(Memory::of(&mut sums)),
                Arg::Arrived => Value::IntOut(Memory::of(&mut arrived)),
                Arg::Int(x) => Value::Int(x),
                Arg::Real(x) => Value::Real(x),
            });
        }
        // SAFETY: the memory is that of the arenas, which `self` owns and lends to nothing else.
        // Tests run every kernel in checked mode too.
        let launched = unsafe {
            self.kernels[&launch.rung].launch(launch.kernel, launch.grid, launch.block, &values)
        };
        launched.map_err(Error::Device)?;
        match arrived.iter().all(|&n: &i32| n == 0) {
            true => Ok(()),
            false => Err(Error::Device(format!(
                "{}: {arrived:?} have arrived",
                launch.kernel
            ))),
        }
    }

    fn run(&mut self, list: fn(&mut Launches) -> &mut Vec<Launch>) -> Result<()> {
        let launches = std::mem::take(list(&mut self.launches));
        let result = launches.iter().try_for_each(|l| self.launch(l));
        *list(&mut self.launches) = launches;
        result
    }
}

impl<T: Real> Device<T> for HostKernels<T> {
    fn graph(&self) -> &Graph<T> {
        &self.graph
    }

    fn steps(&mut self, epochs: usize) -> Result<()> {
        for _ in 0..epochs {
            self.forward()?;
            self.backward()?;
            self.run(|l| &mut l.update)?;
        }
        Ok(())
    }

    fn forward(&mut self) -> Result<()> {
        self.run(|l| &mut l.forward)
    }

    fn backward(&mut self) -> Result<()> {
        self.run(|l| &mut l.backward)
    }

    fn read(&self, var: Var) -> Result<Vec<T>> {
        Ok(self.values[self.layout.range(Buffer::Value(var))].to_vec())
    }

    fn read_grad(&self, var: Var) -> Result<Vec<T>> {
        Ok(self.grads[self.layout.range(Buffer::Grad(var))].to_vec())
    }

    fn read_labels(&self, labels: Labels) -> Result<Vec<i32>> {
        Ok(self.labels[self.layout.range(Buffer::Labels(labels))].to_vec())
    }

    fn write(&mut self, var: Var, values: &[T]) -> Result<()> {
        let range = self.layout.range(Buffer::Value(var));
        self.values[range].copy_from_slice(values);
        Ok(())
    }

    fn write_labels(&mut self, labels: Labels, values: &[i32]) -> Result<()> {
        let range = self.layout.range(Buffer::Labels(labels));
        self.labels[range].copy_from_slice(values);
        Ok(())
    }
}
