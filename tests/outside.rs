//! Nothing is written but what was asked for: each command in a fresh folder that also has the home
//! folder, the temporary folder and the cache, whose files are compared before and after.
//!
//! What this cannot see is a path that none of those variables gives; `tests/README.md` has the
//! system calls of the same commands.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

const SWEEP: &str = r#"
[options]
partition = 2
nepoch = 4
d_common = 4

[[tasks]]
name = "digits"

[grid]
recipe = ["paper", "robust"]
"#;

/// Every file and folder below `folder` by its path in it, with its bytes.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(folder).unwrap().to_string_lossy();
            let bytes = match path.is_dir() {
                true => Vec::new(),
                false => std::fs::read(&path).unwrap(),
            };
            found.insert(name.into_owned(), bytes);
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    found
}

#[test]
fn commands_write_nothing_but_what_they_are_asked_for() {
    let place = TempDir::new().unwrap();
    let at = place.path();
    for folder in ["home", "tmp", "cache", "work"] {
        std::fs::create_dir(at.join(folder)).unwrap();
    }
    std::fs::write(at.join("work/sweep.toml"), SWEEP).unwrap();
    let digits = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/digits/digits_pixels.npz");
    let input = digits.display();
    let train = "train --partition 2 --nepoch 4 --d_common 4 --device cpu";
    // Each command, and what may be new or other after it, with all below.
    for (line, written) in [
        (format!("{train} --out run"), "work/run"),
        ("train --resume run".to_string(), "work/run"),
        ("inspect run/model-0.safetensors".to_string(), ""),
        (format!("inspect {input}"), ""),
        (format!("predict run --input {input}"), ""),
        (
            format!("predict run --input {input} --out labels.csv"),
            "work/labels.csv",
        ),
        (format!("evaluate run --input {input}"), ""),
        ("report run --force".to_string(), "work/run/report.html"),
        (
            "report run --out page.html --svg run/plots".to_string(),
            "work/page.html work/run/plots",
        ),
        ("sweep sweep.toml --dry-run".to_string(), ""),
        (
            "sweep sweep.toml --out all --device cpu".to_string(),
            "work/all",
        ),
        ("devices".to_string(), ""),
        ("completions bash".to_string(), ""),
    ] {
        let before = contents(at);
        let output = Command::new(env!("CARGO_BIN_EXE_ssan"))
            .args(line.split_whitespace())
            .current_dir(at.join("work"))
            .env("HOME", at.join("home"))
            .env("TMPDIR", at.join("tmp"))
            .env("XDG_CACHE_HOME", at.join("cache"))
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {error}");
        let after = contents(at);
        let asked = |path: &str| {
            let below = |whole: &str| {
                let rest = path.strip_prefix(whole);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            written.split_whitespace().any(below)
        };
        let paths = before.keys().chain(after.keys());
        let mut other = paths.filter(|path| before.get(*path) != after.get(*path) && !asked(path));
        assert_eq!(other.next(), None, "{line} changed it");
        for path in written.split_whitespace() {
            assert!(after.contains_key(path), "{line}: no {path}");
        }
    }
}
