//! Kernel sources to machine code, by NVRTC, and a disk cache of the results.
//!
//! Machine code for the card's own architecture, not PTX: a driver refuses PTX newer than itself.
//! NVRTC works on a machine without a GPU, so that what compiles is known everywhere.

use std::ffi::{CStr, CString, c_char, c_int};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cudarc::nvrtc::result::{compile_program, destroy_program, get_program_log};
use cudarc::nvrtc::sys;
use sha2::{Digest, Sha256};

use super::kernels::{COMMON, Source};
use super::rung::Rung;
use crate::error::{Error, Result};
use crate::files::{self, write_atomically};

/// How to get what is missing.
const GET_NVRTC: &str = "install the CUDA toolkit, or `pip install nvidia-cuda-nvrtc` and add its \
                         lib folder to LD_LIBRARY_PATH";

/// The oldest NVRTC whose options and functions are the ones used here.
const OLDEST: (i32, i32) = (12, 0);

/// Version of the NVRTC library found on this machine, `(major, minor)`.
///
/// # Errors
/// There is none, it cannot be asked, or it is too old.
pub fn version() -> Result<(i32, i32)> {
    static VERSION: OnceLock<std::result::Result<(i32, i32), String>> = OnceLock::new();
    let version = VERSION.get_or_init(|| {
        // SAFETY: loads and unloads a library of NVIDIA's, whose initialisers may run anywhere.
        if !unsafe { sys::is_culib_present() } {
            return Err(format!(
                "NVRTC, which compiles the kernels, is not found; {GET_NVRTC}"
            ));
        }
        let (mut major, mut minor) = (0, 0);
        // SAFETY: the library is present (asked above), and both pointers are to live integers.
        let asked = unsafe { sys::nvrtcVersion(&mut major, &mut minor) }.result();
        asked.map_err(|e| format!("NVRTC does not tell its version ({e})"))?;
        if (major, minor) < OLDEST {
            return Err(format!(
                "NVRTC {major}.{minor} is too old, {}.{} or newer is needed; {GET_NVRTC}",
                OLDEST.0, OLDEST.1
            ));
        }
        Ok((major, minor))
    });
    version.clone().map_err(Error::Device)
}

/// The architectures that this NVRTC makes machine code for, as numbers: 90 for `sm_90`.
///
/// # Errors
/// As [`version`].
pub fn architectures() -> Result<Vec<i32>> {
    version()?;
    let failed = |e| Error::Device(format!("NVRTC does not list its architectures ({e})"));
    let mut count = 0;
    // SAFETY: the library is present, and the pointer is to a live integer.
    let asked = unsafe { sys::nvrtcGetNumSupportedArchs(&mut count) };
    asked.result().map_err(failed)?;
    let mut list = vec![0; usize::try_from(count).unwrap_or(0)];
    // SAFETY: NVRTC writes as many entries as it just announced, and the list has that length.
    let asked = unsafe { sys::nvrtcGetSupportedArchs(list.as_mut_ptr()) };
    asked.result().map_err(failed)?;
    list.sort_unstable();
    Ok(list)
}

/// The architecture to compile for, to run on a card of compute capability `(major, minor)`: its
/// own, or the oldest of the same major number, whose machine code it also runs. Others in between
/// may be of embedded systems, whose code no card runs.
///
/// # Errors
/// This NVRTC knows neither; or as [`version`].
pub fn architecture_for((major, minor): (i32, i32)) -> Result<String> {
    let (version, known) = (version()?, architectures()?);
    let own = 10 * major + minor;
    let best = known.iter().find(|&&a| a == own);
    let best = best.or_else(|| known.iter().find(|&&a| a / 10 == major && a < own));
    best.map(|a| format!("sm_{a}")).ok_or_else(|| {
        let list: Vec<String> = known.iter().map(|a| format!("sm_{a}")).collect();
        let advice = match known.last() {
            Some(&newest) if own > newest => "newer",
            _ => "older",
        };
        Error::Device(format!(
            "NVRTC {}.{} makes no machine code for sm_{own}, which this card needs; it knows {}. \
             Use an {advice} NVRTC: {GET_NVRTC}",
            version.0,
            version.1,
            list.join(", ")
        ))
    })
}

/// A compiled kernel file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// Machine code (CUBIN).
    pub cubin: Vec<u8>,
    /// What the compiler said: warnings, and registers and spills of every kernel.
    pub log: String,
}

impl Compiled {
    /// Registers and spilled bytes of every kernel, as the log reports them.
    pub fn usage(&self) -> Vec<Usage> {
        let mut found: Vec<Usage> = Vec::new();
        let mut function = String::new();
        for line in self.log.lines() {
            if let Some((_, rest)) = line.split_once("Compiling entry function '") {
                function = rest.split('\'').next().unwrap_or(rest).to_string();
                found.push(Usage {
                    kernel: function.clone(),
                    registers: 0,
                    spilled: 0,
                });
            } else if let Some(usage) = found.last_mut().filter(|u| u.kernel == function) {
                if let Some((_, rest)) = line.split_once("Used ") {
                    usage.registers = leading_number(rest);
                }
                for part in line.split(',').filter(|p| p.contains("bytes spill")) {
                    usage.spilled +=
                        leading_number(part.trim_start_matches(|c: char| !c.is_ascii_digit()));
                }
            }
        }
        found
    }

    /// Lines of the log that are warnings, of the compiler or the assembler.
    pub fn warnings(&self) -> Vec<&str> {
        let lines = self.log.lines();
        lines.filter(|l| l.contains("warning")).collect()
    }
}

fn leading_number(text: &str) -> usize {
    let digits = text
        .trim_start()
        .split(|c: char| !c.is_ascii_digit())
        .next();
    digits.and_then(|d| d.parse().ok()).unwrap_or(0)
}

/// What a kernel takes of a multiprocessor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Name of the kernel.
    pub kernel: String,
    /// Registers of a thread.
    pub registers: usize,
    /// Bytes that a thread spills, stores and loads together.
    pub spilled: usize,
}

fn options(real: &str, rung: Rung, architecture: &str) -> Vec<String> {
    let macros = rung
        .macros()
        .map(|(name, value)| format!("-D{name}={value}"));
    let others = [
        format!("--gpu-architecture={architecture}"),
        format!("-DREAL={real}"),
        "--std=c++17".to_string(),
        // Before 13.2 NVRTC takes a lambda with `auto` parameters for one of the host.
        "--device-as-default-execution-space".to_string(),
        // Source lines in what compute-sanitizer and the profilers report.
        "--generate-line-info".to_string(),
        // Registers and spills in the log.
        "--ptxas-options=-v".to_string(),
    ];
    macros.into_iter().chain(others).collect()
}

/// The text that NVRTC gets: lines are counted from the file's own first one.
fn program_text(source: &Source) -> String {
    let Source { name, text } = source;
    format!("#include \"common.cuh\"\n#line 1 \"{name}.cu\"\n{text}")
}

/// Compiles one kernel file with `real` = `"float"` or `"double"`, matrix products on `rung`, for
/// `architecture`, for instance `"sm_90"`.
///
/// # Errors
/// NVRTC is absent, does not know the architecture, or rejects the source: then the error holds
/// the file's name and the first lines of the log.
pub fn compile(source: &Source, real: &str, rung: Rung, architecture: &str) -> Result<Compiled> {
    let (major, minor) = version()?;
    let options = options(real, rung, architecture);
    let program = Program::new(source)?;
    // SAFETY: the program is alive: created above, destroyed when dropped.
    let compiled = unsafe { compile_program(program.0, &options) };
    let log = program.log();
    if let Err(e) = compiled {
        let cause = match e.0 {
            sys::nvrtcResult::NVRTC_ERROR_COMPILATION => first_errors(&log),
            sys::nvrtcResult::NVRTC_ERROR_BUILTIN_OPERATION_FAILURE => {
                "its library libnvrtc-builtins is missing or of another version; it belongs beside \
                 libnvrtc"
                    .to_string()
            }
            _ => format!("{e}: {} (architecture {architecture})", log.trim()),
        };
        let name = source.name;
        return Err(Error::Device(format!(
            "NVRTC {major}.{minor} cannot compile the kernels of {name}.cu: {cause}"
        )));
    }
    let cubin = program.cubin();
    let cubin = cubin.map_err(|e| {
        let name = source.name;
        Error::Device(format!("NVRTC gives no machine code of {name}.cu ({e})"))
    })?;
    Ok(Compiled { cubin, log })
}

/// The first lines of a log that begins with what matters.
fn first_errors(log: &str) -> String {
    const LINES: usize = 12;
    let from_error = log.find("error").and_then(|at| log[..at].rfind('\n'));
    let lines: Vec<&str> = log[from_error.map_or(0, |at| at + 1)..]
        .lines()
        .take(LINES)
        .collect();
    lines.join("\n")
}

/// An NVRTC program, destroyed when dropped.
struct Program(sys::nvrtcProgram);

impl Program {
    fn new(source: &Source) -> Result<Program> {
        let failed = |cause: String| Error::Device(format!("{}.cu: {cause}", source.name));
        let c = |text: &str| CString::new(text).map_err(|e| failed(e.to_string()));
        let (text, name) = (
            c(&program_text(source))?,
            c(&format!("{}.cu", source.name))?,
        );
        let (header, header_name) = (c(COMMON)?, c"common.cuh");
        let mut program = std::ptr::null_mut();
        // SAFETY: NVRTC is present (the caller asked for its version); all strings end with 0 and
        // outlive the call, which copies them; the lists of headers have the one entry announced.
        let created = unsafe {
            sys::nvrtcCreateProgram(
                &mut program,
                text.as_ptr(),
                name.as_ptr(),
                1 as c_int,
                [header.as_ptr()].as_ptr(),
                [header_name.as_ptr()].as_ptr(),
            )
        };
        created
            .result()
            .map_err(|e| failed(format!("NVRTC takes no program ({e})")))?;
        Ok(Program(program))
    }

    fn log(&self) -> String {
        // SAFETY: the program is alive, and compilation has been tried.
        let log: Vec<c_char> = unsafe { get_program_log(self.0) }.unwrap_or_default();
        let bytes: Vec<u8> = log.into_iter().map(|c| c as u8).collect();
        let text = CStr::from_bytes_until_nul(&bytes).unwrap_or_default();
        text.to_string_lossy().into_owned()
    }

    fn cubin(&self) -> std::result::Result<Vec<u8>, cudarc::nvrtc::result::NvrtcError> {
        let mut size = 0;
        // SAFETY: the program is alive and compiled; the pointer is to a live integer.
        unsafe { sys::nvrtcGetCUBINSize(self.0, &mut size) }.result()?;
        let mut cubin = vec![0u8; size];
        // SAFETY: the same, and the buffer has the size that NVRTC just announced.
        unsafe { sys::nvrtcGetCUBIN(self.0, cubin.as_mut_ptr().cast()) }.result()?;
        Ok(cubin)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: created by NVRTC, and destroyed here alone. A failure only leaks memory.
        let _ = unsafe { destroy_program(self.0) };
    }
}

/// Compiled kernel files on disk: one file each, named by a hash of all that decides its content,
/// holding a hash of its own content.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: Option<PathBuf>,
}

/// First bytes of an entry; changes with its format.
const MAGIC: &[u8] = b"ssan cubin 1\n";

impl Cache {
    /// The user's cache: `$SSAN_CACHE` (empty: none), `$XDG_CACHE_HOME/ssan` or `~/.cache/ssan`.
    pub fn find() -> Cache {
        let var = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let set = |name: &str| var(name).filter(|p| !p.as_os_str().is_empty());
        let folder = match var("SSAN_CACHE") {
            Some(given) => Some(given).filter(|p| !p.as_os_str().is_empty()),
            None => set("XDG_CACHE_HOME")
                .or_else(|| set("HOME").map(|home| home.join(".cache")))
                .map(|cache| cache.join("ssan")),
        };
        Cache { folder }
    }

    /// A cache in `folder`, made when the first entry is stored.
    pub fn at(folder: impl AsRef<Path>) -> Cache {
        Cache {
            folder: Some(folder.as_ref().to_path_buf()),
        }
    }

    /// The file of an entry, where there is a cache.
    pub fn path(&self, key: &str) -> Option<PathBuf> {
        let folder = self.folder.as_ref()?;
        Some(folder.join(format!("{key}.cubin")))
    }

    /// The entry `key`, unless it is missing or not as it was stored.
    pub fn get(&self, key: &str) -> Option<Compiled> {
        let bytes = std::fs::read(self.path(key)?).ok()?;
        let rest = bytes.strip_prefix(MAGIC)?;
        let (hash, content) = rest.split_at_checked(32)?;
        if hash != Sha256::digest(content).as_slice() {
            return None;
        }
        let (length, content) = content.split_at_checked(8)?;
        let length = u64::from_le_bytes(length.try_into().ok()?);
        let (log, cubin) = content.split_at_checked(usize::try_from(length).ok()?)?;
        Some(Compiled {
            cubin: cubin.to_vec(),
            log: String::from_utf8(log.to_vec()).ok()?,
        })
    }

    /// Stores the entry `key`, over what was there. Without a cache it does nothing.
    ///
    /// # Errors
    /// The folder cannot be made or written.
    pub fn put(&self, key: &str, compiled: &Compiled) -> Result<()> {
        let (Some(folder), Some(path)) = (&self.folder, self.path(key)) else {
            return Ok(());
        };
        std::fs::create_dir_all(folder).map_err(|e| Error::file(folder, e))?;
        let mut content = (compiled.log.len() as u64).to_le_bytes().to_vec();
        content.extend(compiled.log.as_bytes());
        content.extend(&compiled.cubin);
        let hash = Sha256::digest(&content);
        write_atomically(&path, &[MAGIC, hash.as_slice(), &content].concat())
    }

    /// `source` compiled as by [`compile`]: from the cache, or anew and then stored. What cannot be
    /// stored is compiled anew each time; the second value then says so.
    ///
    /// # Errors
    /// As [`compile`].
    pub fn compile(
        &self,
        source: &Source,
        real: &str,
        rung: Rung,
        architecture: &str,
    ) -> Result<(Compiled, Option<String>)> {
        let key = key(source, real, rung, architecture)?;
        if let Some(compiled) = self.get(&key) {
            return Ok((compiled, None));
        }
        self.renew(source, real, rung, architecture)
    }

    /// As [`Cache::compile`], but anew whatever is stored.
    ///
    /// # Errors
    /// As [`compile`].
    pub fn renew(
        &self,
        source: &Source,
        real: &str,
        rung: Rung,
        architecture: &str,
    ) -> Result<(Compiled, Option<String>)> {
        let key = key(source, real, rung, architecture)?;
        let compiled = compile(source, real, rung, architecture)?;
        let note = self.put(&key, &compiled).err().map(|e| {
            format!("compiled kernels cannot be kept, so that every run compiles them: {e}")
        });
        Ok((compiled, note))
    }
}

/// Name of the cache entry of a compilation: a hash of its text, its options and NVRTC's version.
///
/// # Errors
/// NVRTC is absent.
pub fn key(source: &Source, real: &str, rung: Rung, architecture: &str) -> Result<String> {
    let (major, minor) = version()?;
    let mut hash = Sha256::new();
    let mut add = |part: &str| {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    add(&format!("NVRTC {major}.{minor}"));
    options(real, rung, architecture)
        .iter()
        .for_each(|o| add(o));
    add(COMMON);
    add(&program_text(source));
    let hash = hash.finalize();
    let hex = files::hexadecimal(&hash[..16]);
    Ok(format!("{}-{hex}", source.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Compiled {
        Compiled {
            cubin: (0..=255).collect(),
            log: "ptxas info    : Compiling entry function 'a' for 'sm_90'\n\
                  ptxas info    : Function properties for a\n\
                  ptxas         .     8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads\n\
                  ptxas info    : Used 40 registers, used 1 barriers\n\
                  ptxas info    : Compiling entry function 'b' for 'sm_90'\n\
                      0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n\
                  ptxas info    : Used 12 registers\n"
                .to_string(),
        }
    }

    #[test]
    fn an_entry_comes_back_as_it_was_stored() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().join("made/when/needed"));
        assert_eq!(cache.get("k"), None);
        cache.put("k", &entry()).unwrap();
        assert_eq!(cache.get("k"), Some(entry()));
        assert_eq!(cache.get("other"), None);
    }

    #[test]
    fn a_damaged_entry_is_no_entry() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path());
        cache.put("k", &entry()).unwrap();
        let path = cache.path("k").unwrap();
        let good = std::fs::read(&path).unwrap();
        for at in [0, MAGIC.len(), MAGIC.len() + 32, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&path, bad).unwrap();
            assert_eq!(cache.get("k"), None, "byte {at} flipped");
        }
        for length in [0, MAGIC.len(), MAGIC.len() + 20, good.len() - 1] {
            std::fs::write(&path, &good[..length]).unwrap();
            assert_eq!(cache.get("k"), None, "cut to {length} bytes");
        }
        cache.put("k", &entry()).unwrap();
        assert_eq!(cache.get("k"), Some(entry()));
    }

    #[test]
    fn a_cache_that_cannot_be_written_is_an_error_of_put_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a file");
        std::fs::write(&file, "").unwrap();
        let cache = Cache::at(file.join("below"));
        assert!(cache.put("k", &entry()).is_err());
        assert_eq!(cache.get("k"), None);
        assert!(Cache { folder: None }.put("k", &entry()).is_ok());
    }

    #[test]
    fn registers_and_spills_are_read_from_the_log() {
        let usage = entry().usage();
        let rows: Vec<_> = usage
            .iter()
            .map(|u| (u.kernel.as_str(), u.registers, u.spilled))
            .collect();
        assert_eq!(rows, [("a", 40, 16), ("b", 12, 0)]);
    }

    #[test]
    fn the_first_error_comes_first() {
        let log = "x.cu(1): warning: w\nx.cu(2): error: e\n  code\n";
        assert_eq!(first_errors(log), "x.cu(2): error: e\n  code");
    }
}
