//! `ssan report`: a page that holds what the run's files say, and refuses what it cannot read.

#[path = "common/command.rs"]
mod command;

use std::path::Path;

use command::ssan;
use serde_json::Value;
use tempfile::TempDir;

const RUN: &str = "train --recipe robust --nepoch 30 --partition 2 --members 2 --d_common 8";

fn passes(folder: &Path, line: &str) -> String {
    let output = ssan(folder, line);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{line}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

fn fails(folder: &Path, line: &str, words: &[&str]) {
    let output = ssan(folder, line);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{line}: {error}");
    assert!(error.starts_with("error: ") && error.lines().count() == 1);
    for word in words {
        assert!(error.contains(word), "{line}: {word:?} is not in {error}");
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// The page's SVGs, each whole and well-formed.
fn plots(page: &str) -> usize {
    let mut rest = page;
    let mut plots = 0;
    while let Some(at) = rest.find("<svg") {
        let end = rest[at..].find("</svg>").unwrap() + 6;
        let svg = &rest[at..at + end];
        roxmltree::Document::parse(svg).unwrap();
        assert!(svg.contains("viewBox") && svg.contains("aria-label"));
        plots += 1;
        rest = &rest[at + end..];
    }
    plots
}

/// Nothing is fetched from anywhere.
fn stands_alone(page: &str) {
    assert!(page.starts_with("<!DOCTYPE html>"));
    for word in [
        "<script", "<link", "<img", "src=", "href=", "@import", "url(",
    ] {
        assert!(!page.contains(word), "{word}");
    }
    let addresses = page.matches("http").count();
    assert_eq!(
        addresses,
        page.matches("http://www.w3.org/2000/svg").count()
    );
}

#[test]
fn a_page_tells_what_the_run_s_files_say() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    passes(
        at,
        &format!("{RUN} --baseline target-only --select consensus --out run"),
    );
    let page = read(&at.join("run/report.html"));
    stands_alone(&page);
    assert_eq!(plots(&page), 8);
    let summary: Value = serde_json::from_str(&read(&at.join("run/summary.json"))).unwrap();
    let percent = |value: &Value| format!("{:.1}", value.as_f64().unwrap());
    for partition in summary["partitions"].as_array().unwrap() {
        let mut row = format!("<tr><td>{}</td>", partition["partition"]);
        for field in ["accuracy_last", "accuracy_chosen"] {
            row += &format!("<td>{}</td>", percent(&partition[field]));
        }
        row += &format!("<td>{}</td>", partition["epoch_chosen"]);
        assert!(page.contains(&row), "{row}");
    }
    let control = &summary["controls"][0];
    for (mean, std) in [
        (&summary["mean_chosen"], &summary["std_chosen"]),
        (&control["mean"], &control["std"]),
    ] {
        let shown = format!("<td>{} ± {}</td>", percent(mean), percent(std));
        assert!(page.contains(&shown), "{shown}");
    }
    // Rows of class 0 in both partitions together, and those labelled right.
    let confusion = |p: usize, k: usize| {
        let row = &summary["partitions"][p]["evaluation"]["confusion"][0][k];
        row.as_u64().unwrap()
    };
    let rows: u64 = (0..10).map(|k| confusion(0, k) + confusion(1, k)).sum();
    let right = 100.0 * (confusion(0, 0) + confusion(1, 0)) as f64 / rows as f64;
    let shown = format!("<tr><td>0</td><td>{rows}</td><td>{right:.1}</td>");
    assert!(page.contains(&shown), "{shown}");
    assert!(page.contains("prefers-color-scheme: dark") && page.contains("name=\"viewport\""));

    // Asked for again, it is the same.
    std::fs::remove_file(at.join("run/report.html")).unwrap();
    assert_eq!(
        passes(at, "report run").trim(),
        Path::new("run/report.html").to_str().unwrap()
    );
    assert!(page == read(&at.join("run/report.html")), "another page");
    std::fs::remove_file(at.join("run/report.html")).unwrap();
    passes(at, "train --resume run");
    assert!(page == read(&at.join("run/report.html")), "another page");
}

#[test]
fn runs_stand_beside_each_other() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    passes(at, &format!("{RUN} --out one"));
    passes(
        at,
        "train --recipe paper --nepoch 5 --partition 1 --d_common 4 --out other",
    );
    let told = passes(at, "report one other --svg plots");
    assert_eq!(told.lines().count(), 1 + 17, "{told}");
    let page = read(&at.join("report.html"));
    stands_alone(&page);
    assert_eq!(plots(&page), 17);
    for (run, recipe) in [("one", "robust"), ("other", "paper")] {
        let row =
            format!("<tr><td>{run}</td><td>digits_fourier → digits_pixels</td><td>{recipe}</td>");
        assert!(page.contains(&row), "{row}");
    }
    for entry in std::fs::read_dir(at.join("plots")).unwrap() {
        let text = read(&entry.unwrap().path());
        roxmltree::Document::parse(&text).unwrap();
        assert!(
            !text.contains("currentColor"),
            "it has no page to take colours from"
        );
    }
    fails(
        at,
        "report one other",
        &["report.html", "is there already", "--force"],
    );
    fails(
        at,
        "report one other --out new.html --svg plots",
        &["comparison.svg", "--force"],
    );
    assert!(!at.join("new.html").exists());
    passes(at, "report one other --force --svg plots");

    // A page is HTML, and the only file of a run that is written anew.
    for name in ["new.pdf", "new", "one/summary.json"] {
        let output = ssan(at, &format!("report one --out {name} --force"));
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        let words = format!("--out {name}: give a name that ends in .html or .htm");
        assert!(error.contains(&words), "{error}");
    }
    #[cfg(unix)]
    {
        let summary = read(&at.join("one/summary.json"));
        std::os::unix::fs::symlink("one/summary.json", at.join("link.htm")).unwrap();
        let words = ["link.htm: belongs to the run"];
        fails(at, "report one other --out link.htm --force", &words);
        assert!(read(&at.join("one/summary.json")) == summary);
    }
    passes(at, "report one other --out other/report.html --force");
}

/// Names are anything; without truth there are no accuracies.
#[test]
fn names_are_escaped_and_an_unknown_truth_is_said() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    let names = ["<script>alert(1)</script>", "a&b \"c\"", "'é"];
    let domain = |file: &str, cols: usize, truth: bool| {
        let mut csv = String::new();
        for row in 0..24 {
            for col in 0..cols {
                csv += &format!(
                    "{},",
                    f64::from(u8::from(row % 3 == col)) + 0.01 * row as f64
                );
            }
            let name = names[row % 3].replace('"', "\"\"");
            csv += &match truth || row < 6 {
                true => format!("\"{name}\"\n"),
                false => "\n".to_string(),
            };
        }
        std::fs::write(at.join(file), csv).unwrap();
    };
    domain("<b>source.csv", 4, true);
    domain("target.csv", 5, false);
    passes(
        at,
        "train --source <b>source.csv --target target.csv --nepoch 4 --partition 1 --d_common 4 --out run",
    );
    let page = read(&at.join("run/report.html"));
    stands_alone(&page);
    assert!(
        page.contains("&lt;script&gt;alert(1)&lt;/script&gt;") && page.contains("&lt;b&gt;source")
    );
    assert!(!page.contains("<b>"));
    assert!(page.contains("no accuracy to report") && !page.contains("Confusion matrix"));
    assert_eq!(plots(&page), 7);
}

#[test]
fn what_is_damaged_is_named() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    fails(at, "report nowhere", &["nowhere", "holds no run"]);
    passes(
        at,
        "train --recipe paper --nepoch 3 --partition 1 --d_common 4 --out run",
    );
    let change = |file: &str, change: &dyn Fn(Vec<u8>) -> Vec<u8>, words: &[&str]| {
        let path = at.join("run").join(file);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, change(whole.clone())).unwrap();
        let page = std::fs::read(at.join("run/report.html")).unwrap();
        fails(at, "report run", words);
        assert_eq!(page, std::fs::read(at.join("run/report.html")).unwrap());
        std::fs::write(&path, whole).unwrap();
    };
    let cut = |bytes: Vec<u8>| bytes[..bytes.len() / 2].to_vec();
    change("summary.json", &cut, &["summary.json", "damaged", "line"]);
    change("metrics.jsonl", &cut, &["metrics.jsonl", "line 2"]);
    change("embedding.npz", &cut, &["embedding.npz"]);
    change(
        "config.toml",
        &|_| b"[options\n".to_vec(),
        &["config.toml", "line 1"],
    );
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    change(
        "metrics.jsonl",
        &|bytes| {
            text(bytes)
                .replace("\"epoch\":2", "\"epoch\":2000000000000")
                .into()
        },
        &["metrics.jsonl", "line 3", "epoch 2000000000000"],
    );
    change(
        "summary.json",
        &|bytes| {
            text(bytes)
                .replacen("\"confusion\": [", "\"confusion\": [ [1],", 1)
                .into()
        },
        &["summary.json", "10 classes"],
    );
    // Numbers that no training leaves.
    let replaced = |from: &'static str, to: &'static str| {
        move |bytes: Vec<u8>| -> Vec<u8> {
            let changed = text(bytes.clone()).replacen(from, to, 1).into_bytes();
            assert_ne!(changed, bytes, "{from}");
            changed
        }
    };
    for (from, to, word) in [
        ("\"total\":", "\"total\":1e308,\"_\":", "loss of 1e308"),
        (
            "\"source_acc\":",
            "\"source_acc\":-1e308,\"_\":",
            "accuracy of -1e308",
        ),
    ] {
        change(
            "metrics.jsonl",
            &replaced(from, to),
            &["metrics.jsonl", "line 1", word],
        );
    }
    change(
        "metrics.jsonl",
        &|mut bytes| {
            *bytes.last_mut().unwrap() = 0xff;
            bytes
        },
        &["metrics.jsonl", "line 3"],
    );
    change(
        "metrics.jsonl",
        &|_| Vec::new(),
        &["metrics.jsonl", "no epochs"],
    );
    let changed = |change: &'static dyn Fn(&mut Value)| {
        move |bytes: Vec<u8>| {
            let mut summary: Value = serde_json::from_slice(&bytes).unwrap();
            change(&mut summary);
            summary.to_string().into_bytes()
        }
    };
    let none: &'static dyn Fn(&mut Value) = &|summary| {
        summary["classes"] = Value::Array(Vec::new());
        let evaluation = &mut summary["partitions"][0]["evaluation"];
        for table in ["confusion", "per_class_accuracy"] {
            evaluation[table] = Value::Array(Vec::new());
        }
    };
    change(
        "summary.json",
        &changed(none),
        &["summary.json", "no classes"],
    );
    let endless: &'static dyn Fn(&mut Value) = &|summary| {
        for k in 0..2 {
            summary["partitions"][0]["evaluation"]["confusion"][k][0] = u64::MAX.into();
        }
    };
    change(
        "summary.json",
        &changed(endless),
        &["summary.json", "too many rows"],
    );
    // A loss that is all but zero is drawn all the same.
    let path = at.join("run/metrics.jsonl");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(
        &path,
        replaced("\"total\":", "\"total\":5e-324,\"_\":")(whole),
    )
    .unwrap();
    passes(at, "report run");
    std::fs::remove_file(at.join("run/summary.json")).unwrap();
    fails(
        at,
        "report run",
        &["has not ended", "ssan train --resume run"],
    );
}
