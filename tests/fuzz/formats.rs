//! Containers taken apart, mutated inside and closed again, so that a mutation is not stopped by
//! the first checksum or length.

use std::io::{Cursor, Read, Write};
use std::path::PathBuf;

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use rand_chacha::ChaCha8Rng;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::mutate::{below, change, number, one};

/// How a file is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Bytes or text without lengths or checksums.
    Plain,
    /// Elements of MATLAB files, some of them compressed.
    Mat,
    /// A header of text, its length before it.
    Npy,
    /// A zip archive of the above.
    Npz,
    /// JSON before the data, its length before it.
    Safetensors,
}

/// Longest that a mutant grows.
const LONGEST: usize = 1 << 16;

/// Most bytes that are taken out of a compressed stream.
const INFLATED: u64 = 1 << 24;

/// One input: a seed with one to eight changes. The first `good` of the seeds can be read, and half
/// of the inputs come from them.
pub fn mutant(
    random: &mut ChaCha8Rng,
    seeds: &[(PathBuf, Vec<u8>)],
    good: usize,
    format: Format,
) -> Vec<u8> {
    let among = [good, seeds.len()][below(random, 2)];
    let mut bytes = seeds[below(random, among)].1.clone();
    let other = &seeds[below(random, seeds.len())].1;
    for _ in 0..1 << below(random, 4).min(below(random, 4)) {
        match format {
            _ if below(random, 3) == 0 => change(random, &mut bytes, other),
            Format::Plain => change(random, &mut bytes, other),
            Format::Mat => mat(random, &mut bytes, other),
            Format::Npy => npy(random, &mut bytes, other),
            Format::Npz => npz(random, &mut bytes, other),
            Format::Safetensors => safetensors(random, &mut bytes, other),
        }
        bytes.truncate(LONGEST);
    }
    bytes
}

/// Bytes that a file holds when its compressed parts are expanded, as they really are.
pub fn content(bytes: &[u8]) -> usize {
    let mut content = bytes.len();
    if bytes.starts_with(b"PK") {
        if let Ok(mut archive) = ZipArchive::new(Cursor::new(bytes)) {
            for i in 0..archive.len() {
                if let Ok(file) = archive.by_index(i) {
                    content += drained(file);
                }
            }
        }
    } else {
        for (kind, at, len) in elements(bytes) {
            if kind == 15 {
                content += drained(ZlibDecoder::new(&bytes[at..at + len]));
            }
        }
    }
    content
}

/// How many bytes come out of a stream until it ends or breaks.
fn drained(stream: impl Read) -> usize {
    let mut out = Vec::new();
    let _ = stream.take(INFLATED).read_to_end(&mut out);
    out.len()
}

/// Elements of a MATLAB file: type, where the data are, their length.
fn elements(bytes: &[u8]) -> Vec<(u32, usize, usize)> {
    let mut found = Vec::new();
    let mut at = 128;
    while let Some(tag) = bytes.get(at..at + 8) {
        let word = |i: usize| u32::from_le_bytes(tag[i..i + 4].try_into().unwrap());
        let (kind, len) = (word(0), word(4) as usize);
        if kind != 14 && kind != 15 || len > bytes.len() - at - 8 {
            break;
        }
        found.push((kind, at + 8, len));
        at += 8 + if kind == 15 {
            len
        } else {
            len.next_multiple_of(8)
        };
    }
    found
}

/// A change within an element whose length, or compression, is then made right again.
fn mat(random: &mut ChaCha8Rng, bytes: &mut Vec<u8>, other: &[u8]) {
    let elements = elements(bytes);
    if elements.is_empty() {
        return change(random, bytes, other);
    }
    let (kind, at, len) = one(random, &elements);
    let mut inside = bytes[at..at + len].to_vec();
    if kind == 15 {
        let mut plain = Vec::new();
        let _ = ZlibDecoder::new(&inside[..])
            .take(LONGEST as u64)
            .read_to_end(&mut plain);
        inside = plain;
    }
    match below(random, 4) {
        // A tag or a dimension.
        0 | 1 if inside.len() >= 4 => {
            let words = (inside.len() / 4).min(24);
            let place = below(random, words) * 4;
            let word = &mut inside[place..place + 4];
            let was = u32::from_le_bytes(word.try_into().unwrap());
            let new = number(random, u64::from(was)) as u32;
            word.copy_from_slice(&new.to_le_bytes());
        }
        // A lot of data that take few bytes compressed.
        2 if kind == 15 && below(random, 8) == 0 => inside.resize(inside.len() + LONGEST, 0),
        _ => change(random, &mut inside, other),
    }
    if kind == 15 {
        // The plain element within says its length too.
        if inside.len() >= 8 && below(random, 3) > 0 {
            let len = (inside.len() - 8) as u32;
            inside[4..8].copy_from_slice(&len.to_le_bytes());
        }
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&inside).unwrap();
        inside = encoder.finish().unwrap();
    } else {
        inside.resize(inside.len().next_multiple_of(8), 0);
    }
    let new = (inside.len() as u32).to_le_bytes();
    bytes[at - 4..at].copy_from_slice(&new);
    let end = at + len;
    let end = if kind == 15 {
        end
    } else {
        at + len.next_multiple_of(8)
    };
    bytes.splice(at..end.min(bytes.len()), inside);
}

/// A change within the header's text, whose length is then made right again.
fn npy(random: &mut ChaCha8Rng, bytes: &mut Vec<u8>, other: &[u8]) {
    const TYPES: [&str; 20] = [
        "<f8",
        ">f8",
        "<f4",
        "<f2",
        "|u1",
        "|i1",
        "<i8",
        ">i4",
        "<u8",
        "|b1",
        "<U1",
        "<U0",
        "|S0",
        "|S3",
        "|O",
        "<c16",
        "<U99999999",
        "<M8[ns]",
        "|V4",
        "<f16",
    ];
    const SHAPES: [&str; 14] = [
        "()",
        "(3,)",
        "(0,)",
        "(1, 1)",
        "(2147483648, 2)",
        "(4294967296, 4294967296)",
        "(1000000000000000000,)",
        "(3, 2, 1)",
        "(0, 5)",
        "(5, 0)",
        "(-1, 3)",
        "(1000000, 0)",
        "(3L, 2)",
        "(2, 3",
    ];
    let Some(end) = bytes.iter().take(2048).position(|&b| b == b'\n') else {
        return change(random, bytes, other);
    };
    let wide = bytes.get(6) != Some(&1);
    let start = if wide { 12 } else { 10 };
    if end < start {
        return change(random, bytes, other);
    }
    let mut text = bytes[start..=end].to_vec();
    let replaced = |text: &[u8], after: &str, ends: &[u8], new: &str| -> Option<Vec<u8>> {
        let at = text
            .windows(after.len())
            .position(|w| w == after.as_bytes())?
            + after.len();
        let len = text[at..].iter().position(|b| ends.contains(b))? + 1;
        Some([&text[..at], new.as_bytes(), &text[at + len..]].concat())
    };
    let new = match below(random, 4) {
        0 => {
            let kind = format!("'{}'", one(random, &TYPES));
            replaced(&text, "'descr': ", b" ,", &(kind + ","))
        }
        1 => replaced(&text, "'shape': ", b")", one(random, &SHAPES)),
        _ => None,
    };
    match new {
        Some(new) => text = new,
        None => change(
            random,
            &mut text,
            b"{'descr': '<f8', 'fortran_order': True, 'shape': (2, 2), }\n",
        ),
    }
    let len = (text.len() as u32).to_le_bytes();
    let width = if wide { 4 } else { 2 };
    bytes[8..8 + width].copy_from_slice(&len[..width]);
    bytes.splice(start..=end, text);
}

/// A change within an array of the archive, or in a record of its directory.
fn npz(random: &mut ChaCha8Rng, bytes: &mut Vec<u8>, other: &[u8]) {
    if below(random, 3) == 0 {
        // 12 to 46 bytes of numbers follow each signature.
        let records: Vec<usize> = (0..bytes.len().saturating_sub(60))
            .filter(|&i| bytes[i..].starts_with(b"PK"))
            .collect();
        if records.is_empty() {
            return change(random, bytes, other);
        }
        let at = one(random, &records) + 4 + below(random, 42);
        let width = [2, 4, 8][below(random, 3)];
        let mut was = [0; 8];
        was[..width].copy_from_slice(&bytes[at..at + width]);
        let new = number(random, u64::from_le_bytes(was)).to_le_bytes();
        bytes[at..at + width].copy_from_slice(&new[..width]);
        return;
    }
    let Ok(mut archive) = ZipArchive::new(Cursor::new(&bytes[..])) else {
        return change(random, bytes, other);
    };
    let mut files = Vec::new();
    for i in 0..archive.len().min(8) {
        let Ok(file) = archive.by_index(i) else {
            continue;
        };
        let name = file.name().to_string();
        let mut content = Vec::new();
        let _ = file.take(LONGEST as u64).read_to_end(&mut content);
        files.push((name, content));
    }
    if files.is_empty() {
        return change(random, bytes, other);
    }
    let chosen = below(random, files.len());
    match below(random, 8) {
        0 => {
            files[chosen].0 = one(
                random,
                &["features.npy", "labels.npy", "X.npy", "a\nb.npy", "x"],
            )
            .to_string()
        }
        1 => {
            let copy = files[chosen].clone();
            files.push((format!("again{}.npy", files.len()), copy.1));
        }
        2 => files[chosen].1.resize(LONGEST, 0),
        _ => npy(random, &mut files[chosen].1, other),
    }
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        let method = match below(random, 2) {
            0 => CompressionMethod::Stored,
            _ => CompressionMethod::Deflated,
        };
        let options = SimpleFileOptions::default()
            .compression_method(method)
            .compression_level(Some(1));
        // Two files of one name are refused.
        if writer.start_file(name, options).is_ok() {
            writer.write_all(&content).unwrap();
        }
    }
    *bytes = writer.finish().unwrap().into_inner();
}

/// A change within the JSON, whose length is then made right again.
fn safetensors(random: &mut ChaCha8Rng, bytes: &mut Vec<u8>, other: &[u8]) {
    let length = bytes.first_chunk().map(|b| u64::from_le_bytes(*b) as usize);
    let Some(length) = length.filter(|&n| n <= bytes.len() - 8) else {
        return change(random, bytes, other);
    };
    let mut text = bytes[8..8 + length].to_vec();
    change(random, &mut text, other);
    bytes.splice(8..8 + length, text.iter().copied());
    bytes[..8].copy_from_slice(&(text.len() as u64).to_le_bytes());
}
