//! Parameters as safetensors: `source.0.weight`, `source.0.bias`, `source.1.weight`, …,
//! `target.…`, `classifier.weight`, `classifier.bias`, `discriminator.weight`,
//! `discriminator.bias`. A weight is `out × in`, a bias has `out` entries.

use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use serde::Serialize;

use crate::data::legible;
use crate::error::{Cause, Error, Result};
use crate::files;
use crate::model::{Dimensions, ParameterShape, Parameters};

/// Reads the parameters of a model of these `dimensions`, in `F32` or `F64`: out of a file of
/// parameters alone or of a trained model, of whose networks it is the first.
///
/// # Errors
/// The file cannot be read, lacks a parameter, or holds one of another shape or type, or a value
/// that is not finite.
pub fn load(path: &Path, dimensions: &Dimensions) -> Result<Parameters> {
    let bytes = files::read(path)?;
    let read = || parameters(&open(&bytes)?, "", dimensions);
    read().map_err(|cause| Error::file(path, cause))
}

/// The tensors in the bytes of a file.
pub(crate) fn open(bytes: &[u8]) -> Cause<SafeTensors<'_>> {
    SafeTensors::deserialize(bytes)
        .map_err(|e| format!("not a safetensors file ({})", legible(&e.to_string())))
}

/// A tensor as a file lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Its sizes.
    pub shape: Vec<usize>,
    /// The type of its entries.
    #[serde(rename = "type")]
    pub kind: String,
}

/// What is in the bytes of a safetensors file, by name.
pub(crate) fn tensors(bytes: &[u8]) -> Cause<Vec<Tensor>> {
    let list = open(bytes)?.tensors().into_iter();
    let mut list: Vec<Tensor> = list
        .map(|(name, view)| Tensor {
            name,
            shape: view.shape().to_vec(),
            kind: format!("{:?}", view.dtype()),
        })
        .collect();
    list.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(list)
}

/// All parameters, under their names with `prefix` before them.
pub(crate) fn parameters(
    file: &SafeTensors,
    prefix: &str,
    dimensions: &Dimensions,
) -> Cause<Parameters> {
    let shapes = dimensions.parameters();
    let read = |shape: &ParameterShape| {
        tensor(file, &format!("{prefix}{}", shape.name), &file_shape(shape))
    };
    shapes.iter().map(read).collect()
}

/// Shape of a parameter as the file has it: a bias is a vector.
pub(crate) fn file_shape(shape: &ParameterShape) -> Vec<usize> {
    if shape.name.ends_with(".bias") {
        vec![shape.cols]
    } else {
        vec![shape.rows, shape.cols]
    }
}

/// The values of one tensor, if it has this shape.
pub(crate) fn tensor(file: &SafeTensors, name: &str, shape: &[usize]) -> Cause<Vec<f64>> {
    let tensor = file.tensor(name).map_err(|_| {
        let mut names = file.names();
        names.sort_unstable();
        let shown: Vec<String> = names.iter().take(30).map(|n| legible(n)).collect();
        format!("no parameter {name}; it holds {}", shown.join(", "))
    })?;
    if tensor.shape() != shape {
        return Err(format!(
            "{name} has shape {:?}, the model needs {shape:?}",
            tensor.shape()
        ));
    }
    let data = tensor.data();
    let values: Vec<f64> = match tensor.dtype() {
        Dtype::F32 => data
            .chunks_exact(4)
            .map(|b| f64::from(f32::from_le_bytes(b.try_into().expect("4 bytes"))))
            .collect(),
        Dtype::F64 => data
            .chunks_exact(8)
            .map(|b| f64::from_le_bytes(b.try_into().expect("8 bytes")))
            .collect(),
        other => return Err(format!("{name} is {other:?}; convert it to F32 or F64")),
    };
    match values.iter().all(|x| x.is_finite()) {
        true => Ok(values),
        false => Err(format!("{name} has a value that is not finite")),
    }
}
