//! Where a recorded step is replayed: [`cpu`], and devices that launch the kernels
//! of [`kernels`] as [`launch`] lists them: [`cuda`], with the kernels compiled by [`nvrtc`], matrix
//! products computed as [`rung`] says and two streams by [`plan`]. [`find`] says which devices there are.

mod choose;
pub mod cpu;
pub mod cuda;
pub mod find;
pub mod kernels;
pub mod launch;
pub mod nvrtc;
pub mod plan;
pub mod profile;
pub mod rung;

pub use choose::{Choice, Chosen, Request, choose};
pub use cpu::{Buffers, Cpu};
pub use cuda::{Cuda, CudaOptions};
pub use find::{Found, available, describe};
pub use rung::Precision;

use crate::error::Result;
use crate::graph::{Graph, Labels, Var};
use crate::real::Real;

/// What replays a recorded step. It holds all buffers; only what is read comes back to the host.
pub trait Device<T: Real> {
    /// The recording.
    fn graph(&self) -> &Graph<T>;

    /// Replays the whole step, forward, backward and update, `epochs` times.
    ///
    /// # Errors
    /// The device fails.
    fn steps(&mut self, epochs: usize) -> Result<()>;

    /// Replays the forward list alone.
    ///
    /// # Errors
    /// The device fails.
    fn forward(&mut self) -> Result<()>;

    /// Replays the backward list alone, after a forward pass.
    ///
    /// # Errors
    /// The device fails.
    fn backward(&mut self) -> Result<()>;

    /// Values of `var`, all partitions, row-major.
    ///
    /// # Errors
    /// The device fails.
    fn read(&self, var: Var) -> Result<Vec<T>>;

    /// Gradient of `var`; empty where the loss does not depend on it.
    ///
    /// # Errors
    /// The device fails.
    fn read_grad(&self, var: Var) -> Result<Vec<T>>;

    /// Labels, all partitions.
    ///
    /// # Errors
    /// The device fails.
    fn read_labels(&self, labels: Labels) -> Result<Vec<i32>>;

    /// Replaces values of `var`, of all partitions, between replays.
    ///
    /// # Errors
    /// The device fails.
    fn write(&mut self, var: Var, values: &[T]) -> Result<()>;

    /// Replaces labels, of all partitions, between replays.
    ///
    /// # Errors
    /// The device fails.
    fn write_labels(&mut self, labels: Labels, values: &[i32]) -> Result<()>;
}
