//! NVRTC's functions. What they give for machine code is the source with its macros, compiled for
//! the host already.
#![allow(non_snake_case, reason = "names are NVRTC's")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use cudarc::nvrtc::sys::nvrtcProgram;
use cudarc::nvrtc::sys::nvrtcResult::{self, *};
use serde::{Deserialize, Serialize};
use ssan::device::kernels::Source;

use crate::build::Mode;
use crate::driver::driver;
use crate::library::Kernels;

/// The architectures that code is made for.
const ARCHITECTURES: [c_int; 4] = [80, 86, 90, 100];

/// First bytes of an image; the length of the rest follows.
const MAGIC: &[u8; 8] = b"STAND-IN";

/// What stands in for machine code.
#[derive(Serialize, Deserialize)]
pub struct Image {
    name: String,
    common: String,
    text: String,
    macros: Vec<String>,
}

impl Image {
    fn bytes(&self) -> Vec<u8> {
        let content = serde_json::to_vec(self).expect("strings");
        let length = (content.len() as u64).to_ne_bytes();
        [MAGIC.as_slice(), &length, &content].concat()
    }

    /// # Safety
    /// `image` points to 16 bytes and, where they are the first of an image, to all of it.
    pub unsafe fn read(image: *const c_void) -> Option<Image> {
        let at = image.cast::<u8>();
        // SAFETY: as the caller promises.
        let rest = unsafe {
            let head = std::slice::from_raw_parts(at, 16);
            let length = head.strip_prefix(MAGIC)?.try_into().ok()?;
            std::slice::from_raw_parts(at.add(16), u64::from_ne_bytes(length) as usize)
        };
        serde_json::from_slice(rest).ok()
    }

    /// Its kernels, compiled below `folder` unless they are there.
    pub fn build(&self, folder: &Path) -> Kernels {
        // A process loads a few of them, once each.
        let leak = |text: &str| -> &'static str { Box::leak(text.to_string().into_boxed_str()) };
        let source = Source {
            name: leak(&self.name),
            text: leak(&self.text),
        };
        Kernels::build(folder, &self.common, &[source], &self.macros, Mode::Plain)
    }
}

/// A program, compiled or not.
struct Program {
    image: Image,
    log: String,
    compiled: bool,
}

/// # Safety
/// It was made by `nvrtcCreateProgram` and is used by one thread.
unsafe fn this<'a>(program: nvrtcProgram) -> &'a mut Program {
    // SAFETY: as the caller promises.
    unsafe { &mut *program.cast::<Program>() }
}

/// # Safety
/// `text` ends with 0.
unsafe fn string(text: *const c_char) -> String {
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}

// SAFETY (of every function below): the names are those of the library that this one stands in for,
// and of nothing else in the process. Callers keep NVRTC's rules: programs are alive, places for
// results are valid, strings end with 0.

#[unsafe(no_mangle)]
unsafe extern "C" fn nvrtcVersion(major: *mut c_int, minor: *mut c_int) -> nvrtcResult {
    // SAFETY: as above.
    unsafe { (*major, *minor) = (13, 0) };
    NVRTC_SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvrtcGetNumSupportedArchs(count: *mut c_int) -> nvrtcResult {
    // SAFETY: as above.
    unsafe { *count = ARCHITECTURES.len() as c_int };
    NVRTC_SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvrtcGetSupportedArchs(list: *mut c_int) -> nvrtcResult {
    // SAFETY: as above.
    unsafe { std::ptr::copy_nonoverlapping(ARCHITECTURES.as_ptr(), list, ARCHITECTURES.len()) };
    NVRTC_SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvrtcGetErrorString(_result: nvrtcResult) -> *const c_char {
    c"an error of the stand-in".as_ptr()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvrtcCreateProgram(
    to: *mut nvrtcProgram,
    text: *const c_char,
    name: *const c_char,
    headers: c_int,
    texts: *const *const c_char,
    names: *const *const c_char,
) -> nvrtcResult {
    if headers != 1 {
        return NVRTC_ERROR_INVALID_INPUT;
    }
    // SAFETY: as above; there is one header.
    let (text, name, common, header) =
        unsafe { (string(text), string(name), string(*texts), string(*names)) };
    let name = name.trim_end_matches(".cu").to_string();
    // Building for the host puts both of these lines before the text by itself.
    let start = format!("#include \"{header}\"\n#line 1 \"{name}.cu\"\n");
    let Some(text) = text.strip_prefix(&start).map(String::from) else {
        return NVRTC_ERROR_INVALID_INPUT;
    };
    let program = Program {
        image: Image {
            name,
            common,
            text,
            macros: Vec::new(),
        },
        log: String::new(),
        compiled: false,
    };
    // SAFETY: as above.
    unsafe { *to = Box::into_raw(Box::new(program)).cast() };
    NVRTC_SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvrtcCompileProgram(
    program: nvrtcProgram,
    count: c_int,
    options: *const *const c_char,
) -> nvrtcResult {
    // SAFETY: as above; there are `count` options.
    let (program, options) = unsafe {
        let options = std::slice::from_raw_parts(options, count as usize);
        let options: Vec<String> = options.iter().map(|&o| string(o)).collect();
        (this(program), options)
    };
    let macros = options.into_iter().filter(|o| o.starts_with("-D"));
    program.image.macros = macros.collect();
    let folder = driver().settings.folder.clone();
    let built = catch_unwind(AssertUnwindSafe(|| drop(program.image.build(&folder))));
    match built {
        Ok(()) => {
            program.compiled = true;
            NVRTC_SUCCESS
        }
        Err(panic) => {
            let text = panic.downcast_ref::<String>();
            program.log = text.map_or("error: unknown".to_string(), |t| format!("error: {t}"));
            NVRTC_ERROR_COMPILATION
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvrtcGetProgramLogSize(
    program: nvrtcProgram,
    size: *mut usize,
) -> nvrtcResult {
    // SAFETY: as above.
    unsafe { *size = this(program).log.len() + 1 };
    NVRTC_SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvrtcGetProgramLog(program: nvrtcProgram, log: *mut c_char) -> nvrtcResult {
    // SAFETY: as above; the place has the size that was just announced.
    unsafe {
        let text = &this(program).log;
        std::ptr::copy_nonoverlapping(text.as_ptr().cast(), log, text.len());
        *log.add(text.len()) = 0;
    }
    NVRTC_SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvrtcGetCUBINSize(program: nvrtcProgram, size: *mut usize) -> nvrtcResult {
    // SAFETY: as above.
    let program = unsafe { this(program) };
    if !program.compiled {
        return NVRTC_ERROR_INVALID_PROGRAM;
    }
    // SAFETY: as above.
    unsafe { *size = program.image.bytes().len() };
    NVRTC_SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvrtcGetCUBIN(program: nvrtcProgram, to: *mut c_char) -> nvrtcResult {
    // SAFETY: as above; the place has the size that was just announced.
    unsafe {
        let image = this(program).image.bytes();
        std::ptr::copy_nonoverlapping(image.as_ptr().cast(), to, image.len());
    }
    NVRTC_SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvrtcDestroyProgram(program: *mut nvrtcProgram) -> nvrtcResult {
    // SAFETY: as above; made by `nvrtcCreateProgram`, destroyed once.
    unsafe {
        drop(Box::from_raw((*program).cast::<Program>()));
        *program = std::ptr::null_mut();
    }
    NVRTC_SUCCESS
}
