//! The command line as a user meets it: results, files, and one line for everything that is wrong.

#[path = "common/command.rs"]
mod command;

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use command::ssan;
use serde_json::Value;
use tempfile::TempDir;

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// Runs what must succeed; standard output.
fn passes(folder: &Path, line: &str) -> String {
    let output = ssan(folder, line);
    let code = output.status.code();
    assert_eq!(code, Some(0), "{line}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Runs what must fail with `code`, one line on standard error that has all of `words`, and
/// nothing left behind in `folder`.
fn fails(folder: &Path, line: &str, code: i32, words: &[&str]) {
    let before = listing(folder);
    let output = ssan(folder, line);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{line}: {error}");
    let lines: Vec<&str> = error.lines().filter(|l| l.starts_with("error: ")).collect();
    assert_eq!(lines.len(), 1, "{line}: one line of error: {error}");
    for word in words {
        assert!(error.contains(word), "{line}: {word:?} is not in: {error}");
    }
    assert!(!error.contains("panicked"), "{line}: {error}");
    assert_eq!(listing(folder), before, "{line}: no output is left");
}

fn listing(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// A folder with `source.csv` (3 columns) and `target.csv` (4), three classes, ten rows of each.
fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    domain(folder.path(), "source.csv", 3, 10, |_, class| {
        class.to_string()
    });
    domain(folder.path(), "target.csv", 4, 10, |_, class| {
        class.to_string()
    });
    folder
}

/// Writes a .csv of rows near one axis per class, and labels as `label(row in class, class)` says.
fn domain(
    folder: &Path,
    name: &str,
    cols: usize,
    rows: usize,
    label: impl Fn(usize, usize) -> String,
) {
    let mut csv = String::new();
    for class in 0..3 {
        for row in 0..rows {
            for col in 0..cols {
                let noise = ((row * 7 + col * 3 + class) % 5) as f64 / 20.0;
                let x = if col == class { 1.0 } else { 0.0 } + noise;
                write!(csv, "{x},").unwrap();
            }
            writeln!(csv, "{}", label(row, class)).unwrap();
        }
    }
    std::fs::write(folder.join(name), csv).unwrap();
}

const SHORT: &str = "train --source source --target target --data-dir . --nepoch 5 --partition 2";

fn json(stdout: &str) -> Value {
    assert_eq!(
        stdout.lines().count(),
        1,
        "one line on standard output: {stdout}"
    );
    serde_json::from_str(stdout).expect("JSON")
}

#[test]
fn no_arguments_train_the_bundled_digits() {
    let empty = TempDir::new().unwrap();
    let result = json(&passes(
        empty.path(),
        "train --json --nepoch 150 --partition 1",
    ));
    assert_eq!(result["source"], "digits_fourier");
    assert_eq!(result["target"], "digits_pixels");
    assert_eq!(result["device"], "cpu");
    let partition = &result["partitions"][0];
    assert_eq!(partition["epochs"], 150);
    assert!(result["ms_per_epoch"].as_f64().unwrap() > 0.0);
    // Guessing gives 10 %.
    let last = result["mean_last"].as_f64().unwrap();
    assert!(last > 40.0, "{last} %");
    assert!(result["mean_best"].as_f64().unwrap() >= last);
    assert_eq!(result["std_last"], 0.0);
    assert_eq!(partition["accuracy_last"].as_f64().unwrap(), last);
    // All that is written is the run's folder.
    assert_eq!(listing(empty.path()), ["runs"]);
    let run = result["run"].as_str().unwrap();
    assert_eq!(
        Path::new(run).parent(),
        Some(Path::new("runs")),
        "in a folder of its own"
    );
    let files = [
        "config.toml",
        "embedding.npz",
        "metrics.jsonl",
        "model-0.safetensors",
        "predictions.csv",
        "report.html",
        "splits.json",
        "summary.json",
    ];
    assert_eq!(listing(&empty.path().join(run)), files);
}

/// The recipe stands for what is not given.
#[test]
fn recipes_are_chosen_and_told() {
    let folder = folder();
    let line = "train --source source --target target --data-dir . --partition 1 --nepoch 2 --json";
    let lines = |more: &str| {
        let options = format!("{line} --out run --force {more}");
        let recipe = json(&passes(folder.path(), &options))["recipe"].clone();
        let metrics = std::fs::read_to_string(folder.path().join("run/metrics.jsonl")).unwrap();
        (
            recipe.as_str().unwrap().to_string(),
            metrics.lines().count(),
        )
    };
    let robust = |lines| ("robust".to_string(), lines);
    let paper = |lines| ("paper".to_string(), lines);
    assert_eq!(lines(""), robust(3 * 2));
    assert_eq!(lines("--recipe paper"), paper(2));
    assert_eq!(lines("--members 2 --d_common 8"), robust(2 * 2));
    // Options of the released code's method mean what they meant there.
    for option in [
        "--lr 0.1",
        "--alpha 0.1",
        "--combine_pred None",
        "--gamma 0.1",
    ] {
        assert_eq!(lines(option), paper(2), "{option}");
    }
    assert_eq!(lines("--recipe paper --members 2"), paper(2 * 2));
    assert_eq!(lines("--lr 0.1 --recipe robust"), robust(3 * 2));
}

#[test]
fn result_for_people_names_the_oracle() {
    let folder = folder();
    let out = passes(folder.path(), SHORT);
    for words in [
        "source",
        "30 × 3",
        "last epoch",
        "oracle",
        "mean ± standard deviation of 2",
    ] {
        assert!(out.contains(words), "{words:?} is not in:\n{out}");
    }
}

#[test]
fn a_run_that_pseudo_labels_stay_out_of_says_so() {
    let folder = folder();
    let run = |options: &str| passes(folder.path(), &format!("{SHORT} --recipe robust {options}"));
    let without = "trained without pseudo-labels";
    let out = run("--nepoch 20 --out with");
    assert!(!out.contains(without), "{out}");
    let soon = "train --nepoch 100 --partition 1 --select consensus --patience 2";
    let out = passes(folder.path(), soon);
    let early = format!("{without}: they begin after 70 epochs");
    assert!(out.contains(&early), "{out}");
    // Twenty classes, each with a row in each of three places, where neighbours are of all.
    for (name, cols) in [("source.csv", 3), ("target.csv", 4)] {
        domain(folder.path(), name, cols, 20, |row, _| row.to_string());
    }
    let out = run("--nepoch 20 --labelled-per-class 1 --out out");
    let apart = format!("{without}: by the networks' vote");
    assert!(out.contains(&apart), "{out}");

    // Without the labelled ones.
    let rows = |folder: &Path| -> Vec<Value> {
        let summary = std::fs::read(folder.join("summary.json")).unwrap();
        let summary: Value = serde_json::from_slice(&summary).unwrap();
        let partitions = summary["partitions"].as_array().unwrap().iter();
        partitions.map(|p| p["pseudo_labelled"].clone()).collect()
    };
    assert_eq!(rows(&folder.path().join("with")), [21, 21]);
    assert_eq!(rows(&folder.path().join("out")), [0, 0]);
}

#[test]
fn release_command_line_works_as_it_stands() {
    let folder = TempDir::new().unwrap();
    std::fs::create_dir(folder.path().join("datasets")).unwrap();
    let datasets = folder.path().join("datasets");
    domain(&datasets, "amazon_surf.csv", 3, 10, |_, class| {
        class.to_string()
    });
    domain(&datasets, "amazon_decaf.csv", 4, 10, |_, class| {
        class.to_string()
    });
    let line = "train --source amazon_surf --target amazon_decaf --cuda 0 --nepoch 3 --partition 2 \
                --prototype three --layer double --d_common 256 --optimizer mSGD --lr 0.1 \
                --alpha 0.1 --beta 0.004 --gamma 0.1 --combine_pred Cosine \
                --checkpoint_path checkpoint/ --temperature 5.0";
    let output = ssan(folder.path(), line);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let config = std::fs::read_to_string(folder.path().join("checkpoint/config.toml")).unwrap();
    assert!(config.contains("recipe = \"paper\"") && config.contains("normalise = \"l2\""));
    let kept = listing(&folder.path().join("checkpoint"));
    for p in [0, 1] {
        assert!(kept.contains(&format!("model-{p}.safetensors")));
    }

    // The same names are the defaults, and hyphens serve as well.
    passes(
        folder.path(),
        "train --source amazon_surf --nepoch 1 --partition 1 --d-common 8",
    );
    passes(
        folder.path(),
        "train --target amazon_decaf --nepoch 1 --partition 1 --combine-pred None --checkpoint-path c",
    );
}

#[test]
fn every_option_value_trains() {
    let folder = folder();
    for options in [
        "--layer single --optimizer SGD --prototype two",
        "--optimizer Adam --lr 0.001 --combine_pred Euclidean",
        "--combine_pred Cosine_threshold --alpha 0 --seed 7",
        "--combine_pred Euclidean_threshold --alpha 1",
        "--combine_pred None --gamma 0 --temperature 0.5",
        "--beta 0 --labelled-per-class 1 --device cpu",
        "--alignment margin --margin 0.5 --device auto",
        "--alignment margin",
    ] {
        passes(folder.path(), &format!("{SHORT} {options}"));
    }
}

#[test]
fn metrics_have_a_line_per_partition_and_epoch() {
    let folder = folder();
    let line = format!("{SHORT} --recipe paper --json --out run");
    let result = json(&passes(folder.path(), &line));
    let text = std::fs::read_to_string(folder.path().join("run/metrics.jsonl")).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(lines.len(), 2 * 5);
    let keys = [
        "partition",
        "epoch",
        "total",
        "source_ce",
        "hard",
        "soft",
        "adversarial",
        "alignment",
        "selected",
        "source_acc",
        "labelled_acc",
        "unlabelled_acc",
        "member",
        "pseudo_ce",
        "selected_correct",
    ];
    for line in &lines {
        let found: Vec<&str> = line
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(found.len(), keys.len());
        assert!(keys.iter().all(|k| line[*k].is_number()), "{line}");
        let term = |name: &str| line[name].as_f64().unwrap();
        let total = term("source_ce")
            + term("hard")
            + term("soft")
            + 0.1 * term("adversarial")
            + 0.004 * term("alignment");
        assert!((total - term("total")).abs() < 1e-5, "{line}");
    }
    let last = &lines[lines.len() - 1];
    assert_eq!(
        last["unlabelled_acc"],
        result["partitions"][1]["accuracy_last"]
    );
}

#[test]
fn same_seed_same_bytes_another_seed_others() {
    let folder = folder();
    let run = |name: &str, seed: usize| {
        passes(
            folder.path(),
            &format!("{SHORT} --out {name} --seed {seed}"),
        );
        let files = listing(&folder.path().join(name)).into_iter();
        let files = files.filter(|file| file != "config.toml" || seed == 1);
        let read = |file: String| {
            let bytes = std::fs::read(folder.path().join(name).join(&file)).unwrap();
            (file, bytes)
        };
        files.map(read).collect::<Vec<_>>()
    };
    let first = run("a", 1);
    // Not `assert_eq!`, which would print all bytes.
    assert!(first == run("b", 1), "other bytes from the same seed");
    assert!(first != run("c", 2), "the same bytes from another seed");
}

#[test]
fn training_starts_from_given_parameters() {
    let folder = folder();
    passes(folder.path(), &format!("{SHORT} --partition 1 --out kept"));
    let init = "--init kept/model-0.safetensors";
    passes(folder.path(), &format!("{SHORT} {init} --out m --seed 9"));
    let text = std::fs::read_to_string(folder.path().join("m/metrics.jsonl")).unwrap();
    let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    passes(folder.path(), &format!("{SHORT} --out n --seed 9"));
    let text = std::fs::read_to_string(folder.path().join("n/metrics.jsonl")).unwrap();
    let drawn: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert!(
        first["source_ce"].as_f64() < drawn["source_ce"].as_f64(),
        "five epochs ahead"
    );
    fails(
        folder.path(),
        &format!("{SHORT} {init} --d_common 9"),
        1,
        &["model-0.safetensors", "has shape"],
    );
    fails(
        folder.path(),
        &format!("{SHORT} --init source.csv"),
        1,
        &["source.csv", "safetensors"],
    );
    fails(
        folder.path(),
        &format!("{SHORT} --init none.safetensors"),
        1,
        &["none.safetensors"],
    );
}

#[test]
fn unlabelled_target_rows_are_the_ones_to_label() {
    let folder = folder();
    domain(folder.path(), "target.csv", 4, 10, |row, class| {
        if row < 2 {
            class.to_string()
        } else {
            String::new()
        }
    });
    let out = passes(folder.path(), SHORT);
    assert!(out.contains("6 labelled, 24 to label"), "{out}");
    assert!(
        out.contains("unknown"),
        "no accuracy without ground truth: {out}"
    );
    let result = json(&passes(folder.path(), &format!("{SHORT} --json")));
    assert!(result["mean_last"].is_null() && result["partitions"][0]["accuracy_best"].is_null());
}

#[test]
fn split_file_decides() {
    let folder = folder();
    let split = r#"{"source":[0,1,10,11,20,21],"labelled":[0,10,20],"unlabelled":[1,11,21,22]}"#;
    std::fs::write(folder.path().join("split.json"), split).unwrap();
    let out = passes(folder.path(), &format!("{SHORT} --split split.json"));
    assert!(
        out.contains("6 in use") && out.contains("3 labelled, 4 to label"),
        "{out}"
    );
    let wrong = split.replace("22]", "30]");
    std::fs::write(folder.path().join("split.json"), wrong).unwrap();
    fails(
        folder.path(),
        &format!("{SHORT} --split split.json"),
        1,
        &["split.json", "30"],
    );
}

#[test]
fn options_that_cannot_work_are_usage_errors() {
    let folder = folder();
    for (options, word) in [
        ("--nepoch 0", "--nepoch"),
        ("--partition 0", "--partition"),
        ("--d_common 0", "--d_common"),
        ("--lr 0", "--lr"),
        ("--lr nan", "--lr"),
        ("--lr 1e300", "--lr"),
        ("--alpha 1.5", "--alpha"),
        ("--beta=-1", "--beta"),
        ("--gamma inf", "--gamma"),
        ("--temperature 0", "--temperature"),
        ("--margin 0.3", "--alignment margin"),
        ("--alignment margin --margin=-1", "--margin"),
        (
            "--init model.safetensors --members 3",
            "leave --members out",
        ),
        ("--patience 5", "--select consensus"),
        ("--recipe paper --patience 5", "--select consensus"),
        ("--select last --patience 5", "--select consensus"),
        ("--select average --patience 5", "--select consensus"),
        ("--select best-test --patience 5", "--select consensus"),
        ("--select consensus --patience 0", "--patience 0"),
        ("--labelled-per-class 0", "--labelled-per-class"),
        ("--labelled-per-class 3 --split s.json", "--split"),
        ("--d_common 99999999999", "memory"),
        ("--d_common 18446744073709551615", "memory"),
        ("--partition 99999999", "memory"),
        ("--max-memory 8parsecs", "8GiB"),
        ("--max-memory -1", "8GiB"),
        ("--max-memory 0", "8GiB"),
        ("--max-memory 0.4B", "8GiB"),
        ("--max-memory GiB", "8GiB"),
        ("--max-memory 8", "fewer rows"),
        ("--max-memory 8", "--max-memory allows 8 B"),
        ("--layer triple", "triple"),
        ("--optimizer SGDm", "mSGD"),
        ("--combine_pred cosin", "Cosine"),
        ("--device gpu", "auto, cpu, cuda"),
        ("--device cuda:x", "auto, cpu, cuda"),
        ("--nepoch -3", "-3"),
        ("--frobnicate", "--frobnicate"),
    ] {
        fails(folder.path(), &format!("{SHORT} {options}"), 2, &[word]);
    }
}

/// Sizes with and without a unit or a space; what is too little even for one partition is refused
/// before anything is written.
#[test]
fn a_limit_of_memory_is_read_and_kept() {
    let folder = folder();
    for (size, bytes) in [
        ("8 GiB", 8 << 30),
        ("8g", 8_000_000_000i64),
        ("100.5MiB", 201 << 19),
        ("123456789", 123_456_789),
    ] {
        let line = format!("{SHORT} --out run --force --max-memory");
        let output = Command::new(env!("CARGO_BIN_EXE_ssan"))
            .args(line.split_whitespace().chain([size]))
            .current_dir(folder.path())
            .output()
            .unwrap();
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{size}: {error}");
        let config = std::fs::read_to_string(folder.path().join("run/config.toml")).unwrap();
        let kept = format!("max-memory = {bytes}\n");
        assert!(config.contains(&kept), "{size}: {config}");
    }
    let words = [
        "one partition at a time, needs about",
        "--max-memory allows 9.8 KiB",
    ];
    let line = format!("{SHORT} --partition 3 --out new --max-memory 10kB");
    fails(folder.path(), &line, 2, &words);
}

#[test]
fn data_that_cannot_work_are_named() {
    let folder = folder();
    let path = folder.path();
    let write = |name: &str, text: &str| std::fs::write(path.join(name), text).unwrap();
    write("empty.csv", "");
    write("nan.csv", "1,2,0\n3,nan,1\n4,5,0\n1,1,1\n");
    write("short.csv", "1,2,0\n3,1\n");
    write("words.csv", "1,2,cat\n3,4,dog\n");
    write("one.csv", "1,2,0\n3,4,0\n");
    write("few.csv", "1,2,0\n2,2,0\n3,4,1\n3,3,1\n4,4,2\n");
    write("mat.mat", "not a mat file at all");
    write("hdf.mat", "MATLAB 7.3 MAT-file, Platform: GLNXA64\n");
    write("zip.npz", "PK\u{3}\u{4} cut short");
    write("npy.npy", "\u{93}NUMPY");
    write("what.xlsx", "x");
    for (source, target, words) in [
        ("empty.csv", "target", &["empty.csv"][..]),
        ("nan.csv", "target", &["nan.csv", "column"]),
        ("short.csv", "target", &["short.csv"]),
        ("source", "words.csv", &["dog"]),
        ("one.csv", "one.csv", &["class"]),
        ("source", "few.csv", &["few", "--labelled-per-class"]),
        ("mat.mat", "target", &["mat.mat"]),
        ("hdf.mat", "target", &["7.3"]),
        ("zip.npz", "target", &["zip.npz"]),
        ("npy.npy", "target", &["npy.npy"]),
        ("what.xlsx", "target", &["what.xlsx"]),
    ] {
        let line = format!("train --data-dir . --nepoch 2 --source {source} --target {target}");
        fails(path, &line, 1, words);
    }
    fails(
        path,
        &format!("{SHORT} --label-column klass"),
        1,
        &["klass"],
    );
    fails(
        path,
        &format!("{SHORT} --split none.json"),
        1,
        &["none.json"],
    );
}

#[test]
fn output_that_cannot_be_written_fails_before_training() {
    let folder = folder();
    // Long enough that training first would be noticed.
    let long = SHORT.replace("--nepoch 5", "--nepoch 100000000");
    fails(
        folder.path(),
        &format!("{long} --out ."),
        1,
        &["holds", "no run", "--out"],
    );
    for file in ["source.csv", "source.csv/run"] {
        fails(
            folder.path(),
            &format!("{long} --checkpoint_path {file}"),
            1,
            &["source.csv"],
        );
    }
}

#[test]
fn missing_cuda_falls_back_visibly_or_fails_clearly() {
    let folder = folder();
    // Where there is a CUDA device, it is used, and nothing falls back.
    if let Ok(ssan::device::Chosen { device, .. }) =
        ssan::device::choose(ssan::device::Request::Cuda(0))
    {
        eprintln!("NOT RUN: falling back without CUDA, since there is {device}");
        return;
    }
    let output = ssan(folder.path(), &format!("{SHORT} --cuda 0 --json"));
    assert!(output.status.success());
    assert_eq!(json(&text(&output.stdout))["device"], "cpu");
    let notes = text(&output.stderr);
    let notes = notes
        .lines()
        .filter(|l| l.starts_with("note: ") && l.contains("CUDA"));
    assert_eq!(notes.count(), 1);
    fails(
        folder.path(),
        &format!("{SHORT} --device cuda"),
        1,
        &["CUDA", "--device cpu"],
    );
    fails(
        folder.path(),
        &format!("{SHORT} --device cuda:1"),
        1,
        &["CUDA"],
    );
    // --device decides.
    let output = ssan(folder.path(), &format!("{SHORT} --device cpu --cuda 0"));
    assert!(!text(&output.stderr).contains("CUDA"));
}

#[test]
fn a_precision_of_cuda_devices_alone_is_told_on_the_cpu() {
    let folder = folder();
    let at = folder.path();
    let said = |more: &str| {
        let output = ssan(at, &format!("{SHORT} --device cpu {more}"));
        assert!(output.status.success());
        text(&output.stderr).contains("note: --precision tf32 is for CUDA devices")
    };
    assert!(said("--precision tf32 --out a"));
    assert!(!said("--precision fp32 --out b"));
    let words = ["--precision", "fp32, tf32 or bf16"];
    fails(at, &format!("{SHORT} --precision fp16"), 2, &words);
    // A recipe would be one by name alone beside what the other's run has written.
    let words = ["a/config.toml", "lr", "--recipe paper would not change"];
    fails(
        at,
        "train --config a/config.toml --recipe paper --out d",
        1,
        &words,
    );
    // It goes on in the same precision, and says so again.
    let said = text(&ssan(at, "train --config a/config.toml --out c").stderr);
    assert!(said.contains("--precision tf32"), "{said}");
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let folder = folder();
    let mut child = Command::new(env!("CARGO_BIN_EXE_ssan"))
        .args(SHORT.split_whitespace())
        .current_dir(folder.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(!text(&output.stderr).contains("panicked"));
    assert!(output.status.code().is_some());
}

#[test]
fn devices_are_listed() {
    let folder = TempDir::new().unwrap();
    let out = passes(folder.path(), "devices");
    for start in ["cpu", "cuda", "NVRTC", "auto"] {
        let listed = out.lines().any(|line| line.starts_with(start));
        assert!(listed, "{start:?} begins no line of:\n{out}");
    }
}

/// The labels in the file are those whose accuracy is reported, for every partition.
#[test]
fn predictions_label_the_unlabelled_rows() {
    let folder = folder();
    let line = format!("{SHORT} --nepoch 40 --lr 0.5 --out run --json");
    let result = json(&passes(folder.path(), &line));
    let table = std::fs::read_to_string(folder.path().join("run/predictions.csv")).unwrap();
    let mut lines = table.lines();
    let header = "row,partition,class,probability,prototypes_agree";
    assert_eq!(lines.next(), Some(header));
    let cells: Vec<Vec<&str>> = lines.map(|l| l.split(',').collect()).collect();
    let right =
        |c: &&Vec<&str>| c[0].parse::<usize>().unwrap() / 10 == c[2].parse::<usize>().unwrap();
    for partition in 0..2 {
        let of = |c: &&Vec<&str>| c[1] == partition.to_string();
        let rows = cells.iter().filter(of);
        assert_eq!(rows.clone().count(), 21, "three of each class are labelled");
        let accuracy = 100.0 * rows.filter(right).count() as f64 / 21.0;
        let told = result["partitions"][partition]["accuracy_last"].as_f64();
        approx::assert_relative_eq!(accuracy, told.unwrap(), max_relative = 1e-12);
    }
    let votes = cells.iter().filter(|c| c[1] == "vote");
    assert!((21..=30).contains(&votes.count()));
    for cell in &cells {
        let probability: f64 = cell[3].parse().unwrap();
        assert!((1.0 / 3.0 - 1e-6..=1.0).contains(&probability), "{cell:?}");
        assert!(cell[4] == "true" || cell[4] == "false");
    }
}
