//! Data in: domains from files, one class list for both, which rows are labelled.

mod matrix;
mod split;
mod task;

pub use matrix::Matrix;
pub use split::Split;
pub use task::{Domain, Label, Task};
