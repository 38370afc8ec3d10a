//! Mutations of bytes that know nothing of a format.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

/// Numbers at which sizes, signs and products turn.
const NUMBERS: [u64; 22] = [
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    255,
    256,
    0x7fff,
    0x8000,
    0xffff,
    0x1_0000,
    0xff_ffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    1 << 40,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX,
];

/// Words that readers of text treat in some way of their own.
const WORDS: [&[u8]; 40] = [
    b"NaN",
    b"nan",
    b"inf",
    b"-inf",
    b"1e999",
    b"-1",
    b"-0",
    b"0.5",
    b"1e17",
    b"9007199254740993",
    b"18446744073709551616",
    b"340282366920938463463374607431768211456",
    b"\"",
    b"'",
    b"\\",
    b"\n",
    b"\r\n",
    b"\r",
    b",",
    b",,",
    b"\t",
    b" ",
    b"\0",
    b"\xef\xbb\xbf",
    b"\xff",
    b"\xc3\x28",
    b"[",
    b"]",
    b"{",
    b"}",
    b"(",
    b")",
    b":",
    b"null",
    b"true",
    b"False",
    b"[[[[[[[[",
    b"0x10",
    b"1_0",
    b"\xe2\x80\xa8",
];

/// A number below `n`, which is not 0.
pub fn below(random: &mut ChaCha8Rng, n: usize) -> usize {
    ((u64::from(random.next_u32()) * n as u64) >> 32) as usize
}

/// One of `items`.
pub fn one<T: Copy>(random: &mut ChaCha8Rng, items: &[T]) -> T {
    items[below(random, items.len())]
}

/// A number worth trying, near what was there or at a turn.
pub fn number(random: &mut ChaCha8Rng, was: u64) -> u64 {
    match below(random, 6) {
        0 => was.wrapping_add(1),
        1 => was.wrapping_sub(1),
        2 => was.wrapping_mul(2),
        3 => u64::from(random.next_u32()),
        _ => one(random, &NUMBERS),
    }
}

/// A place in `bytes` for a piece of `len`, if there is one; rather often near the beginning, where
/// headers are.
fn place(random: &mut ChaCha8Rng, bytes: &[u8], len: usize) -> Option<usize> {
    let places = (bytes.len() + 1).checked_sub(len).filter(|&n| n > 0)?;
    let near = places.min(160);
    let reach = [places, near][below(random, 2)];
    Some(below(random, reach))
}

/// Changes `bytes` in one place; `other` is another file of the same kind.
pub fn change(random: &mut ChaCha8Rng, bytes: &mut Vec<u8>, other: &[u8]) {
    let kind = below(random, 12);
    let width = [1, 2, 4, 8][below(random, 4)];
    let Some(at) = place(random, bytes, width) else {
        bytes.extend_from_slice(one(random, &WORDS));
        return;
    };
    match kind {
        0 => bytes[at] ^= 1 << below(random, 8),
        1 => bytes[at] = random.next_u32() as u8,
        2 | 3 => {
            let aligned = at / width * width;
            let mut was = [0; 8];
            was[..width].copy_from_slice(&bytes[aligned..aligned + width]);
            let big = below(random, 8) == 0;
            let new = match big {
                true => number(random, u64::from_be_bytes(was) >> (64 - 8 * width)),
                false => number(random, u64::from_le_bytes(was)),
            };
            match big {
                true => {
                    bytes[aligned..aligned + width].copy_from_slice(&new.to_be_bytes()[8 - width..])
                }
                false => {
                    bytes[aligned..aligned + width].copy_from_slice(&new.to_le_bytes()[..width])
                }
            }
        }
        4 => bytes.truncate(at),
        5 => {
            let end = (at + 1 + below(random, 64)).min(bytes.len());
            bytes.drain(at..end);
        }
        6 => {
            let end = (at + 1 + below(random, 64)).min(bytes.len());
            let piece = bytes[at..end].to_vec();
            let times = 1 + below(random, 3);
            bytes.splice(at..at, piece.repeat(times));
        }
        7 if !other.is_empty() => {
            let from = below(random, other.len());
            let piece = &other[from..(from + 1 + below(random, 128)).min(other.len())];
            let end = (at + below(random, 2) * piece.len()).min(bytes.len());
            bytes.splice(at..end, piece.iter().copied());
        }
        8 | 9 => digits(random, bytes, at),
        10 => {
            let word = one(random, &WORDS);
            let end = (at + below(random, 2) * word.len()).min(bytes.len());
            bytes.splice(at..end, word.iter().copied());
        }
        _ => {
            let end = (at + 1 + below(random, 64)).min(bytes.len());
            let fill = one(random, &[0, 0xff, b' ', b'0', b'9']);
            bytes[at..end].fill(fill);
        }
    }
}

/// Another decimal number instead of the first one after `at`.
fn digits(random: &mut ChaCha8Rng, bytes: &mut Vec<u8>, at: usize) {
    let rest = bytes[at..].iter();
    let Some(start) = rest.clone().position(u8::is_ascii_digit) else {
        bytes.insert(at, b'0' + below(random, 10) as u8);
        return;
    };
    let run = bytes[at + start..].iter();
    let len = run.take_while(|b| b.is_ascii_digit()).count().min(18);
    let range = at + start..at + start + len;
    let was = std::str::from_utf8(&bytes[range.clone()]).unwrap().parse();
    let new = number(random, was.unwrap()).to_string();
    bytes.splice(range, new.into_bytes());
}
