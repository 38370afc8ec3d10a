//! Gathers `kernels/` into one table for the binary.

use std::fmt::Write;
use std::path::Path;

fn main() {
    println!("cargo:rerun-if-changed=kernels");
    let manifest = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let folder = Path::new(&manifest).join("kernels");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).expect("kernels/ is part of the crate") {
        let path = entry.expect("kernels/ can be listed").path();
        if path.extension().is_some_and(|e| e == "cu") {
            names.push(
                path.file_stem()
                    .unwrap()
                    .to_str()
                    .expect("ASCII names")
                    .to_string(),
            );
        }
    }
    names.sort();
    let include = |file: &str| format!("include_str!({:?})", folder.join(file));
    let mut table = String::new();
    let common = include("common.cuh");
    writeln!(
        table,
        "/// `common.cuh`.\npub const COMMON: &str = {common};"
    )
    .unwrap();
    writeln!(
        table,
        "/// All other files, by name.\npub const SOURCES: &[Source] = &["
    )
    .unwrap();
    for name in names {
        let text = include(&format!("{name}.cu"));
        writeln!(table, "    Source {{ name: {name:?}, text: {text} }},").unwrap();
    }
    writeln!(table, "];").unwrap();
    let out = std::env::var("OUT_DIR").expect("cargo sets it");
    std::fs::write(Path::new(&out).join("kernels.rs"), table).expect("OUT_DIR is writable");
}
