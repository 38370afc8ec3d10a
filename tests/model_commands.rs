//! `ssan predict`, `evaluate` and `inspect` as a user meets them, after `ssan train`.

#[path = "common/command.rs"]
mod command;

use std::fmt::Write;
use std::path::Path;

use command::ssan;
use serde_json::Value;
use tempfile::TempDir;

/// Runs what must succeed; standard output.
fn passes(folder: &Path, line: &str) -> String {
    let output = ssan(folder, line);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{line}: {error}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Runs what must fail with `code` and a line on standard error that has all of `words`.
fn fails(folder: &Path, line: &str, code: i32, words: &[&str]) {
    let output = ssan(folder, line);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{line}: {error}");
    let lines = error.lines().filter(|l| l.starts_with("error: "));
    assert_eq!(lines.count(), 1, "{line}: one line of error: {error}");
    for word in words {
        assert!(error.contains(word), "{line}: {word:?} is not in: {error}");
    }
}

fn json(folder: &Path, line: &str) -> Value {
    serde_json::from_str(&passes(folder, line)).expect("JSON")
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
}

/// A .csv of 10 rows near one axis for each of three classes, in `cols` columns and the label.
fn domain(cols: usize, label: impl Fn(usize) -> String) -> String {
    let mut csv = String::new();
    for class in 0..3 {
        for row in 0..10 {
            for col in 0..cols {
                let noise = ((row * 7 + col * 3 + class) % 5) as f64 / 20.0;
                let x = if col == class { 1.0 } else { 0.0 } + noise;
                write!(csv, "{x},").unwrap();
            }
            writeln!(csv, "{}", label(class)).unwrap();
        }
    }
    csv
}

/// A folder with `source.csv` (3 features), `target.csv` (4), and a run of two partitions of two
/// networks in `run`.
fn trained() -> TempDir {
    let folder = TempDir::new().unwrap();
    let class = |class: usize| ["ant", "bee", "cat"][class].to_string();
    write(folder.path(), "source.csv", &domain(3, class));
    write(folder.path(), "target.csv", &domain(4, class));
    let line = "train --source source --target target --data-dir . --nepoch 60 --partition 2 \
                --members 2 --recipe robust --d_common 8 --out run";
    passes(folder.path(), line);
    folder
}

/// The cells of a .csv, without its header.
fn cells(text: &str) -> Vec<Vec<String>> {
    let lines = text.lines().skip(1);
    lines
        .map(|line| line.split(',').map(str::to_string).collect())
        .collect()
}

/// Where both files name their features, they must be in one order: models go by the place.
#[test]
fn columns_in_another_order_are_refused() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    let named = |header: &str, cols| format!("{header}\n{}", domain(cols, |k| k.to_string()));
    write(at, "source.csv", &named("x,y,z,class", 3));
    write(at, "target.csv", &named("a,b,c,d,class", 4));
    let line = "train --source source --target target --data-dir . --nepoch 3 --partition 1 \
                --d_common 4 --out run";
    passes(at, line);
    passes(at, "predict run --input target.csv");
    passes(at, "predict run --input source.csv --domain source");
    write(at, "plain.csv", &domain(4, |k| k.to_string()));
    passes(at, "predict run --input plain.csv");
    write(at, "swapped.csv", &named("a,c,b,d,class", 4));
    let words = ["swapped.csv: feature 2 is c", "trained on b there"];
    for command in ["predict", "evaluate"] {
        fails(at, &format!("{command} run --input swapped.csv"), 1, &words);
    }
}

/// On the rows that a run was trained on, its models say what the run said.
#[test]
fn predictions_are_those_of_the_run() {
    let folder = trained();
    let at = folder.path();
    let said = cells(&std::fs::read_to_string(at.join("run/predictions.csv")).unwrap());
    for (partition, model) in [
        ("0", "run/model-0.safetensors"),
        ("1", "run/model-1.safetensors"),
    ] {
        let out = passes(at, &format!("predict {model} --input target.csv"));
        assert_eq!(
            out.lines().next().unwrap(),
            "row,class,probability,prototypes_agree"
        );
        let found = cells(&out);
        assert_eq!(found.len(), 30);
        let own: Vec<_> = said.iter().filter(|line| line[1] == partition).collect();
        assert_eq!(own.len(), 30 - 9);
        for line in own {
            let found = &found[line[0].parse::<usize>().unwrap()];
            assert_eq!(
                (&found[0], &found[1], &found[3]),
                (&line[0], &line[2], &line[4])
            );
            let [a, b] = [&found[2], &line[3]].map(|p| p.parse::<f64>().unwrap());
            assert!((a - b).abs() < 1e-5, "{a} and {b}");
        }
    }
    let out = passes(at, "predict run --input target.csv --out vote.csv");
    assert!(
        out.contains("30 target rows labelled by 2 models (4 networks): vote.csv"),
        "{out}"
    );
    let found = cells(&std::fs::read_to_string(at.join("vote.csv")).unwrap());
    assert!(found[..10].iter().all(|line| line[1] == "ant"));
    assert!(found[20..].iter().all(|line| line[1] == "cat"));
}

/// Labels are what `predict` is for: those of the file need not be any.
#[test]
fn predictions_need_no_labels() {
    let folder = trained();
    let at = folder.path();
    let expected = passes(at, "predict run --input target.csv");
    let grades = |k: usize| format!("{}.5", k + 1);
    write(at, "grades.csv", &domain(4, grades));
    let line = "run --input grades.csv";
    assert_eq!(passes(at, &format!("predict {line}")), expected);
    let output = ssan(at, &format!("predict {line}"));
    let notes = String::from_utf8_lossy(&output.stderr);
    assert!(
        notes.contains("labels are left out: line 1: 1.5 is no label"),
        "{notes}"
    );
    fails(at, &format!("evaluate {line}"), 1, &["1.5 is no label"]);
}

/// The vote is of all partitions that the run has splits for, and of nothing else.
#[test]
fn a_vote_needs_the_models_of_all_partitions() {
    let folder = trained();
    let at = folder.path();
    let [first, last, foreign] = [0, 1, 2].map(|p| at.join(format!("run/model-{p}.safetensors")));
    let fail = |words: &[&str]| {
        for command in ["predict", "evaluate"] {
            fails(at, &format!("{command} run --input target.csv"), 1, words);
        }
    };
    std::fs::copy(&first, &foreign).unwrap();
    fail(&["model-2.safetensors is none of this run's, which has 2 partitions"]);
    let shown = passes(at, "inspect run");
    for words in [
        "deviation of 2 partitions)",
        "3 models for 2 partitions, each:",
    ] {
        assert!(shown.contains(words), "{words:?} is not in:\n{shown}");
    }
    std::fs::remove_file(&foreign).unwrap();
    std::fs::remove_file(&last).unwrap();
    fail(&["run: model-1.safetensors is missing: the vote needs all 2 partitions"]);
    let shown = passes(at, "inspect run");
    for words in [
        "deviation of 2 partitions)",
        "1 model for 2 partitions, each:",
    ] {
        assert!(shown.contains(words), "{words:?} is not in:\n{shown}");
    }
    // As it is where there is no room for the last model.
    std::fs::remove_file(at.join("run/summary.json")).unwrap();
    std::fs::remove_file(at.join("run/predictions.csv")).unwrap();
    fail(&["partitions left to train: ssan train --resume run goes on"]);
    passes(at, "train --resume run");
    passes(at, "predict run --input target.csv");

    write(&at.join("run"), "splits.json", "{");
    fail(&["splits.json: is no list of splits"]);
    fails(at, "inspect run", 1, &["splits.json: is no list of splits"]);
}

/// What is there stays, unless it is asked to be replaced; what is read and what is a run's always.
#[test]
fn predictions_replace_no_file_unasked() {
    let folder = trained();
    let at = folder.path();
    let read = |name: &str| std::fs::read(at.join(name)).unwrap();
    let (samples, own) = (read("target.csv"), read("run/predictions.csv"));
    let line = "predict run --input target.csv --out";
    write(at, "mine.csv", "mine");
    let words = ["mine.csv: is there already", "--force", "--out"];
    fails(at, &format!("{line} mine.csv"), 1, &words);
    assert_eq!(read("mine.csv"), b"mine");
    passes(at, &format!("{line} mine.csv --force"));
    assert_ne!(read("mine.csv"), b"mine");

    std::fs::copy(at.join("run/model-0.safetensors"), at.join("model.csv")).unwrap();
    #[cfg(unix)]
    for (to, link) in [("target.csv", "samples.csv"), ("run/summary.json", "x.csv")] {
        std::os::unix::fs::symlink(to, at.join(link)).unwrap();
    }
    #[cfg(unix)]
    for (out, word) in [
        ("samples.csv", "the samples"),
        ("x.csv", "belongs to the run"),
    ] {
        fails(at, &format!("{line} {out} --force"), 1, &[out, word]);
    }
    for (line, words) in [
        (
            format!("{line} target.csv"),
            "target.csv: holds the samples",
        ),
        (format!("{line} ./run/../target.csv"), "holds the samples"),
        (
            line.replace("run", "model.csv") + " model.csv",
            "model.csv: holds the model",
        ),
        (format!("{line} run/predictions.csv"), "belongs to the run"),
    ] {
        for force in ["", " --force"] {
            fails(at, &format!("{line}{force}"), 1, &[words, "--out"]);
        }
    }
    assert!(read("target.csv") == samples && read("run/predictions.csv") == own);
    // One that the run has not written yet is its own already.
    std::fs::remove_file(at.join("run/predictions.csv")).unwrap();
    let words = ["run/predictions.csv: belongs to the run"];
    fails(at, &format!("{line} run/predictions.csv"), 1, &words);
    passes(at, &format!("{line} run/labels.csv"));
}

/// `.npy` has the probabilities, whose largest are the classes of the `.csv`.
#[test]
fn probabilities_as_an_array() {
    let folder = trained();
    let at = folder.path();
    passes(
        at,
        "predict run --input source.csv --domain source --out p.npy",
    );
    let labels = cells(&passes(
        at,
        "predict run --input source.csv --domain source",
    ));
    let bytes = std::fs::read(at.join("p.npy")).unwrap();
    let array = npyz::NpyFile::new(&bytes[..]).unwrap();
    assert_eq!(array.shape(), [30, 3]);
    let values = array.into_vec::<f32>().unwrap();
    let classes = ["ant", "bee", "cat"];
    for (row, label) in values.chunks_exact(3).zip(&labels) {
        assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        let k = classes.iter().position(|class| *class == label[1]).unwrap();
        assert!(row.iter().all(|&p| p <= row[k]));
        assert!((f64::from(row[k]) - label[2].parse::<f64>().unwrap()).abs() < 1e-6);
    }
}

#[test]
fn what_does_not_fit_is_told() {
    let folder = trained();
    let at = folder.path();
    let sizes = "the model takes 3 source or 4 target features, this file has";
    fails(
        at,
        "predict run --input source.csv",
        1,
        &[sizes, "3; it fits --domain source"],
    );
    let line = "predict run --input target.csv --domain source";
    fails(at, line, 1, &[sizes, "4; it fits --domain target"]);
    // All columns are features here, the last is no label.
    let bare: String = (0..5).map(|i| format!("{i},1,0.5,2\n")).collect();
    write(at, "bare.csv", &bare);
    passes(at, "predict run --input bare.csv --label-column none");
    write(at, "wide.csv", "9,2,3,4,5,6,7\n");
    fails(
        at,
        "predict run --input wide.csv",
        1,
        &[sizes, "6; it fits neither"],
    );
    write(at, "narrow.csv", "9,2,3\n");
    let words = [
        sizes,
        "2; it fits neither; with --label-column none it has one more",
    ];
    fails(at, "predict run --input narrow.csv", 1, &words);
    write(at, "columns.csv", &"9,2,1,5,6,7\n".repeat(4));
    let words = [
        sizes,
        "5; it fits neither; it has 4 rows",
        "a sample per column?",
    ];
    fails(at, "predict run --input columns.csv", 1, &words);
    write(at, "narrow.csv", "9,2,3,4\n");
    let words = [sizes, "3; it fits --domain source"];
    fails(at, "predict run --input narrow.csv", 1, &words);
    passes(at, "predict run --input narrow.csv --label-column none");

    fails(
        at,
        "predict run --input target.csv --out p.txt",
        2,
        &[".csv or .npy"],
    );
    fails(
        at,
        "predict run --input absent.csv --out p.csv",
        1,
        &["absent.csv"],
    );
    assert!(!at.join("p.csv").exists());
    fails(
        at,
        "predict target.csv --input target.csv",
        1,
        &["not a safetensors file"],
    );
    fails(
        at,
        "predict . --input target.csv",
        1,
        &["no model is in this folder", "model-0"],
    );

    // A vote of what does not belong together, or is not complete.
    std::fs::create_dir(at.join("mixed")).unwrap();
    let line = "train --source source --target target --data-dir . --nepoch 1 --partition 1 \
                --d_common 8 --out other";
    write(
        at,
        "target.csv",
        &domain(5, |k| ["ant", "bee", "cat"][k].to_string()),
    );
    passes(at, line);
    for (from, to) in [
        ("run/model-0", "mixed/model-0"),
        ("other/model-0", "mixed/model-1"),
    ] {
        let path = |name: &str| at.join(format!("{name}.safetensors"));
        std::fs::copy(path(from), path(to)).unwrap();
    }
    let words = ["model-1", "other classes or dimensions", "model-0"];
    fails(at, "predict mixed --input source.csv", 1, &words);
    std::fs::remove_file(at.join("mixed/model-0.safetensors")).unwrap();
    fails(
        at,
        "predict mixed --input source.csv",
        1,
        &["model-0.safetensors is missing: the vote needs all partitions"],
    );
}

#[test]
fn evaluation_counts_what_predictions_say() {
    let folder = trained();
    let at = folder.path();
    // A row of "bee" is called "ant", one has no label.
    let text = domain(4, |k| ["ant", "bee", "cat"][k].to_string());
    let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
    lines[10] = lines[10].replace("bee", "ant");
    lines[29] = lines[29].replace("cat", "");
    write(at, "new.csv", &lines.join("\n"));
    let found = json(at, "evaluate run --input new.csv --json");
    assert_eq!(found["domain"], "target");
    assert_eq!(
        (found["samples"].as_u64(), found["rows"].as_u64()),
        (Some(30), Some(29))
    );
    assert_eq!(
        (found["models"].as_u64(), found["networks"].as_u64()),
        (Some(2), Some(4))
    );
    assert_eq!(found["classes"], serde_json::json!(["ant", "bee", "cat"]));
    let predicted = cells(&passes(at, "predict run --input new.csv"));
    let mut confusion = [[0u64; 3]; 3];
    let index = |name: &str| ["ant", "bee", "cat"].iter().position(|c| *c == name);
    for (line, predicted) in lines.iter().zip(&predicted) {
        if let Some(truth) = index(line.rsplit(',').next().unwrap()) {
            confusion[truth][index(&predicted[1]).unwrap()] += 1;
        }
    }
    assert_eq!(found["confusion"], serde_json::json!(confusion));
    let right: u64 = (0..3).map(|k| confusion[k][k]).sum();
    assert!((25..29).contains(&right), "{confusion:?}");
    let accuracy = found["accuracy"].as_f64().unwrap();
    assert!((accuracy - 100.0 * right as f64 / 29.0).abs() < 1e-9);
    assert_eq!(found["model_accuracies"].as_array().unwrap().len(), 2);
    for key in ["macro_f1", "calibration_error", "prototypes_agree"] {
        assert!(
            (0.0..=100.0).contains(&found[key].as_f64().unwrap()),
            "{key}"
        );
    }

    let shown = passes(
        at,
        "evaluate run/model-0.safetensors --input source.csv --domain source",
    );
    for words in [
        "30 labelled source rows, 1 model (2 networks)",
        "macro-F1",
        "as cat",
        "15 bins",
    ] {
        assert!(shown.contains(words), "{words:?} is not in:\n{shown}");
    }

    write(
        at,
        "new.csv",
        &domain(4, |k| ["ant", "dog", "cat"][k].to_string()),
    );
    let words = ["new.csv", "does not know: dog", "it knows ant, bee, cat"];
    fails(at, "evaluate run --input new.csv", 1, &words);
    write(at, "new.csv", &domain(4, |_| String::new()));
    fails(
        at,
        "evaluate run --input new.csv",
        1,
        &["no labels to compare with"],
    );
}

/// Of more classes than a whole table of them could show: how often each is right, and what it is
/// mostly taken for.
#[test]
fn evaluation_of_many_classes() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    let class = |k: usize| format!("c{k:02}");
    // A column for each class; `truth` is the label of a row near the axis of class `k`.
    let domain = |truth: &dyn Fn(usize, usize) -> String| {
        let mut csv = String::new();
        for k in 0..20 {
            for row in 0..6 {
                for col in 0..20 {
                    let noise = ((row * 7 + col * 3 + k) % 5) as f64 / 50.0;
                    write!(csv, "{},", if col == k { 1.0 } else { 0.0 } + noise).unwrap();
                }
                writeln!(csv, "{}", truth(k, row)).unwrap();
            }
        }
        csv
    };
    write(at, "data.csv", &domain(&|k, _| class(k)));
    let line = "train --source data --target data --data-dir . --nepoch 120 --partition 1 \
                --recipe robust --members 1 --d_common 32 --out run";
    passes(at, line);
    let all = passes(at, "evaluate run --input data.csv");
    let right = |line: &str| line.split_whitespace().eq(["accuracy", "100.00", "%"]);
    assert!(all.lines().any(right), "the rest counts on it:\n{all}");

    // Rows of class 0 are near the axes of 3 (three of them), 2 (two), 1 and 4 (one each), and none
    // is near its own; all rows of class 5 but one are right; class 6 has none.
    let text = domain(&|k, row| match (k, row) {
        (0, _) | (6, _) => String::new(),
        (3, 0..3) | (2, 0..2) | (1, 0) | (4, 0) => class(0),
        (7, 0) => class(5),
        _ => class(k),
    });
    write(at, "new.csv", &text);
    let shown = passes(at, "evaluate run --input new.csv");
    let row = |name: &str| -> Vec<String> {
        let line = shown
            .lines()
            .find(|l| l.split_whitespace().next() == Some(name));
        let words = line.unwrap_or_else(|| panic!("no {name} in:\n{shown}"));
        words.split_whitespace().map(str::to_string).collect()
    };
    assert_eq!(row("class").join(" "), "class rows right % most taken for");
    assert_eq!(row("c00").join(" "), "c00 7 0.0 c03 (3), c02 (2), c01 (1)");
    assert_eq!(row("c05").join(" "), "c05 7 85.7 c07 (1)");
    assert_eq!(row("c06").join(" "), "c06 0 –");
    assert_eq!(row("c19").join(" "), "c19 6 100.0");
    assert!(!shown.contains("as c01"), "{shown}");
}

#[test]
fn inspection_of_data() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    write(
        at,
        "d.csv",
        "width,kind,height\n1,a,0\n2,b,1\n0,,0\n4,a,0\n",
    );
    let found = json(at, "inspect d.csv --label-column kind --json");
    assert_eq!(found["kind"], "data");
    assert_eq!(found["fields"].as_array().unwrap().len(), 3);
    assert_eq!(found["fields"][1]["role"], "labels");
    let reading = &found["reading"];
    assert_eq!(
        (&reading["samples"], &reading["features"]),
        (&4.into(), &2.into())
    );
    assert_eq!(reading["classes"], serde_json::json!([["a", 2], ["b", 1]]));
    assert_eq!(
        (&reading["unlabelled"], &reading["zero_rows"]),
        (&1.into(), &1.into())
    );
    assert_eq!(reading["zeros"], 4.0 / 8.0);
    assert_eq!(reading["frequencies"], true);
    assert_eq!(reading["as_source"], "3 samples of 2 classes");
    assert_eq!(reading["as_target"], "3 labelled samples, 1 to label");
    let shown = passes(at, "inspect d.csv --label-column kind");
    for words in [
        "column 2 `kind`",
        "4 × 2",
        "2: a (2), b (1)",
        "50.0 % of the features",
        "frequencies: --normalise auto",
    ] {
        assert!(shown.contains(words), "{words:?} is not in:\n{shown}");
    }

    let shown = passes(
        at,
        "inspect d.csv --label-column kind --ignore-columns height",
    );
    assert!(shown.contains("column 3 `height`"), "{shown}");
    assert!(shown.contains("left out"), "{shown}");

    write(at, "i.csv", ",0,1,label\n0,1,2,a\n1,2,1,b\n");
    let found = json(at, "inspect i.csv --json");
    let roles = found["fields"].as_array().unwrap().iter();
    let roles: Vec<&Value> = roles.map(|field| &field["role"]).collect();
    assert_eq!(roles, [&Value::Null, &"features".into(), &"labels".into()]);
    assert_eq!(found["reading"]["features"], 2);

    for (rows, kind) in [
        ("0.5,1.5,a\n2.5,1.0,b\n", "measurements"),
        ("5,15,a\n25,10,b\n", "frequencies"),
    ] {
        write(at, "m.csv", rows);
        let shown = passes(at, "inspect m.csv");
        assert!(
            shown.contains(&format!("{kind}: --normalise auto")),
            "{shown}"
        );
    }

    // What cannot be trained on can be looked at, what cannot be read not.
    let shown = passes(at, "inspect d.csv");
    assert!(
        shown.contains("train cannot read it: line 2, column 2"),
        "{shown}"
    );
    write(at, "e.npz", "no archive");
    fails(at, "inspect e.npz", 1, &["e.npz", "no .npz archive"]);
    fails(at, "inspect f.txt", 1, &["f.txt", "unknown extension"]);
    fails(at, "inspect .", 1, &["is no run's folder"]);
}

/// Columns instead of rows, several parts, as MATLAB files have them.
#[test]
fn inspection_of_matlab_files() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let found = json(&data, "inspect transposed.mat --json");
    let features = found["fields"]
        .as_array()
        .unwrap()
        .iter()
        .find(|f| f["role"] == "features");
    let shape = &features.unwrap()["shape"];
    assert_eq!(
        (&shape[1], &shape[0]),
        (&found["reading"]["samples"], &found["reading"]["features"])
    );
    let notes = found["reading"]["notes"].to_string();
    assert!(notes.contains("transposed"), "{notes}");
    let shown = passes(&data, "inspect parts.mat");
    assert!(shown.contains("train cannot read it"), "{shown}");
}

/// A file as NumPy writes it.
fn npy(folder: &Path, name: &str, kind: &str, shape: &str, data: &[u8]) {
    let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    std::fs::write(folder.join(name), bytes).unwrap();
}

#[test]
fn inspection_of_a_single_array() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    let values: Vec<u8> = (0..12u8)
        .flat_map(|i| f64::from(i / 3).to_le_bytes())
        .collect();
    npy(at, "rows.npy", "<f8", "(4, 3)", &values);
    let found = json(at, "inspect rows.npy --json");
    assert_eq!(
        (&found["kind"], &found["format"]),
        (&"data".into(), &"npy".into())
    );
    let field = serde_json::json!({
        "name": "rows", "shape": [4, 3], "type": "<f8", "role": "features"
    });
    assert_eq!(found["fields"], serde_json::json!([field]));
    let reading = &found["reading"];
    for (key, value) in [
        ("samples", 4),
        ("features", 3),
        ("unlabelled", 4),
        ("zero_rows", 1),
    ] {
        assert_eq!(reading[key], value, "{key}");
    }
    assert_eq!(reading["zeros"], 0.25);
    assert_eq!(reading["classes"], serde_json::json!([]));
    let shown = passes(at, "inspect rows.npy");
    for words in [
        "4 × 3",
        "25.0 % of the features",
        "cannot serve: training needs its labels",
        "note: a .npy file has no labels",
    ] {
        assert!(shown.contains(words), "{words:?} is not in:\n{shown}");
    }

    // What cannot be features is shown, and why.
    for (name, kind, shape, data, cause) in [
        (
            "line",
            "<f8",
            "(12,)",
            &values[..],
            "two dimensions are needed",
        ),
        (
            "cube",
            "<f8",
            "(2, 2, 3)",
            &values[..],
            "two dimensions are needed",
        ),
        ("text", "|S8", "(4, 3)", &[b'a'; 96][..], "holds text"),
        ("latin", "|S8", "(4, 3)", &[0xe4; 96][..], "text in UTF-8"),
        ("nan", "<f8", "(1, 1)", &f64::NAN.to_le_bytes(), "finite"),
    ] {
        npy(at, &format!("{name}.npy"), kind, shape, data);
        let found = json(at, &format!("inspect {name}.npy --json"));
        assert!(found["reading"].is_null(), "{name}");
        assert!(
            found["refusal"].as_str().unwrap().contains(cause),
            "{found}"
        );
        let shown = passes(at, &format!("inspect {name}.npy"));
        assert!(shown.contains("train cannot read it: "), "{shown}");
    }
    npy(at, "short.npy", "<f8", "(4, 3)", &values[1..]);
    let found = json(at, "inspect short.npy --json");
    assert!(
        found["refusal"].as_str().unwrap().contains("is truncated"),
        "{found}"
    );
    write(at, "none.npy", "no array");
    fails(at, "inspect none.npy", 1, &["none.npy", "not a .npy array"]);
}

/// As other programs write initial parameters for `--init`.
#[test]
fn inspection_of_parameters_alone() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    let header = r#"{"source.0.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},
        "source.0.bias":{"dtype":"F64","shape":[2],"data_offsets":[24,40]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend([0; 40]);
    std::fs::write(at.join("p.safetensors"), &bytes).unwrap();
    let found = json(at, "inspect p.safetensors --json");
    let expected = serde_json::json!({"kind": "parameters", "tensors": [
        {"name": "source.0.bias", "shape": [2], "type": "F64"},
        {"name": "source.0.weight", "shape": [2, 3], "type": "F32"},
    ]});
    assert_eq!(found, expected);
    let shown = passes(at, "inspect p.safetensors");
    let lines: Vec<Vec<&str>> = shown
        .lines()
        .map(|l| l.split_whitespace().collect())
        .collect();
    assert_eq!(lines[0].join(" "), "parameters alone, no trained model");
    assert_eq!(lines[1], ["source.0.bias", "2", "F64"]);
    assert_eq!(lines[2], ["source.0.weight", "2", "×", "3", "F32"]);
    assert_eq!(lines.len(), 3);

    bytes.pop();
    std::fs::write(at.join("p.safetensors"), &bytes).unwrap();
    fails(
        at,
        "inspect p.safetensors",
        1,
        &["p.safetensors", "not a safetensors file"],
    );
    fails(
        at,
        "predict p.safetensors --input p.safetensors",
        1,
        &["p.safetensors"],
    );
}

#[test]
fn inspection_of_models_and_runs() {
    let folder = trained();
    let at = folder.path();
    let found = json(at, "inspect run/model-1.safetensors --json");
    assert_eq!(found["kind"], "model");
    for (key, value) in [
        ("source", "source"),
        ("target", "target"),
        ("layers", "double"),
    ] {
        assert_eq!(found[key], value);
    }
    for (key, value) in [
        ("source_features", 3),
        ("target_features", 4),
        ("common", 8),
        ("networks", 2),
    ] {
        assert_eq!(found[key], value);
    }
    assert_eq!(found["classes"], serde_json::json!(["ant", "bee", "cat"]));
    assert_eq!(found["prototypes"], "cosine");
    let rows = serde_json::json!({"source": "root-l2-centre-l2", "target": "root-l2-centre-l2"});
    assert_eq!(found["normalisation"], rows);

    let found = json(at, "inspect run --json");
    assert_eq!(
        (&found["kind"], &found["state"]),
        (&"run".into(), &"finished".into())
    );
    assert_eq!(
        (&found["models"], &found["model"]["common"]),
        (&2.into(), &8.into())
    );
    assert!(found["summary"]["mean_last"].as_f64().unwrap() > 50.0);
    let shown = passes(at, "inspect run");
    for words in [
        "a run that has ended",
        "2 models, each",
        "ant, bee, cat",
        "mean ± standard",
    ] {
        assert!(shown.contains(words), "{words:?} is not in:\n{shown}");
    }
    write(&at.join("run"), "summary.json", "{");
    fails(at, "inspect run", 1, &["summary.json", "is no summary"]);
}
