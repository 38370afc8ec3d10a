//! NumPy's `.npy`: one array. The crate `npyz` reads header and values.

use half::f16;
use npyz::{DType, NpyFile, NpyHeader, Order, TypeChar};

use super::arrays::{Arrays, Cause, Entry, Values, from_columns, legible};
use crate::memory::affordable;

/// As many bytes as NumPy itself accepts for a header, and what comes before it.
pub(super) const HEAD: usize = 10_000 + 12;

/// An array listed, its values not yet read.
pub(super) struct Npy {
    header: NpyHeader,
    /// Where the values begin.
    start: usize,
}

impl Npy {
    /// Reads the header from the first bytes of a file.
    pub(super) fn open(head: &[u8]) -> Cause<Npy> {
        let start = check_header(head)?;
        let header = NpyHeader::from_reader(head).map_err(|e| {
            // Syntax errors come with a picture over several lines; the first has line and column.
            let text = e.to_string();
            let first = legible(text.lines().next().unwrap_or_default());
            format!("has a damaged .npy header: {first}")
        })?;
        Ok(Npy { header, start })
    }

    pub(super) fn entry(&self, name: &str) -> Entry {
        let kind = match self.header.dtype() {
            DType::Plain(kind) => kind.to_string(),
            _ => "structured".to_string(),
        };
        Entry {
            name: name.to_string(),
            shape: self.header.shape().to_vec(),
            kind,
        }
    }

    /// Bytes of the whole file, header included.
    pub(super) fn size(&self) -> Cause<u64> {
        let each = self.header.dtype().num_bytes();
        let each = each.ok_or("holds Python objects: store plain numbers or text")?;
        if each == 0 {
            // As many as the header likes, without a byte for them.
            return Err("holds values of no bytes: store plain numbers or text".to_string());
        }
        let size = self.header.len().checked_mul(each as u64);
        let size = size.and_then(|size| size.checked_add(self.start as u64));
        size.ok_or_else(|| "claims more data than a file can hold".to_string())
    }

    /// The values, out of all bytes of the file.
    pub(super) fn values(self, bytes: &[u8]) -> Cause<Values> {
        let (expected, count) = (self.size()?, self.header.len());
        if (bytes.len() as u64) < expected {
            return Err(format!(
                "is truncated: {expected} bytes are declared, {} are there",
                bytes.len()
            ));
        }
        affordable(count, 24)?;
        let &[rows, cols] = &self.matrix_shape()?;
        let (order, kind) = (self.header.order(), self.header.dtype());
        let file = NpyFile::with_header(self.header, &bytes[self.start..]);
        let DType::Plain(kind) = kind else {
            return Err("is a structured array: store plain numbers or text".to_string());
        };
        macro_rules! read {
            ($type:ty, $convert:expr) => {
                file.into_vec::<$type>()
                    .map(|values| values.into_iter().map($convert).collect::<Vec<_>>())
                    .map_err(|e| {
                        format!("holds what cannot be read ({e}): save it again, text in UTF-8")
                    })?
            };
        }
        let numbers: Vec<f64> = match (kind.type_char(), kind.size_field()) {
            (TypeChar::Bool, _) => read!(bool, f64::from),
            (TypeChar::Int, 1) => read!(i8, f64::from),
            (TypeChar::Int, 2) => read!(i16, f64::from),
            (TypeChar::Int, 4) => read!(i32, f64::from),
            (TypeChar::Int, 8) => read!(i64, |x| x as f64),
            (TypeChar::Uint, 1) => read!(u8, f64::from),
            (TypeChar::Uint, 2) => read!(u16, f64::from),
            (TypeChar::Uint, 4) => read!(u32, f64::from),
            (TypeChar::Uint, 8) => read!(u64, |x| x as f64),
            (TypeChar::Float, 2) => read!(f16, f64::from),
            (TypeChar::Float, 4) => read!(f32, f64::from),
            (TypeChar::Float, 8) => read!(f64, |x| x),
            (TypeChar::UnicodeStr | TypeChar::ByteStr, _) => {
                let text = read!(String, |s| s.trim_end_matches('\0').to_string());
                return Ok(Values::Text(text));
            }
            _ => {
                return Err(format!(
                    "has type {kind}, which cannot be read: store integers, floats or text"
                ));
            }
        };
        Ok(Values::Numbers(match order {
            Order::Fortran => from_columns(numbers, rows, cols),
            Order::C => numbers,
        }))
    }

    fn matrix_shape(&self) -> Cause<[usize; 2]> {
        match *self.header.shape() {
            [rows, cols] => Ok([rows as usize, cols as usize]),
            [rows] => Ok([rows as usize, 1]),
            [] => Ok([1, 1]),
            _ => Err("needs two dimensions at most".to_string()),
        }
    }
}

/// A single array as a file of arrays, for what reads those.
pub(super) struct Single<'a> {
    bytes: &'a [u8],
    entry: [Entry; 1],
}

impl<'a> Single<'a> {
    pub(super) fn open(bytes: &'a [u8], name: &str) -> Cause<Single<'a>> {
        let entry = [Npy::open(bytes)?.entry(name)];
        Ok(Single { bytes, entry })
    }
}

impl Arrays for Single<'_> {
    fn entries(&self) -> &[Entry] {
        &self.entry
    }

    fn read(&mut self, _: usize) -> Cause<Values> {
        Npy::open(self.bytes)?.values(self.bytes)
    }
}

/// Where the header ends, once it is known to be harmless: `npyz` reserves as many bytes as the
/// file asks for, parses any Python literal by recursion and multiplies dimensions unchecked.
fn check_header(head: &[u8]) -> Cause<usize> {
    let refused = || "is not a .npy array, or is damaged".to_string();
    let prefix = match head {
        [0x93, b'N', b'U', b'M', b'P', b'Y', 1, _, ..] => 10,
        [0x93, b'N', b'U', b'M', b'P', b'Y', 2 | 3, _, ..] => 12,
        _ => return Err(refused()),
    };
    let size = head.get(8..prefix).ok_or_else(refused)?;
    let size = size.iter().rev().fold(0, |n, &b| n << 8 | usize::from(b));
    let text = head[prefix..].get(..size).ok_or_else(refused)?;
    let text = std::str::from_utf8(text).map_err(|_| refused())?;
    // Quotes never contain quotes, for no escape is let through: every other piece is outside.
    let bare: String = text.split('\'').step_by(2).collect();
    let harmless = |c: char| "{}()[],:TrueFalse0123456789".contains(c) || c.is_ascii_whitespace();
    let brackets = bare.matches(['(', '[', '{']).count();
    // The parser tries a bracket in several ways: its time is exponential in their depth.
    let depth = bare.chars().scan(0, |depth: &mut i32, c| {
        *depth += i32::from("([{".contains(c)) - i32::from(")]}".contains(c));
        Some(*depth)
    });
    let deep = depth.max() > Some(6);
    // Dimensions of 19 digits in all have a product below 2^64.
    let digits = bare.matches(|c: char| c.is_ascii_digit()).count();
    if text.contains('\\') || !bare.chars().all(harmless) || brackets > 100 || deep || digits > 19 {
        return Err(refused());
    }
    Ok(prefix + size)
}
