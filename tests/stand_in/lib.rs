//! A stand-in for NVIDIA's driver and NVRTC, for machines without a card.
//!
//! One shared library under the names of both. What the CUDA device of `ssan` calls through
//! `cudarc` is here: contexts, memory, streams, events, captures, graphs, modules, launches. A
//! program that finds it on `LD_LIBRARY_PATH` believes that it has a card. NVRTC's part compiles
//! kernels for the host, as `tests/kernels/` does, and the driver's part launches those.
//!
//! It is stricter than a driver, which may forgive what it should not:
//!
//! - Nothing runs before something waits for it. Then work of the two streams runs in an order that
//!   CUDA would allow and that is the least convenient (see [`settings::Order`]): a wait that is
//!   missing shows as a wrong result. So do nodes of a graph.
//! - Memory is full of NaN until it is written, also after it was freed.
//! - Handles are never used twice, and one that was destroyed is refused; so are memory and streams
//!   of another context, a copy beyond an allocation, a pointer of a launch that is none, a call
//!   without a current context, memory freed that waiting work names.
//! - A capture is as CUDA documents it: streams join by events and must be joined again; while it
//!   lasts its thread may not allocate, load, wait or copy to or from the host, and a kernel that
//!   was never launched cannot be (drivers load kernels at their first launch).
//!
//! When a process ends, what was left over and what was done wrong is written to a file.
//!
//! | module | |
//! |---|---|
//! | [`settings`] | environment variables |
//! | [`driver`] | what there is, and in which order work runs |
//! | [`calls`] | the driver's functions |
//! | [`nvrtc`] | NVRTC's functions |
//!
//! It says nothing about the hardware: speed, rounding, or what a real driver does differently from
//! its documentation.

#[path = "../kernels/build.rs"]
#[allow(dead_code, reason = "accesses are checked by other tests")]
mod build;
mod calls;
mod driver;
#[path = "../kernels/library.rs"]
#[allow(dead_code, reason = "arguments come as addresses")]
mod library;
mod nvrtc;
mod settings;
