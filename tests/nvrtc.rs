//! Every kernel compiled to machine code by NVRTC, on any machine that has it, GPU or not.
//!
//! Where NVRTC is absent these tests cannot run and say so; with `SSAN_REQUIRE_NVRTC=1` they fail.

#[path = "common/requirement.rs"]
mod requirement;

use std::sync::atomic::{AtomicUsize, Ordering};

use requirement::not_run;
use ssan::device::kernels::{SOURCES, Source, signatures};
use ssan::device::nvrtc::{Cache, Compiled, architectures, compile, key, version};
use ssan::device::rung::{Arithmetic, Rung, Tile};

/// Whether NVRTC is there; if not, says that `check` does not run.
fn present(check: &str) -> bool {
    let Err(why) = version() else { return true };
    not_run(check, "SSAN_REQUIRE_NVRTC", why);
    false
}

/// Calls `check` with each of `items`, on all cores.
fn on_all_cores<I: Sync>(items: &[I], check: impl Fn(&I) + Sync) {
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    check(item);
                }
            });
        }
    });
}

const PLAIN: Rung = Rung {
    arithmetic: Arithmetic::Plain,
    tile: Tile::Medium,
};

/// Every kernel file for every architecture and type, matrix products on every rung: no warning; in
/// float no spilled register.
#[test]
fn every_kernel_compiles() {
    if !present("every kernel compiled for sm_80 and sm_90 in float and double") {
        return;
    }
    let mut all = Vec::new();
    for architecture in ["sm_80", "sm_90"] {
        for source in SOURCES {
            all.extend(["float", "double"].map(|real| (source, real, PLAIN, architecture)));
        }
        let products = SOURCES.iter().find(|s| s.name == "linear");
        let products = products.expect("the file of the products");
        for rung in Rung::all().into_iter().skip(1) {
            all.push((products, "float", rung, architecture));
            if rung.arithmetic == Arithmetic::Plain {
                all.push((products, "double", rung, architecture));
            }
        }
    }
    // Cards without the instructions of the tensor cores' rungs.
    all.extend(SOURCES.iter().map(|s| (s, "float", PLAIN, "sm_75")));
    on_all_cores(&all, |&(source, real, rung, architecture)| {
        let of = format!("{}.cu {rung} in {real} for {architecture}", source.name);
        let compiled = compile(source, real, rung, architecture);
        let compiled = compiled.unwrap_or_else(|e| panic!("{of}: {e}"));
        assert_eq!(compiled.cubin[..4], *b"\x7fELF", "{of} is machine code");
        let warnings = compiled.warnings();
        assert!(warnings.is_empty(), "{of}: {}", compiled.log);

        let usage = compiled.usage();
        let mut found: Vec<_> = usage.iter().map(|u| u.kernel.clone()).collect();
        let declared = signatures(source.text).unwrap_or_else(|e| panic!("{of}: {e}"));
        let mut declared: Vec<_> = declared.into_iter().map(|s| s.name).collect();
        found.sort();
        declared.sort();
        assert_eq!(found, declared, "{of}: what the log reports");
        for kernel in usage {
            assert!(kernel.registers > 0, "{of}: {}", compiled.log);
            let spills = real == "float" && kernel.spilled > 0;
            assert!(
                !spills,
                "{of}: {} spills {} bytes",
                kernel.kernel, kernel.spilled
            );
        }
    });
    println!("{} compilations", all.len());
}

#[test]
fn warnings_and_errors_name_the_file_and_its_line() {
    if !present("what NVRTC's messages point to") {
        return;
    }
    let source = |text| Source { name: "bad", text };
    let kernel = source(
        "// A comment.\n\
         extern \"C\" __global__ void bad(real *x) {\n\
             int unused = 0;\n\
             *x = 1;\n\
         }\n",
    );
    let compiled = compile(&kernel, "float", PLAIN, "sm_80").unwrap();
    let warnings = compiled.warnings();
    assert!(
        warnings[0].starts_with("bad.cu(3): warning"),
        "{warnings:?}"
    );

    let error = compile(&source("int x;\nint y = z;\n"), "float", PLAIN, "sm_80").unwrap_err();
    let error = error.to_string();
    assert!(error.contains("kernels of bad.cu"), "{error}");
    assert!(error.contains("bad.cu(2): error"), "{error}");

    let error = compile(&kernel, "float", PLAIN, "sm_10")
        .unwrap_err()
        .to_string();
    assert!(error.contains("sm_10"), "{error}");
}

#[test]
fn the_same_source_gives_the_same_code() {
    if !present("two compilations compared") {
        return;
    }
    for source in SOURCES.iter().take(3) {
        let code = || compile(source, "float", PLAIN, "sm_90").unwrap().cubin;
        assert!(code() == code(), "{}.cu", source.name);
    }
}

#[test]
fn a_card_gets_its_own_architecture_or_an_older_one_of_its_kind() {
    use ssan::device::nvrtc::architecture_for;
    if !present("the architecture for a card") {
        return;
    }
    assert_eq!(architecture_for((8, 0)).unwrap(), "sm_80");
    assert_eq!(architecture_for((9, 0)).unwrap(), "sm_90");
    // One that is not known gets the oldest of its kind: all run that.
    let known = architectures().unwrap();
    let newest = known.last().unwrap() / 10;
    let oldest = known.iter().find(|&&a| a / 10 == newest).unwrap();
    let family = architecture_for((newest, 9)).unwrap();
    assert_eq!(family, format!("sm_{oldest}"));
    let error = architecture_for((99, 0)).unwrap_err().to_string();
    let (major, minor) = version().unwrap();
    assert!(error.contains("sm_990"), "{error}");
    assert!(error.contains(&format!("NVRTC {major}.{minor}")), "{error}");
    assert!(error.contains("newer"), "{error}");
    let error = architecture_for((3, 5)).unwrap_err().to_string();
    assert!(
        error.contains("sm_35") && error.contains("older"),
        "{error}"
    );
}

#[test]
fn the_cache_keeps_and_repairs() {
    if !present("the cache of compiled kernels") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path().join("cache"));
    let source = &SOURCES[0];
    let through = || -> Compiled {
        let (compiled, note) = cache.compile(source, "float", PLAIN, "sm_80").unwrap();
        assert_eq!(note, None);
        compiled
    };
    let key = key(source, "float", PLAIN, "sm_80").unwrap();
    let file = cache.path(&key).unwrap();
    assert!(!file.exists());
    let first = through();
    let stored = std::fs::read(&file).unwrap();
    assert_eq!(
        through(),
        first,
        "from the cache: the log, with its times, is the same"
    );

    let mut corrupted = stored.clone();
    let middle = stored.len() / 2;
    corrupted[middle] ^= 0x40;
    std::fs::write(&file, &corrupted).unwrap();
    assert_eq!(through().cubin, first.cubin, "compiled again");
    assert_eq!(
        cache.get(&key).map(|c| c.cubin),
        Some(first.cubin.clone()),
        "repaired"
    );

    std::fs::write(&file, &stored[..middle]).unwrap();
    assert_eq!(through().cubin, first.cubin, "cut off: compiled again");
}

#[test]
fn an_entry_belongs_to_one_source_type_rung_and_architecture() {
    if !present("the keys of the cache") {
        return;
    }
    let one = Source {
        name: "a",
        text: "int x;",
    };
    let other = Source {
        name: "a",
        text: "int y;",
    };
    let keys = [
        key(&one, "float", PLAIN, "sm_80").unwrap(),
        key(&one, "float", Rung::all()[1], "sm_80").unwrap(),
        key(&one, "double", PLAIN, "sm_80").unwrap(),
        key(&one, "float", PLAIN, "sm_90").unwrap(),
        key(&other, "float", PLAIN, "sm_80").unwrap(),
    ];
    for (i, key) in keys.iter().enumerate() {
        assert!(!keys[..i].contains(key), "{keys:?}");
    }
    assert_eq!(key(&one, "float", PLAIN, "sm_80").unwrap(), keys[0]);
}

#[test]
fn a_cache_that_cannot_be_written_is_told_and_no_error() {
    if !present("a cache that cannot be written") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a file");
    std::fs::write(&file, "").unwrap();
    let (compiled, note) = Cache::at(&file)
        .compile(&SOURCES[0], "float", PLAIN, "sm_80")
        .unwrap();
    assert!(!compiled.cubin.is_empty());
    assert!(note.is_some_and(|note| note.contains("a file")));
}
