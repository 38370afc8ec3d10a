//! Safetensors files whose metadata say in JSON what the tensors mean.

use std::borrow::Cow;
use std::collections::HashMap;

use safetensors::{Dtype, SafeTensorError, SafeTensors, View};
use serde::Serialize;

use crate::error::Cause;

/// Entries of a tensor; they are converted one tensor at a time, for all together may be large.
pub(crate) enum Values<'a> {
    /// As they are.
    F32(&'a [f32]),
    /// Rounded to `F32`.
    Rounded(&'a [f64]),
    /// As they are.
    I32(&'a [i32]),
}

/// A tensor to be written.
pub(crate) struct Block<'a> {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Values<'a>,
}

impl View for &Block<'_> {
    fn dtype(&self) -> Dtype {
        match self.values {
            Values::F32(_) | Values::Rounded(_) => Dtype::F32,
            Values::I32(_) => Dtype::I32,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Little-endian.
    fn data(&self) -> Cow<'_, [u8]> {
        let converted = |bytes: Vec<u8>| Cow::Owned(bytes);
        match self.values {
            Values::F32(all) if cfg!(target_endian = "little") => {
                Cow::Borrowed(bytemuck::cast_slice(all))
            }
            Values::I32(all) if cfg!(target_endian = "little") => {
                Cow::Borrowed(bytemuck::cast_slice(all))
            }
            Values::F32(all) => converted(all.iter().flat_map(|x| x.to_le_bytes()).collect()),
            Values::I32(all) => converted(all.iter().flat_map(|x| x.to_le_bytes()).collect()),
            Values::Rounded(all) => {
                let rounded = all.iter().map(|&x| x as f32);
                converted(rounded.flat_map(f32::to_le_bytes).collect())
            }
        }
    }

    fn data_len(&self) -> usize {
        let entries = match self.values {
            Values::F32(all) => all.len(),
            Values::I32(all) => all.len(),
            Values::Rounded(all) => all.len(),
        };
        4 * entries
    }
}

/// The file of `blocks`, with `description` under `key`, the only one: the order of several would
/// not be fixed, and the same blocks give the same bytes.
pub(crate) fn to_bytes(
    key: &str,
    description: &impl Serialize,
    blocks: &[Block],
) -> Result<Vec<u8>, SafeTensorError> {
    let description = serde_json::to_string(description).expect("numbers and text");
    let metadata = HashMap::from([(key.to_string(), description)]);
    let blocks = blocks.iter().map(|block| (&block.name, block));
    safetensors::serialize(blocks, Some(metadata))
}

/// The description under `key`, if there is one.
pub(crate) fn description(bytes: &[u8], key: &str) -> Cause<Option<String>> {
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| e.to_string())?;
    let metadata = header.metadata().as_ref();
    Ok(metadata.and_then(|all| all.get(key)).cloned())
}
