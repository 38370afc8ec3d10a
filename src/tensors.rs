//! Safetensors files whose metadata say in JSON what the tensors mean.

use std::borrow::Cow;
use std::collections::HashMap;

use safetensors::{Dtype, SafeTensorError, SafeTensors, View};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::data::legible;
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

impl Values<'_> {
    fn len(&self) -> usize {
        match self {
            Values::F32(all) => all.len(),
            Values::Rounded(all) => all.len(),
            Values::I32(all) => all.len(),
        }
    }
}

/// A tensor to be written.
pub(crate) struct Block<'a> {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Values<'a>,
}

impl Block<'_> {
    /// A tensor of one dimension.
    pub(crate) fn vector(name: String, values: Values<'_>) -> Block<'_> {
        Block {
            name,
            shape: vec![values.len()],
            values,
        }
    }
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
        4 * self.values.len()
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

/// Why a file's description cannot be used.
#[derive(Debug)]
pub(crate) enum Unusable {
    Damaged(String),
    /// Written by a program of another version.
    Format(u32),
}

impl From<String> for Unusable {
    fn from(cause: String) -> Unusable {
        Unusable::Damaged(cause)
    }
}

/// The version alone, to be read first.
#[derive(Deserialize)]
struct Version {
    format: u32,
}

/// The description under `key`, if there is one, of version `format`; `what` has such descriptions.
pub(crate) fn description<D: DeserializeOwned>(
    bytes: &[u8],
    key: &str,
    what: &str,
    format: u32,
) -> Result<Option<D>, Unusable> {
    let Some(text) = text(bytes, key)? else {
        return Ok(None);
    };
    let wrong = |e: serde_json::Error| {
        let cause = legible(&e.to_string());
        format!("its description is no {what}'s: {cause}")
    };
    let version: Version = serde_json::from_str(&text).map_err(wrong)?;
    match version.format == format {
        true => Ok(Some(serde_json::from_str(&text).map_err(wrong)?)),
        false => Err(Unusable::Format(version.format)),
    }
}

/// Whether there is a description under `key`.
pub(crate) fn is_described(bytes: &[u8], key: &str) -> bool {
    text(bytes, key).is_ok_and(|text| text.is_some())
}

fn text(bytes: &[u8], key: &str) -> Cause<Option<String>> {
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| e.to_string())?;
    let metadata = header.metadata().as_ref();
    Ok(metadata.and_then(|all| all.get(key)).cloned())
}
