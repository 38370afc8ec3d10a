//! The number type a step computes in.

use std::borrow::Cow;
use std::fmt::{Debug, Display};
use std::iter::Sum;
use std::ops::{AddAssign, MulAssign, SubAssign};

/// `f32` (training) or `f64` (gradient checks, reference traces).
pub trait Real:
    num_traits::Float
    + AddAssign
    + SubAssign
    + MulAssign
    + Sum
    + bytemuck::Pod
    + Send
    + Sync
    + Debug
    + Display
    + 'static
{
    /// Name of the type in C, as kernels and messages use it.
    const C_NAME: &'static str;
    /// Nearest value to `x`.
    fn of(x: f64) -> Self;
    /// The value, widened.
    fn wide(self) -> f64;
    /// Nearest values to `values`.
    fn of_all(values: &[f64]) -> Cow<'_, [Self]>;
}

impl Real for f32 {
    const C_NAME: &'static str = "float";
    fn of(x: f64) -> f32 {
        x as f32
    }
    fn wide(self) -> f64 {
        f64::from(self)
    }
    fn of_all(values: &[f64]) -> Cow<'_, [f32]> {
        Cow::Owned(values.iter().map(|&x| x as f32).collect())
    }
}

impl Real for f64 {
    const C_NAME: &'static str = "double";
    fn of(x: f64) -> f64 {
        x
    }
    fn wide(self) -> f64 {
        self
    }
    fn of_all(values: &[f64]) -> Cow<'_, [f64]> {
        Cow::Borrowed(values)
    }
}
