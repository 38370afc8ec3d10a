//! The driver's functions, with the types that `cudarc` calls them by.
#![allow(non_snake_case, reason = "names are the driver's")]

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_uint, c_ulonglong, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use cudarc::driver::sys::CUresult::{self, *};
use cudarc::driver::sys::{
    CUcontext, CUdevice, CUdevice_attribute, CUdeviceptr, CUevent, CUevent_flags, CUfunction,
    CUgraph, CUgraphExec, CUmodule, CUstream, CUstreamCaptureMode,
};

use crate::driver::{Answer, Driver, Work, driver};
use crate::nvrtc::Image;

thread_local! {
    /// The thread's current context: its number and one.
    static CURRENT: Cell<usize> = const { Cell::new(0) };
}

static STARTED: AtomicBool = AtomicBool::new(false);

unsafe extern "C" {
    fn atexit(f: extern "C" fn()) -> c_int;
}

/// Answers a call; what panics is the driver's error.
fn answer(call: impl FnOnce(&mut Driver) -> Answer) -> CUresult {
    let called = catch_unwind(AssertUnwindSafe(|| {
        if !STARTED.load(Ordering::Acquire) {
            return Err(CUDA_ERROR_NOT_INITIALIZED);
        }
        call(&mut driver())
    }));
    match called {
        Ok(Ok(())) => CUDA_SUCCESS,
        Ok(Err(e)) => e,
        Err(_) => CUDA_ERROR_UNKNOWN,
    }
}

/// The same, of a call that needs a current context in which no kernel has failed.
fn answer_in(call: impl FnOnce(&mut Driver, usize) -> Answer) -> CUresult {
    answer(|driver| {
        let context = CURRENT.get().checked_sub(1);
        let context = context.ok_or(CUDA_ERROR_INVALID_CONTEXT)?;
        driver.healthy(context)?;
        call(driver, context)
    })
}

/// The same, of a call that puts work on a stream.
fn enqueue(stream: CUstream, work: Work) -> CUresult {
    answer_in(|driver, context| driver.enqueue(context, stream as usize, work))
}

/// Writes a result to where the caller wants it.
fn put<T>(to: *mut T, value: T) -> Answer {
    if to.is_null() {
        return Err(CUDA_ERROR_INVALID_VALUE);
    }
    // SAFETY: whoever calls the driver gives it a place for the result.
    unsafe { to.write(value) };
    Ok(())
}

fn device(driver: &Driver, device: CUdevice) -> Answer<usize> {
    match (0..driver.settings.devices).contains(&device) {
        true => Ok(device as usize),
        false => Err(CUDA_ERROR_INVALID_DEVICE),
    }
}

extern "C" fn at_exit() {
    let driver = driver();
    if let Some(log) = &driver.settings.log {
        let file = log.join(format!("{}.json", std::process::id()));
        let _ = std::fs::write(file, driver.report().to_string());
    }
}

// SAFETY (of every function below): the names are those of the library that this one stands in for,
// and of nothing else in the process.

#[unsafe(no_mangle)]
extern "C" fn cuInit(_flags: c_uint) -> CUresult {
    if !STARTED.swap(true, Ordering::AcqRel) {
        // SAFETY: the function takes nothing and lives as long as the process, which never unloads
        // a driver that it has started.
        unsafe { atexit(at_exit) };
    }
    match driver().settings.devices {
        0 => CUDA_ERROR_NO_DEVICE,
        _ => CUDA_SUCCESS,
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuDriverGetVersion(version: *mut c_int) -> CUresult {
    put(version, 13_000).err().unwrap_or(CUDA_SUCCESS)
}

#[unsafe(no_mangle)]
extern "C" fn cuGetErrorName(error: CUresult, text: *mut *const c_char) -> CUresult {
    cuGetErrorString(error, text)
}

#[unsafe(no_mangle)]
extern "C" fn cuGetErrorString(error: CUresult, text: *mut *const c_char) -> CUresult {
    let known = match error {
        CUDA_ERROR_ILLEGAL_ADDRESS => c"an illegal memory access was encountered",
        CUDA_ERROR_OUT_OF_MEMORY => c"out of memory",
        _ => c"an error of the stand-in",
    };
    put(text, known.as_ptr()).err().unwrap_or(CUDA_SUCCESS)
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetCount(count: *mut c_int) -> CUresult {
    answer(|driver| put(count, driver.settings.devices))
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGet(to: *mut CUdevice, ordinal: c_int) -> CUresult {
    answer(|driver| {
        device(driver, ordinal)?;
        put(to, ordinal)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetName(name: *mut c_char, length: c_int, of: CUdevice) -> CUresult {
    answer(|driver| {
        device(driver, of)?;
        let text = c"stand-in".to_bytes_with_nul();
        let n = text.len().min(usize::try_from(length).unwrap_or(0));
        // SAFETY: the caller gives a place for `length` characters.
        unsafe { std::ptr::copy_nonoverlapping(text.as_ptr().cast(), name, n) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceTotalMem_v2(bytes: *mut usize, of: CUdevice) -> CUresult {
    answer(|driver| {
        device(driver, of)?;
        put(bytes, driver.settings.memory)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetAttribute(
    to: *mut c_int,
    which: CUdevice_attribute,
    of: CUdevice,
) -> CUresult {
    use CUdevice_attribute::*;
    answer(|driver| {
        device(driver, of)?;
        let (major, minor) = driver.settings.capability;
        let value = match which {
            CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR => major,
            CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR => minor,
            CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED => 1,
            CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT => 132,
            CU_DEVICE_ATTRIBUTE_CLOCK_RATE => 1_980_000,
            _ => return Err(CUDA_ERROR_NOT_SUPPORTED),
        };
        put(to, value)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxRetain(to: *mut CUcontext, of: CUdevice) -> CUresult {
    answer(|driver| {
        let number = device(driver, of)?;
        driver.contexts[number].retained += 1;
        put(to, (number + 1) as CUcontext)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxRelease_v2(of: CUdevice) -> CUresult {
    answer(|driver| {
        let number = device(driver, of)?;
        let left = driver.contexts[number].retained.checked_sub(1);
        driver.contexts[number].retained = left.ok_or(CUDA_ERROR_INVALID_CONTEXT)?;
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxGetCurrent(to: *mut CUcontext) -> CUresult {
    answer(|_| put(to, CURRENT.get() as CUcontext))
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSetCurrent(context: CUcontext) -> CUresult {
    answer(|driver| {
        if let Some(number) = (context as usize).checked_sub(1) {
            let known = driver.contexts.get(number);
            known
                .filter(|c| c.retained > 0)
                .ok_or(CUDA_ERROR_INVALID_CONTEXT)?;
        }
        CURRENT.set(context as usize);
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> CUresult {
    answer_in(|driver, context| {
        put(free, driver.settings.memory - driver.contexts[context].used)?;
        put(total, driver.settings.memory)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemAlloc_v2(to: *mut CUdeviceptr, bytes: usize) -> CUresult {
    answer_in(|driver, context| put(to, driver.allocate(context, bytes)?))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFree_v2(at: CUdeviceptr) -> CUresult {
    answer_in(|driver, context| driver.free(context, at))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyHtoDAsync_v2(
    to: CUdeviceptr,
    from: *const c_void,
    bytes: usize,
    stream: CUstream,
) -> CUresult {
    let from = from as usize;
    enqueue(stream, Work::ToCard { to, from, bytes })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyDtoHAsync_v2(
    to: *mut c_void,
    from: CUdeviceptr,
    bytes: usize,
    stream: CUstream,
) -> CUresult {
    let to = to as usize;
    enqueue(stream, Work::ToHost { to, from, bytes })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyDtoDAsync_v2(
    to: CUdeviceptr,
    from: CUdeviceptr,
    bytes: usize,
    stream: CUstream,
) -> CUresult {
    enqueue(stream, Work::Within { to, from, bytes })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD8Async(
    to: CUdeviceptr,
    value: u8,
    bytes: usize,
    stream: CUstream,
) -> CUresult {
    enqueue(stream, Work::Set { to, value, bytes })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamCreate(to: *mut CUstream, _flags: c_uint) -> CUresult {
    answer_in(|driver, context| put(to, driver.new_stream(context) as CUstream))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamDestroy_v2(stream: CUstream) -> CUresult {
    answer(|driver| driver.destroy_stream(stream as usize))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamSynchronize(stream: CUstream) -> CUresult {
    answer_in(|driver, context| driver.synchronize(context, stream as usize))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamWaitEvent(stream: CUstream, event: CUevent, _flags: c_uint) -> CUresult {
    answer_in(|driver, context| driver.wait(context, stream as usize, event as usize))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamBeginCapture_v2(stream: CUstream, mode: CUstreamCaptureMode) -> CUresult {
    answer_in(|driver, context| driver.begin_capture(context, stream as usize, mode))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamEndCapture(stream: CUstream, to: *mut CUgraph) -> CUresult {
    answer_in(|driver, context| {
        put(to, std::ptr::null_mut())?;
        put(to, driver.end_capture(context, stream as usize)? as CUgraph)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuEventCreate(to: *mut CUevent, flags: c_uint) -> CUresult {
    let timed = flags & CUevent_flags::CU_EVENT_DISABLE_TIMING as c_uint == 0;
    answer_in(|driver, context| put(to, driver.new_event(context, timed) as CUevent))
}

#[unsafe(no_mangle)]
extern "C" fn cuEventDestroy_v2(event: CUevent) -> CUresult {
    answer(|driver| driver.destroy_event(event as usize))
}

#[unsafe(no_mangle)]
extern "C" fn cuEventRecord(event: CUevent, stream: CUstream) -> CUresult {
    answer_in(|driver, context| driver.record(context, event as usize, stream as usize))
}

#[unsafe(no_mangle)]
extern "C" fn cuEventSynchronize(event: CUevent) -> CUresult {
    answer_in(|driver, context| driver.await_event(context, event as usize))
}

#[unsafe(no_mangle)]
extern "C" fn cuEventElapsedTime_v2(to: *mut f32, start: CUevent, end: CUevent) -> CUresult {
    answer_in(|driver, _| put(to, driver.elapsed(start as usize, end as usize)?))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphInstantiateWithFlags(
    to: *mut CUgraphExec,
    graph: CUgraph,
    _flags: c_ulonglong,
) -> CUresult {
    answer_in(|driver, _| put(to, driver.instantiate(graph as usize)? as CUgraphExec))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphUpload(graph: CUgraphExec, stream: CUstream) -> CUresult {
    answer_in(|driver, context| driver.launchable(context, graph as usize, stream as usize))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphLaunch(graph: CUgraphExec, stream: CUstream) -> CUresult {
    answer_in(|driver, context| driver.launch_graph(context, graph as usize, stream as usize))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphExecDestroy(graph: CUgraphExec) -> CUresult {
    answer(|driver| driver.destroy_executable(graph as usize))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphDestroy(graph: CUgraph) -> CUresult {
    answer(|driver| driver.destroy_graph(graph as usize))
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleLoadData(to: *mut CUmodule, image: *const c_void) -> CUresult {
    answer_in(|driver, context| {
        driver.outside_of_captures("loading kernels")?;
        // SAFETY: the caller gives an image, whose length stands in it.
        let image = unsafe { Image::read(image) }.ok_or(CUDA_ERROR_INVALID_IMAGE)?;
        let kernels = image.build(&driver.settings.folder);
        put(to, driver.add_module(context, kernels) as CUmodule)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleUnload(module: CUmodule) -> CUresult {
    answer(|driver| driver.unload(module as usize))
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleGetFunction(
    to: *mut CUfunction,
    module: CUmodule,
    name: *const c_char,
) -> CUresult {
    answer_in(|driver, _| {
        // SAFETY: the caller gives a string that ends with 0.
        let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
        put(to, driver.function(module as usize, &name)? as CUfunction)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuLaunchKernel(
    function: CUfunction,
    grid_x: c_uint,
    grid_y: c_uint,
    grid_z: c_uint,
    block_x: c_uint,
    block_y: c_uint,
    block_z: c_uint,
    _shared_bytes: c_uint,
    stream: CUstream,
    parameters: *mut *mut c_void,
    _extra: *mut *mut c_void,
) -> CUresult {
    answer_in(|driver, context| {
        let (function, sizes) = driver.arguments(function as usize)?;
        let mut words = Vec::with_capacity(sizes.len());
        for (n, size) in sizes.into_iter().enumerate() {
            let mut bytes = [0; 8];
            // SAFETY: the caller gives a pointer to a value for each parameter of the kernel.
            unsafe {
                let at = *parameters.add(n);
                std::ptr::copy_nonoverlapping(at.cast(), bytes.as_mut_ptr(), size);
            }
            words.push(u64::from_ne_bytes(bytes));
        }
        let work = Work::Kernel {
            function,
            grid: [grid_x, grid_y, grid_z],
            block: [block_x, block_y, block_z],
            words,
        };
        driver.enqueue(context, stream as usize, work)
    })
}
