//! Data at the edge of what can be learnt, through the command line: trained on, or refused in
//! words. And figures that are none: the run stops and says where.

use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// Runs `ssan train` in `folder` on `s.csv` and `t.csv`.
fn train(folder: &Path, options: &str) -> Output {
    let always = "train --source s.csv --target t.csv --json --partition 2 --d_common 6 --lr 0.05";
    Command::new(env!("CARGO_BIN_EXE_ssan"))
        .args(always.split_whitespace())
        .args(options.split_whitespace())
        .current_dir(folder)
        .env_remove("RUST_BACKTRACE")
        .output()
        .expect("the binary runs")
}

/// A domain as .csv: a row per label, `value(row, column)`, the label last.
fn csv(labels: &[i64], cols: usize, value: impl Fn(usize, usize) -> f64) -> String {
    let mut text = String::new();
    for (row, label) in labels.iter().enumerate() {
        (0..cols).for_each(|col| write!(text, "{},", value(row, col)).unwrap());
        writeln!(text, "{label}").unwrap();
    }
    text
}

fn folder(source: &str, target: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("s.csv"), source).unwrap();
    std::fs::write(folder.path().join("t.csv"), target).unwrap();
    folder
}

/// Trains in both forms of the first layer and with both optimisers; everything told is finite.
fn trains(what: &str, source: &str, target: &str, options: &str) {
    let folder = folder(source, target);
    for more in [
        "--first-layer direct",
        "--first-layer gram",
        "--optimizer Adam",
    ] {
        let run = format!("--nepoch 4 --out run --force {options} {more}");
        let output = train(folder.path(), &run);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{what}, {more}: {error}");
        let result: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(result["partitions"].as_array().unwrap().len(), 2, "{what}");
        // JSON has no number for what is not finite: it would be null.
        let metrics = std::fs::read_to_string(folder.path().join("run/metrics.jsonl")).unwrap();
        let lines = metrics
            .lines()
            .map(|l| serde_json::from_str::<Value>(l).unwrap());
        for line in lines {
            for term in [
                "total",
                "source_ce",
                "hard",
                "soft",
                "adversarial",
                "alignment",
            ] {
                assert!(line[term].is_number(), "{what}, {more}: {line}");
            }
        }
        let predictions =
            std::fs::read_to_string(folder.path().join("run/predictions.csv")).unwrap();
        for line in predictions.lines().skip(1) {
            let probability: f64 = line.split(',').nth(3).unwrap().parse().unwrap();
            assert!((0.0..=1.0 + 1e-6).contains(&probability), "{what}: {line}");
        }
    }
}

/// Fails with exit code 1 or 2 and one line that has all of `words`.
fn refused(what: &str, source: &str, target: &str, options: &str, words: &[&str]) {
    let output = train(
        folder(source, target).path(),
        &format!("--nepoch 4 {options}"),
    );
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        matches!(output.status.code(), Some(1 | 2)),
        "{what}: {text}"
    );
    let errors: Vec<&str> = text.lines().filter(|l| l.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{what}: {text}");
    for word in words {
        assert!(
            errors[0].contains(word),
            "{what}: {word:?} is not in {text}"
        );
    }
    assert!(!text.contains("panicked"), "{what}: {text}");
}

fn wave(row: usize, col: usize) -> f64 {
    ((row * 7 + col * 3) as f64 * 0.9).sin()
}

/// `each` rows of each of `classes` classes.
fn classes(classes: i64, each: usize) -> Vec<i64> {
    (0..classes).flat_map(|k| vec![k; each]).collect()
}

#[test]
fn rows_that_say_little_train() {
    let labels = classes(3, 5);
    let good = csv(&labels, 4, wave);
    let few = "--labelled-per-class 2";
    trains(
        "duplicated rows",
        &csv(&labels, 4, |_, col| wave(0, col)),
        &good,
        few,
    );
    let twice = csv(&labels, 5, |row, col| wave(row / 2, col));
    trains("duplicated target rows", &good, &twice, few);
    let constant = csv(
        &labels,
        4,
        |row, col| if col < 2 { 7.0 } else { wave(row, col) },
    );
    trains("constant features", &constant, &constant, few);
    let zero = csv(
        &labels,
        4,
        |row, col| if row % 3 == 0 { 0.0 } else { wave(row, col) },
    );
    trains("some rows of zeros", &zero, &zero, few);
    let zeros = csv(&labels, 4, |_, _| 0.0);
    trains("nothing but zeros", &zeros, &zeros, few);
    let tiny = csv(&labels, 4, |row, col| 1e-300 * wave(row, col));
    let huge = csv(&labels, 4, |row, col| 1e300 * wave(row, col));
    trains("the smallest and the largest numbers", &tiny, &huge, few);
}

#[test]
fn few_labels_and_missing_classes() {
    let good = csv(&classes(3, 5), 4, wave);
    let mut one = vec![-1; 8];
    one[2] = 1;
    trains("one labelled row", &good, &csv(&one, 5, wave), "");
    let two_of_three = csv(&classes(2, 5), 5, wave);
    refused(
        "a class missing in the target",
        &good,
        &two_of_three,
        "",
        &["class 2", "no labelled row", "--split"],
    );
    let mut partly = vec![0, 0, 1, 1];
    partly.extend([-1; 6]);
    trains(
        "a class that no labelled target row has",
        &good,
        &csv(&partly, 5, wave),
        "",
    );
    refused(
        "a class missing in the source",
        &two_of_three,
        &good,
        "",
        &["2", "source s"],
    );
    refused(
        "no label at all",
        &good,
        &csv(&[-1; 9], 5, wave),
        "",
        &["no row", "labelled"],
    );
    refused(
        "all labelled",
        &good,
        &good,
        "--labelled-per-class 5",
        &["every row"],
    );
    let single = csv(&[1; 6], 3, wave);
    refused("one class", &single, &single, "", &["single class 1"]);
}

#[test]
fn two_classes_and_a_thousand() {
    let two = csv(&classes(2, 4), 3, wave);
    trains(
        "K = 2",
        &two,
        &csv(&classes(2, 4), 4, wave),
        "--labelled-per-class 1",
    );
    let labels = classes(1000, 2);
    let spread = |row: usize, col: usize| ((row / 2 * (col + 3)) as f64 * 0.37).sin();
    let many = csv(&labels, 8, spread);
    trains("K = 1000", &many, &many, "--labelled-per-class 1");
}

#[test]
fn two_rows_and_one_feature() {
    let two = csv(&[0, 1], 3, wave);
    let target = csv(&[0, -1], 2, wave);
    trains("n = 2", &two, &target, "");
    let one = csv(&classes(2, 4), 1, |row, _| [1.0, -2.0][row / 4]);
    trains("d = 1", &one, &one, "--labelled-per-class 1");
    refused("n = 1", &csv(&[0], 3, wave), &target, "", &["single class"]);
    refused("no samples", "", &target, "", &["s.csv", "empty"]);
}

#[test]
fn a_hundred_thousand_features() {
    let labels = classes(2, 3);
    let wide = csv(&labels, 100_000, wave);
    let narrow = csv(&labels, 5, wave);
    trains(
        "d = 100 000",
        &wide,
        &narrow,
        "--layer single --labelled-per-class 1",
    );
}

/// Each term of the loss, and where it broke.
#[test]
fn what_is_not_finite_stops_the_run() {
    let labels = classes(3, 5);
    let source = csv(&labels, 4, wave);
    let folder = folder(&source, &csv(&labels, 5, wave));
    let output = train(
        folder.path(),
        "--nepoch 50 --lr 1e30 --labelled-per-class 2 --out run",
    );
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for word in ["not finite at epoch", "partition", "--lr"] {
        assert!(text.contains(word), "{word:?} is not in {text}");
    }
    for file in ["summary.json", "predictions.csv", "model-0.safetensors"] {
        assert!(!folder.path().join("run").join(file).exists(), "{file}");
    }
}
