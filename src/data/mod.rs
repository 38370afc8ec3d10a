//! Data in: domains from files, one class list for both, which rows are labelled.
//!
//! | file | what it does |
//! |---|---|
//! | `find` | a name or path to a file |
//! | `domain` | a file to a [`Domain`]: format by extension, parts joined, rows scaled |
//! | `features`, `matrix`, `sparse` | its rows, dense or sparse |
//! | `keys` | what the user may say about where features and labels are |
//! | `named` | features and labels out of a file of named arrays |
//! | `arrays` | what such a file is: a list of arrays, read on demand |
//! | `mat`, `npy`, `npz`, `csv` | the formats |
//! | `inspect` | what a file holds, and how it is read |
//! | `label` | labels from numbers and text |
//! | `task` | two domains and their classes |
//! | `labelling`, `split`, `split_file` | which rows are labelled |
//! | `digits` | the data set inside the program |

mod arrays;
mod csv;
mod digits;
mod domain;
mod features;
mod find;
mod inspect;
mod keys;
mod label;
mod labelling;
mod mat;
mod matrix;
mod named;
mod npy;
mod npz;
mod sparse;
mod split;
mod split_file;
mod task;

pub(crate) use arrays::legible;
pub use digits::digits;
pub use domain::{Domain, read_domain, read_samples};
pub use features::Features;
pub use find::find;
pub use inspect::{Contents, Field, Reading, Role, inspect};
pub use keys::{Keys, LabelColumn};
pub use label::{Label, class_indices};
pub use labelling::Labelling;
pub use matrix::{Matrix, Normalisation, Normalise};
pub(crate) use npz::read_arrays;
pub use sparse::{Sparse, Triplet};
pub use split::Split;
pub(crate) use split_file::count_splits;
pub use split_file::{read_split, splits_to_json};
pub use task::Task;
