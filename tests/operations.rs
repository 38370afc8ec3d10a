//! Every operation has the parts that CONTRIBUTING.md's walk-through names.

use std::path::Path;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Names of the files of a folder with this extension.
fn names(folder: &str, extension: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let files = std::fs::read_dir(path).unwrap().map(|e| e.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|e| e == extension));
    let mut names: Vec<String> = files
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn every_operation_has_all_its_parts() {
    let [gradients, gram, traces, cases, off_the_tape, list] = [
        "tests/gradients.rs",
        "tests/gram.rs",
        "tests/common/golden.rs",
        "tests/kernels/cases.rs",
        "tests/off_the_tape.rs",
        "src/ops/mod.rs",
    ]
    .map(read);
    let kernels = names("kernels", "cu");
    let mut operations = 0;
    for name in names("src/ops", "rs") {
        let text = read(&format!("src/ops/{name}.rs"));
        if !text.contains("> Op<T> for ") {
            continue;
        }
        operations += 1;
        assert!(text.starts_with("//! "), "{name}: no equation");
        assert!(list.contains(&format!("mod {name};")), "{name}: not listed");
        // The Gram form's kernels are those of the linear layer, whose tiles they share.
        let kernel = match name.as_str() {
            "gram_linear" => "linear",
            name => name,
        };
        assert!(
            kernels.iter().any(|k| k == kernel),
            "{name}: no kernel file"
        );
        let function = match name.as_str() {
            "accuracy" => "count_correct",
            "metrics" => "record_metrics",
            "sgd" => "Sgd",
            "adam" => "Adam",
            name => name,
        };
        assert!(cases.contains(function), "{name}: no case for its kernel");
        let updates = ["adam", "sgd"].contains(&name.as_str());
        let tests = match text.contains("fn backward_launches") {
            // What its backward pass gives are no derivatives: see there.
            true if name == "gram_linear" => &gram,
            true => &gradients,
            // The release's traces are followed with every optimiser.
            false if updates => &traces,
            // A graph of checks has a schedule; what metrics record is what training tells.
            false if name == "schedule" => &gradients,
            false if name == "metrics" => continue,
            false => &off_the_tape,
        };
        assert!(tests.contains(function), "{name}: not checked");
    }
    assert!(operations >= 20, "{operations} operations found");
    // No kernel file is left over.
    for kernel in kernels {
        read(&format!("src/ops/{kernel}.rs"));
    }
    let walk = read("CONTRIBUTING.md");
    for path in [
        "tests/gradients.rs",
        "tests/kernels/cases.rs",
        "kernels/common.cuh",
    ] {
        assert!(walk.contains(path));
        read(path);
    }
}
