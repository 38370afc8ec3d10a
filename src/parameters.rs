//! Parameters of one partition as a safetensors file: `source.0.weight`, `source.0.bias`,
//! `source.1.weight`, …, `target.…`, `classifier.weight`, `classifier.bias`,
//! `discriminator.weight`, `discriminator.bias`. A weight is `out × in`, a bias has `out` entries.

use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::data::legible;
use crate::error::{Error, Result};
use crate::files;
use crate::model::{Dimensions, ParameterShape, Parameters};

/// Shape as the file has it: a bias is a vector.
fn file_shape(shape: &ParameterShape) -> Vec<usize> {
    if shape.name.ends_with(".bias") {
        vec![shape.cols]
    } else {
        vec![shape.rows, shape.cols]
    }
}

/// Writes `parameters` as `F32`, through a temporary file beside `path`, so that an interrupted
/// write leaves what was there.
///
/// # Errors
/// The file cannot be written.
pub fn save(path: &Path, dimensions: &Dimensions, parameters: &Parameters) -> Result<()> {
    let shapes = dimensions.parameters();
    let bytes: Vec<Vec<u8>> = parameters
        .iter()
        .map(|values| {
            values
                .iter()
                .flat_map(|&x| (x as f32).to_le_bytes())
                .collect()
        })
        .collect();
    let mut tensors = Vec::new();
    for (shape, bytes) in shapes.iter().zip(&bytes) {
        let view = TensorView::new(Dtype::F32, file_shape(shape), bytes)
            .map_err(|e| Error::file(path, e))?;
        tensors.push((shape.name.as_str(), view));
    }
    let file = safetensors::serialize(tensors, None).map_err(|e| Error::file(path, e))?;
    files::write_atomically(path, &file)
}

/// Reads the parameters of a model of these `dimensions`, in `F32` or `F64`.
///
/// # Errors
/// The file cannot be read, lacks a parameter, or holds one of another shape or type, or a value
/// that is not finite.
pub fn load(path: &Path, dimensions: &Dimensions) -> Result<Parameters> {
    let bytes = files::read(path)?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| {
        Error::file(
            path,
            format!("not a safetensors file ({})", legible(&e.to_string())),
        )
    })?;
    let read = |shape: &ParameterShape| {
        let tensor = file.tensor(&shape.name).map_err(|_| {
            let mut names = file.names();
            names.sort_unstable();
            Error::file(
                path,
                format!(
                    "no parameter {}; it holds {}",
                    shape.name,
                    names
                        .iter()
                        .take(30)
                        .map(|n| legible(n))
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
            )
        })?;
        if tensor.shape() != file_shape(shape) {
            return Err(Error::file(
                path,
                format!(
                    "{} has shape {:?}, the model for these data and options needs {:?}",
                    shape.name,
                    tensor.shape(),
                    file_shape(shape)
                ),
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
            other => {
                return Err(Error::file(
                    path,
                    format!("{} is {other:?}; convert it to F32 or F64", shape.name),
                ));
            }
        };
        if values.iter().any(|x| !x.is_finite()) {
            let name = &shape.name;
            return Err(Error::file(
                path,
                format!("{name} has a value that is not finite"),
            ));
        }
        Ok(values)
    };
    dimensions.parameters().iter().map(read).collect()
}
