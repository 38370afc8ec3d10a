//! Where a recorded step is replayed.

pub mod cpu;

pub use cpu::Cpu;
