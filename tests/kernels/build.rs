//! Compiles kernels for the host and loads them.
//!
//! Each kernel file becomes one object per type and mode, kept under the hash of what it is made
//! of, so that an edit compiles one file again. A lock lets test processes that start together
//! build once.

use std::collections::hash_map::DefaultHasher;
use std::fmt::Write;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use libloading::Library;
use ssan::device::kernels::{Parameter, Signature, Source};

/// Whether accesses are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Every access is checked.
    Checked,
    /// Accesses are not checked: several times as fast. Barriers and shuffles still are.
    Plain,
}

const HEADERS: [(&str, &str); 2] = [
    ("host.h", include_str!("host/host.h")),
    ("checker.h", include_str!("host/checker.h")),
];
const RUNTIME: &str = include_str!("host/runtime.cc");
const CHECKER: &str = include_str!("host/checker.cc");

const FLAGS: [&str; 11] = [
    "-std=c++17",
    "-O2",
    "-g1",
    "-gdwarf-4",
    "-fPIC",
    "-fvisibility=hidden",
    "-fno-strict-aliasing",
    "-fno-exceptions",
    "-ffp-contract=off",
    "-Wno-unknown-pragmas",
    "-w",
];
/// Of kernel files in checked mode. Vectorised code makes fewer, larger accesses.
const INSTRUMENTATION: [&str; 4] = [
    "-fsanitize=thread,alignment,bounds,shift,signed-integer-overflow,integer-divide-by-zero,\
     float-cast-overflow",
    "-fno-sanitize-recover=all",
    "-fno-tree-vectorize",
    "-fno-tree-slp-vectorize",
];

/// The C++ compiler's command.
fn compiler() -> String {
    std::env::var("CXX").unwrap_or_else(|_| "c++".into())
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|e| {
        panic!(
            "cannot run the C++ compiler `{}` ({e}), which these tests compile the kernels for \
             the host with: install g++ (Debian, Ubuntu: apt install g++) or set CXX",
            command.get_program().display()
        )
    });
    assert!(
        output.status.success(),
        "{command:?} failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn hash(of: impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// One file to compile.
struct Unit {
    text: String,
    object: PathBuf,
    flags: Vec<String>,
}

impl Unit {
    fn new(folder: &Path, name: &str, text: String, flags: Vec<String>) -> Unit {
        let hash = hash((&text, &flags));
        Unit {
            object: folder.join(format!("{name}-{hash}.o")),
            text,
            flags,
        }
    }

    /// Compiles it, unless that was done before.
    fn compile(&self, folder: &Path) {
        if self.object.exists() {
            return;
        }
        let (source, partial) = (
            self.object.with_extension("cc"),
            self.object.with_extension("partial"),
        );
        fs::write(&source, &self.text).expect("the build folder is writable");
        let mut command = Command::new(compiler());
        command.args(&self.flags).arg("-I").arg(folder);
        run(command.arg("-c").arg(&source).arg("-o").arg(&partial));
        fs::rename(&partial, &self.object).expect("the build folder is writable");
    }
}

/// A kernel file as C++: everything of its own is in an unnamed namespace, so that two files may
/// define the same name; beside it a function per kernel that takes the arguments' addresses.
fn wrap(common: &str, source: &Source, signatures: &[Signature]) -> String {
    let (name, text) = (source.name, source.text);
    let mut unit = format!(
        "#include \"host.h\"\nnamespace {{\n#line 1 \"common.cuh\"\n{common}\n\
         #line 1 \"{name}.cu\"\n{text}\n}}\n#line 1 \"launch\"\n"
    );
    for signature in signatures {
        let arguments = signature.parameters.iter().enumerate().map(|(i, p)| {
            let of = match p {
                Parameter::RealIn => "const real*",
                Parameter::RealOut => "real*",
                Parameter::IntIn => "const int*",
                Parameter::IntOut => "int*",
                Parameter::Int => "int",
                Parameter::Real => "real",
            };
            format!("*({of}*)a[{i}]")
        });
        let arguments: Vec<String> = arguments.collect();
        let (name, arguments) = (&signature.name, arguments.join(", "));
        writeln!(
            unit,
            "extern \"C\" __attribute__((visibility(\"default\"), no_sanitize(\"thread\")))\n\
             void launch_{name}(void** a) {{ {name}({arguments}); }}"
        )
        .unwrap();
    }
    unit
}

/// Compiles `sources` with their signatures below `folder`, `common` before each, macros defined
/// as in `-DREAL=float`; returns the library and its path.
pub fn library(
    folder: &Path,
    common: &str,
    sources: &[(Source, Vec<Signature>)],
    macros: &[String],
    mode: Mode,
) -> (Library, PathBuf) {
    let folder = folder.join(format!(
        "host-kernels-{}",
        hash((HEADERS, FLAGS, INSTRUMENTATION, compiler()))
    ));
    fs::create_dir_all(&folder).expect("the target folder is writable");
    let lock = File::create(folder.join("lock")).expect("the target folder is writable");
    lock.lock().expect("a lock in the target folder");
    for (name, text) in HEADERS {
        fs::write(folder.join(name), text).expect("the target folder is writable");
    }

    let mut flags: Vec<String> = FLAGS.map(String::from).into();
    if mode == Mode::Checked {
        flags.push("-DCHECKED".into());
    }
    let unit = |name, text: &str| Unit::new(&folder, name, text.into(), flags.clone());
    let mut units = vec![unit("runtime", RUNTIME)];
    if mode == Mode::Checked {
        units.push(unit("checker", CHECKER));
        flags.extend(INSTRUMENTATION.map(String::from));
    }
    flags.extend_from_slice(macros);
    units.extend(sources.iter().map(|(source, signatures)| {
        let text = wrap(common, source, signatures);
        Unit::new(&folder, source.name, text, flags.clone())
    }));

    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(unit) = units.get(next.fetch_add(1, Ordering::Relaxed)) {
                    unit.compile(&folder);
                }
            });
        }
    });

    let objects: Vec<&PathBuf> = units.iter().map(|u| &u.object).collect();
    let path = folder.join(format!("{}.so", hash(&objects)));
    if !path.exists() {
        let partial = path.with_extension("partial");
        let mut command = Command::new(compiler());
        command.args(["-shared", "-Wl,--no-undefined", "-o"]);
        run(command.arg(&partial).args(&objects).args(["-lm", "-ldl"]));
        fs::rename(&partial, &path).expect("the target folder is writable");
    }
    // SAFETY: the library was compiled from the sources above, whose static initialisers only
    // fill their own tables.
    let library = unsafe { Library::new(&path) };
    let library = library.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    (library, path)
}
