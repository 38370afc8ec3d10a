//! Kernels that were compiled for the host: launches by name.

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use ssan::device::kernels::{Parameter, Source, signatures};

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
        let bytes = std::mem::size_of_val(elements);
        Memory::at(elements.as_mut_ptr().cast(), bytes)
    }

    pub fn at(at: *mut c_void, bytes: usize) -> Memory {
        Memory { at, bytes }
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
    /// Whether `real` is `double`.
    pub double: bool,
    /// Of each kernel.
    pub parameters: HashMap<String, Vec<Parameter>>,
    /// Held during a launch: the library runs one at a time.
    running: Mutex<()>,
}

impl Kernels {
    /// Compiles `sources` below `folder`, with `common` before each and macros defined as in
    /// `-DREAL=float`.
    pub fn build(
        folder: &Path,
        common: &str,
        sources: &[Source],
        macros: &[String],
        mode: Mode,
    ) -> Kernels {
        let understand = |source: &Source| {
            let found = signatures(source.text);
            let found = found.unwrap_or_else(|e| panic!("kernels/{}.cu: {e}", source.name));
            (*source, found)
        };
        let sources: Vec<_> = sources.iter().map(understand).collect();
        let (library, path) = build::library(folder, common, &sources, macros, mode);
        let all = sources.into_iter().flat_map(|(_, signatures)| signatures);
        Kernels {
            library,
            path,
            double: macros.iter().any(|m| m == "-DREAL=double"),
            parameters: all.map(|s| (s.name, s.parameters)).collect(),
            running: Mutex::new(()),
        }
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
