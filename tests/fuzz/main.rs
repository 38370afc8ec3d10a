//! Every reader of files against hostile input: the corpus under `tests/corpus/`, and mutations of
//! it that know the formats.
//!
//! A reader must return, with a value that holds together or with an error of one line that names
//! the file; soon; and without memory out of proportion to what the file holds. `SSAN_FUZZ_INPUTS`
//! is the number of inputs per reader, `SSAN_FUZZ_SEED` another sequence of them,
//! `SSAN_FUZZ_READER` the one reader to try. What a reader
//! does wrong is kept under `target/tmp/fuzz/<reader>/`, to be fixed and put into the corpus.
//!
//! | module | what it does |
//! |---|---|
//! | [`allocator`] | counts the bytes that a thread holds |
//! | [`mutate`] | mutations of bytes, numbers, text |
//! | [`formats`] | containers taken apart, mutated inside and closed again |
//! | [`readers`] | what is read, and what a value must look like |

mod allocator;
mod formats;
mod mutate;
mod readers;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use readers::Reader;

/// Inputs per reader where nothing else is asked for.
const INPUTS: u64 = 1500;

/// Longest time that an input may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes that any input may cost: buffers, tables, messages.
const FREE: usize = 8 << 20;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| {
        let number = text.replace('_', "").parse();
        number.unwrap_or_else(|_| panic!("{variable}={text} is no number"))
    })
}

/// The corpus of a reader, by file name.
fn corpus(folder: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(folder);
    let entries = std::fs::read_dir(&folder).expect("the corpus is part of the project");
    let mut files: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    files.sort();
    let read = |path: PathBuf| {
        let bytes = std::fs::read(&path).unwrap();
        (path, bytes)
    };
    files.into_iter().map(read).collect()
}

/// Lets the reader read `bytes`; what it does wrong.
fn check(reader: &Reader, place: &Path, bytes: &[u8], variant: usize) -> Result<bool, String> {
    std::fs::write(place, bytes).unwrap();
    let limit = FREE + reader.bytes_per_byte * formats::content(bytes);
    let start = Instant::now();
    let before = allocator::start();
    let result = catch_unwind(AssertUnwindSafe(|| (reader.read)(place, variant)));
    let peak = allocator::peak() - before;
    let result = result.map_err(|_| "panics".to_string())?;
    if peak > limit as isize {
        return Err(format!(
            "takes {peak} bytes of memory; {limit} would be in proportion"
        ));
    }
    if start.elapsed() > PATIENCE {
        return Err(format!("takes {:?}", start.elapsed()));
    }
    match result {
        Ok(sound) => sound.map(|()| true),
        Err(error) => {
            let text = error.to_string();
            let name = place.file_name().unwrap().to_string_lossy();
            match text.lines().count() == 1 && text.contains(&*name) && text.len() < 5000 {
                true => Ok(false),
                false => Err(format!("reports {text:?}")),
            }
        }
    }
}

/// Ends the process if an input never ends; the input is in `place`.
fn watch(place: PathBuf) -> impl Fn(u64) {
    static TICK: AtomicU64 = AtomicU64::new(0);
    let tick: &'static AtomicU64 = &TICK;
    std::thread::spawn(move || {
        let mut last = (u64::MAX, Instant::now());
        loop {
            std::thread::sleep(Duration::from_secs(1));
            let now = tick.load(Ordering::Relaxed);
            if now != last.0 {
                last = (now, Instant::now());
            } else if last.1.elapsed() > 6 * PATIENCE {
                eprintln!("a reader does not end with {}", place.display());
                std::process::abort();
            }
        }
    });
    |i| tick.store(i, Ordering::Relaxed)
}

/// What the reader does wrong.
fn campaign(reader: &Reader) -> Vec<String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("fuzz")
        .join(reader.name);
    std::fs::create_dir_all(&folder).unwrap();
    let process = std::process::id();
    let place = folder.join(format!("input-{process}.{}", reader.extension));
    let mut found: Vec<String> = Vec::new();
    let mut fail = |bytes: &[u8], what: String, from: String| {
        let kept = folder.join(format!(
            "finding-{process}-{}.{}",
            found.len(),
            reader.extension
        ));
        std::fs::write(&kept, bytes).unwrap();
        found.push(format!("{from}: {what}; kept as {}", kept.display()));
        assert!(found.len() < 10, "{}: {found:#?}", reader.name);
    };
    let corpus: Vec<_> = reader.corpora.iter().flat_map(|c| corpus(c)).collect();
    let (mut seeds, mut others) = (Vec::new(), Vec::new());
    for (path, bytes) in corpus {
        let mut good = false;
        for variant in 0..readers::VARIANTS {
            match check(reader, &place, &bytes, variant) {
                Ok(read) => good |= read,
                Err(what) => fail(&bytes, what, path.display().to_string()),
            }
        }
        match good {
            true => seeds.push((path, bytes)),
            false => others.push((path, bytes)),
        }
    }
    let good = seeds.len();
    assert!(
        good > 0,
        "{}: nothing in the corpus can be read",
        reader.name
    );
    seeds.append(&mut others);
    let (inputs, seed) = (
        number("SSAN_FUZZ_INPUTS", INPUTS),
        number("SSAN_FUZZ_SEED", 1),
    );
    let tick = watch(place.clone());
    let start = Instant::now();
    let mut accepted = 0;
    for i in 0..inputs {
        tick(i);
        // An input depends on the seed and its number alone.
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(i);
        let bytes = formats::mutant(&mut random, &seeds, good, reader.format);
        let variant = mutate::below(&mut random, readers::VARIANTS);
        match check(reader, &place, &bytes, variant) {
            Ok(good) => accepted += u64::from(good),
            Err(what) => fail(&bytes, what, format!("input {i} of seed {seed}")),
        }
    }
    std::fs::remove_file(&place).unwrap();
    // Not `println!`, which the test harness keeps back where a test passes.
    use std::io::Write;
    let line = format!(
        "{}: {} files in the corpus, {inputs} inputs, {accepted} of them readable, {:.0} s\n",
        reader.name,
        seeds.len(),
        start.elapsed().as_secs_f64()
    );
    let _ = std::io::stderr().write_all(line.as_bytes());
    found
}

#[test]
fn no_file_breaks_a_reader() {
    let only = std::env::var("SSAN_FUZZ_READER").ok();
    let mut readers = Vec::from(readers::all());
    readers.retain(|r| only.as_deref().is_none_or(|name| name == r.name));
    assert!(!readers.is_empty(), "no reader {only:?}");
    let found: Vec<String> = readers.iter().flat_map(campaign).collect();
    assert!(found.is_empty(), "{found:#?}");
}
