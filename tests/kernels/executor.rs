//! Launches kernels that were compiled for the host, and a device made of them.

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_void};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use ssan::device::Device;
use ssan::device::kernels::{COMMON, Parameter, SOURCES, Source, signatures};
use ssan::device::launch::{Arg, Buffer, Launch, Launches, Layout};
use ssan::device::rung::{Product, Rung};
use ssan::graph::{Graph, Labels, Var};
use ssan::real::Real;
use ssan::{Error, Result};

use crate::build::{self, Mode};

/// Memory that a launch works on.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    at: *mut c_void,
    bytes: usize,
}

/// One argument of a launch.
#[derive(Clone, Copy, Debug)]
pub enum Value {
    RealIn(Memory),
    RealOut(Memory),
    IntIn(Memory),
    IntOut(Memory),
    Int(i32),
    Real(f64),
}

impl Memory {
    pub fn of<E>(elements: &mut [E]) -> Memory {
        Memory {
            at: elements.as_mut_ptr().cast(),
            bytes: std::mem::size_of_val(elements),
        }
    }
}

impl Value {
    fn parameter(&self) -> Parameter {
        match self {
            Value::RealIn(_) => Parameter::RealIn,
            Value::RealOut(_) => Parameter::RealOut,
            Value::IntIn(_) => Parameter::IntIn,
            Value::IntOut(_) => Parameter::IntOut,
            Value::Int(_) => Parameter::Int,
            Value::Real(_) => Parameter::Real,
        }
    }
}

/// `Argument` of `host/checker.h`.
#[repr(C)]
struct Argument {
    at: *mut c_void,
    bytes: usize,
    kind: i32,
}

type Body = unsafe extern "C" fn(*mut *mut c_void);
type HostLaunch = unsafe extern "C" fn(
    *const c_char,
    Body,
    *const u32,
    *const u32,
    *mut Argument,
    usize,
    *mut usize,
) -> *const c_char;

/// Kernels compiled for the host in one type and mode.
pub struct Kernels {
    library: libloading::Library,
    path: PathBuf,
    double: bool,
    parameters: HashMap<String, Vec<Parameter>>,
    /// Held during a launch: the library runs one at a time.
    running: Mutex<()>,
}

impl Kernels {
    /// Compiles `sources` in the type of that name in C, with matrix products on `rung`.
    pub fn build(sources: &[Source], real: &str, rung: Rung, mode: Mode) -> Kernels {
        let understand = |source: &Source| {
            let found = signatures(source.text);
            let found = found.unwrap_or_else(|e| panic!("kernels/{}.cu: {e}", source.name));
            (*source, found)
        };
        let sources: Vec<_> = sources.iter().map(understand).collect();
        let (library, path) = build::library(COMMON, &sources, real, rung, mode);
        let all = sources.into_iter().flat_map(|(_, signatures)| signatures);
        Kernels {
            library,
            path,
            double: real == "double",
            parameters: all.map(|s| (s.name, s.parameters)).collect(),
            running: Mutex::new(()),
        }
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
        let kernels: &Kernels =
            Box::leak(Box::new(Kernels::build(&sources, T::C_NAME, rung, mode)));
        built.push((key, kernels));
        kernels
    }

    /// Runs one launch.
    ///
    /// # Errors
    /// What the launch or the kernel does wrong.
    ///
    /// # Safety
    /// The memory of every argument is there and nothing else uses it. A kernel that was not
    /// compiled in checked mode keeps to it.
    pub unsafe fn launch(
        &self,
        kernel: &str,
        grid: [u32; 3],
        block: [u32; 3],
        values: &[Value],
    ) -> std::result::Result<(), String> {
        let declared = self.parameters.get(kernel);
        let declared = declared.ok_or_else(|| format!("no kernel named {kernel}"))?;
        let given: Vec<Parameter> = values.iter().map(Value::parameter).collect();
        if *declared != given {
            return Err(format!(
                "{kernel}: takes {declared:?}, launched with {given:?}"
            ));
        }
        let mut scalars: Vec<[u8; 8]> = values.iter().map(|v| self.scalar(*v)).collect();
        let scalars = scalars.iter_mut().zip(values);
        let mut arguments: Vec<Argument> = scalars
            .map(|(scalar, value)| {
                let (kind, memory) = match value {
                    Value::Int(_) | Value::Real(_) => (0, Memory::of(scalar)),
                    Value::RealIn(memory) | Value::IntIn(memory) => (1, *memory),
                    Value::RealOut(memory) | Value::IntOut(memory) => (2, *memory),
                };
                Argument {
                    at: memory.at,
                    bytes: memory.bytes,
                    kind,
                }
            })
            .collect();
        let name = CString::new(kernel).expect("a kernel's name");
        let mut place = 0;
        let guard = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the library has these two functions with these types, `build` made them so; the
        // arguments are those that the kernel declares, as compared above, and the caller answers
        // for their memory. The report is copied before another launch can overwrite it.
        let report = unsafe {
            let symbol = format!("launch_{kernel}");
            let body = self.library.get::<Body>(symbol.as_bytes());
            let launch = self.library.get::<HostLaunch>(b"host_launch");
            let report = launch.expect("runtime.cc has it")(
                name.as_ptr(),
                *body.expect("every kernel has it"),
                grid.as_ptr(),
                block.as_ptr(),
                arguments.as_mut_ptr(),
                arguments.len(),
                &mut place,
            );
            (!report.is_null()).then(|| CStr::from_ptr(report).to_string_lossy().into_owned())
        };
        drop(guard);
        match report {
            None => Ok(()),
            Some(report) if place == 0 => Err(report),
            Some(report) => Err(format!("{report} at {}", self.line(place))),
        }
    }

    /// A scalar as the kernel takes it; a buffer has none.
    fn scalar(&self, value: Value) -> [u8; 8] {
        let mut bytes = [0; 8];
        match value {
            Value::Int(x) => bytes[..4].copy_from_slice(&x.to_ne_bytes()),
            Value::Real(x) if self.double => bytes = x.to_ne_bytes(),
            Value::Real(x) => bytes[..4].copy_from_slice(&(x as f32).to_ne_bytes()),
            _ => {}
        }
        bytes
    }

    /// The line of a kernel file that the code at `place` comes from, by way of `addr2line`.
    fn line(&self, place: usize) -> String {
        let mut command = Command::new("addr2line");
        command.args(["-i", "-e"]).arg(&self.path);
        let output = command.arg(format!("{place:#x}")).output();
        let lines = output.map_or(String::new(), |o| {
            String::from_utf8_lossy(&o.stdout).into_owned()
        });
        // Innermost first where functions are inlined.
        let files = lines
            .lines()
            .filter_map(|l| l.rsplit('/').next()?.split(' ').next());
        let mut files = files.filter(|l| !l.starts_with("host.h") && !l.starts_with('?'));
        let known = files.next().map(String::from);
        known.unwrap_or_else(|| format!("+{place:#x} of {}", self.path.display()))
    }
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
        HostKernels::with(|rung| Kernels::project::<T>(rung, mode), graph, choose)
    }

    /// Loads a recorded step for the kernels, in the type `T`, that `find` gives for a rung.
    pub fn with(
        find: impl Fn(Rung) -> &'static Kernels,
        mut graph: Graph<T>,
        choose: impl Fn(Product) -> Rung,
    ) -> HostKernels<T> {
        let launches = Launches::of(&graph, choose);
        let all = launches.forward.iter().chain(&launches.backward);
        let all = all.chain(&launches.update);
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
                Arg::Int(x) => Value::Int(x),
                Arg::Real(x) => Value::Real(x),
            });
        }
        // SAFETY: the memory is that of the arenas, which `self` owns and lends to nothing else.
        // Tests run every kernel in checked mode too.
        let launched = unsafe {
            self.kernels[&launch.rung].launch(launch.kernel, launch.grid, launch.block, &values)
        };
        launched.map_err(Error::Device)
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
