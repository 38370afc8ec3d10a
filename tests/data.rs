//! Data in: every format, every rule about keys, labels, classes and splits, and bad input.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use ssan::Error;
use ssan::data::{
    Domain, Features, Keys, Label, LabelColumn, Labelling, Matrix, Split, Task, digits, find,
    read_domain, read_samples, read_split,
};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;

// ---------------------------------------------------------------------------------- fixtures

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

fn keys(features: &[&str], labels: &[&str]) -> Keys {
    let owned = |names: &[&str]| names.iter().map(|s| s.to_string()).collect();
    Keys {
        features: owned(features),
        labels: owned(labels),
        ..Keys::default()
    }
}

fn mat(name: &str) -> ssan::Result<Domain> {
    read_domain(&fixture(name), &Keys::default())
}

/// Reads `bytes` from a file called `name`.
fn read(name: &str, bytes: impl AsRef<[u8]>, keys: &Keys) -> ssan::Result<Domain> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    read_domain(&path, keys)
}

fn csv(text: &str, column: &str) -> ssan::Result<Domain> {
    let keys = Keys {
        label_column: column.parse().unwrap(),
        ..Keys::default()
    };
    read("some.csv", text, &keys)
}

/// A `.npy` file with a header of one's choice.
fn npy(descr: &str, fortran: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let text = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((text.len() as u16).to_le_bytes());
    file.extend(text.as_bytes());
    file.extend(data);
    file
}

fn floats(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn npz(arrays: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in arrays {
        archive
            .start_file(format!("{name}.npy"), SimpleFileOptions::default())
            .unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

fn features(rows: usize) -> (&'static str, Vec<u8>) {
    let values: Vec<f64> = (0..2 * rows).map(|i| i as f64 + 1.0).collect();
    (
        "features",
        npy("<f8", "False", &format!("({rows}, 2)"), &floats(&values)),
    )
}

/// What went wrong; one line.
fn refused<T: std::fmt::Debug>(result: ssan::Result<T>, words: &[&str]) -> Error {
    let error = result.unwrap_err();
    let text = error.to_string();
    assert!(!text.contains('\n'), "{text}");
    for word in words {
        assert!(text.contains(word), "`{word}` is missing in: {text}");
    }
    error
}

fn noted(notes: &[String], words: &str) {
    assert!(
        notes.iter().any(|note| note.contains(words)),
        "`{words}` is missing in {notes:?}"
    );
}

fn integers(labels: &[Option<i64>]) -> Vec<Option<Label>> {
    labels
        .iter()
        .map(|label| label.map(Label::Integer))
        .collect()
}

fn domain(name: &str, labels: Vec<Option<Label>>) -> Domain {
    let rows = labels.len();
    Domain {
        name: name.to_string(),
        columns: None,
        frequencies: false,
        features: Matrix {
            rows,
            cols: 1,
            values: vec![1.0; rows],
        }
        .into(),
        labels,
        parts: vec![rows],
        notes: Vec::new(),
    }
}

fn task(source: &[Option<i64>], target: &[Option<i64>]) -> ssan::Result<Task> {
    Task::new(
        domain("src", integers(source)),
        domain("tgt", integers(target)),
    )
}

/// Rows of `fts` in the fixtures, at unit length.
const UNIT: [f64; 6] = [0.6, 0.8, 0.0, 0.0, 5.0 / 13.0, -12.0 / 13.0];

fn close(features: &Features, rows: usize, expected: &[f64]) {
    let matrix = features.dense(0..features.rows());
    assert_eq!((matrix.rows, matrix.values.len()), (rows, expected.len()));
    for (a, b) in matrix.values.iter().zip(expected) {
        approx::assert_abs_diff_eq!(a, b, epsilon = 1e-12);
    }
}

// ---------------------------------------------------------------------------------------- .mat

#[test]
fn mat_of_every_kind_gives_the_same_samples() {
    for name in [
        "double.mat",
        "compressed.mat",
        "single.mat",
        "sparse.mat",
        "transposed.mat",
        "text.mat",
    ] {
        // Variables that cannot be read do no harm to those that can.
        let keys = match name {
            "text.mat" => keys(&["fts"], &["codes"]),
            _ => Keys::default(),
        };
        let read = read_domain(&fixture(name), &keys).unwrap();
        close(&read.features, 3, &UNIT);
        assert_eq!(
            read.labels,
            integers(&[Some(1), Some(2), Some(2)]),
            "{name}"
        );
        assert_eq!(
            (read.parts, &read.name[..]),
            (vec![3], name.strip_suffix(".mat").unwrap())
        );
        noted(&read.notes, "all-zero rows that stay zero: 1");
        let transposed = read.notes.iter().any(|note| note.contains("transposed"));
        assert_eq!(transposed, name == "transposed.mat");
    }
}

#[test]
fn mat_integers_and_logicals() {
    let root = |x: f64, y: f64| [x, y].map(|v| v / (x * x + y * y).sqrt());
    let read = mat("uint8.mat").unwrap();
    close(
        &read.features,
        3,
        &[root(0.0, 1.0), root(2.0, 3.0), root(4.0, 5.0)].concat(),
    );
    let read = mat("logical.mat").unwrap();
    close(
        &read.features,
        3,
        &[root(1.0, 1.0), [0.0, 0.0], [1.0, 0.0]].concat(),
    );
    assert_eq!(read.labels, integers(&[Some(1), None, None]));
    noted(&read.notes, "rows without a label (empty, NaN or -1): 2");
}

#[test]
fn mat_that_cannot_be_used_says_why() {
    refused(mat("text.mat"), &["text.mat", "labels (1×3 cell)", ".npz"]);
    refused(
        mat("complex.mat"),
        &["fts (3×2 complex double)", "not complex"],
    );
    refused(mat("cube.mat"), &["fts (3×2×2 double)", "two dimensions"]);
    refused(mat("empty.mat"), &["fts (0×2 double)", "empty"]);
    refused(
        mat("split.mat"),
        &[
            "source_index (3×1 uint16)",
            "--features-key",
            "--labels-key",
        ],
    );
    let hdf = [
        b"MATLAB 7.3 MAT-file, Platform: GLNXA64".to_vec(),
        vec![b' '; 474],
        b"\x89HDF\r\n\x1a\n".to_vec(),
    ];
    refused(
        read("v73.mat", hdf.concat(), &Keys::default()),
        &["7.3", "-v7", "scipy"],
    );
    refused(
        read("h.mat", b"\x89HDF\r\n\x1a\n and so on", &Keys::default()),
        &["7.3"],
    );
    // As MATLAB on another processor wrote it: one double, each number with its high byte first.
    let word = |x: u32| x.to_be_bytes().to_vec();
    let element = |kind: u32, data: &[u8]| {
        let mut bytes = [word(kind), word(data.len() as u32), data.to_vec()].concat();
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    };
    let matrix = [
        element(6, &[word(6), word(0)].concat()),
        element(5, &[word(1), word(1)].concat()),
        element(1, b"fts"),
        element(9, &1.5f64.to_be_bytes()),
    ];
    let mut big = b"MATLAB 5.0 MAT-file, Platform: SOL2".to_vec();
    big.resize(124, b' ');
    big.extend([0x01, 0x00, b'M', b'I']);
    big.extend(element(14, &matrix.concat()));
    refused(
        read("big.mat", &big, &Keys::default()),
        &["big.mat", "big-endian", "save it again"],
    );
    refused(
        read("no.mat", [7; 300], &Keys::default()),
        &["not a MATLAB"],
    );
    refused(read("short.mat", "", &Keys::default()), &["not a MATLAB"]);
}

#[test]
fn parts_are_joined_in_order() {
    let path = fixture("parts.mat");
    let both = read_domain(&path, &keys(&["T", "U"], &["T_Label", "U_Label"])).unwrap();
    assert_eq!((both.parts, both.features.rows()), (vec![3, 2], 5));
    assert_eq!(both.labels, integers(&[1, 2, 2, 1, 2].map(Some)));
    close(
        &both.features.select_rows(&[2, 4]),
        2,
        &[UNIT[4], UNIT[5], 0.5f64.sqrt(), 0.5f64.sqrt()],
    );
    let half = read_domain(&path, &keys(&["T", "U"], &["T_Label"])).unwrap();
    assert_eq!(
        half.labels,
        integers(&[Some(1), Some(2), Some(2), None, None])
    );
    noted(&half.notes, "`U` has no labels");
    let none = read_domain(&path, &keys(&["T"], &[])).unwrap();
    assert_eq!(none.labels, integers(&[None; 3]));
    noted(&none.notes, "no row has a label");
    // Case counts only where it must.
    assert_eq!(
        read_domain(&path, &keys(&["t"], &["t_label"]))
            .unwrap()
            .features
            .rows(),
        3
    );
    refused(
        read_domain(&path, &keys(&["T", "U"], &[])),
        &["2 parts", "--labels-key"],
    );
    refused(
        read_domain(&path, &keys(&["T"], &["T_Label", "U_Label"])),
        &["--labels-key names 2", "--features-key 1"],
    );
    refused(
        read_domain(&path, &keys(&["V"], &[])),
        &["no `V`", "T (3×2 double)", "other (2×3 double)"],
    );
    refused(
        read_domain(&path, &keys(&["T", "other"], &["T_Label", "U_Label"])),
        &["T has 2 features", "other has 3"],
    );
    refused(
        read_domain(&path, &keys(&["other"], &["T"])),
        &["T (3×2", "no labels", "1×n"],
    );
    refused(
        read_domain(&fixture("double.mat"), &keys(&["fts"], &["fts"])),
        &["are no labels"],
    );
    let short = npz(&[
        features(4),
        ("labels", npy("|u1", "False", "(3,)", &[1, 2, 3])),
    ]);
    refused(
        read("s.npz", short, &Keys::default()),
        &[
            "features (4×2",
            "labels (3 ",
            "3 labels",
            "4 rows or 2 columns",
        ],
    );
}

/// Who wants the samples alone is not stopped by labels.
#[test]
fn samples_without_the_labels() {
    let samples = |name: &str, bytes: &[u8], keys: &Keys| {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        read_samples(&path, keys)
    };
    let none = Keys::default();
    let with = |labels: Vec<u8>| npz(&[features(3), ("labels", labels)]);
    let good = with(npy("|u1", "False", "(3,)", &[1, 2, 3]));
    let same = read("x.npz", &good, &none).unwrap();
    assert_eq!(samples("x.npz", &good, &none).unwrap(), same);
    for (labels, words) in [
        (
            npy("<f8", "False", "(3,)", &floats(&[0.5, 1.0, 2.0])),
            "0.5 is no label",
        ),
        (npy("|O", "False", "(3,)", &[0; 24]), "Python objects"),
        (npy("|u1", "False", "(3, 2)", &[1; 6]), "are no labels"),
        (npy("|u1", "False", "(4,)", &[1; 4]), "4 labels for 3 rows"),
    ] {
        let file = with(labels);
        refused(read("x.npz", &file, &none), &[words]);
        let read_back = samples("x.npz", &file, &none).unwrap();
        assert_eq!(read_back.features, same.features);
        assert_eq!(read_back.labels, [None, None, None]);
        noted(&read_back.notes, "labels are left out: ");
        noted(&read_back.notes, words);
    }
    // A sample per column, which only the number of labels shows: of words in cells here.
    let labelled = read_domain(&fixture("text.mat"), &keys(&["fts"], &["codes"])).unwrap();
    let read_back = read_samples(&fixture("text.mat"), &none).unwrap();
    assert_eq!(read_back.features, labelled.features);
    let columns = [
        (
            "X",
            npy(
                "<f8",
                "False",
                "(2, 3)",
                &floats(&[3.0, 0.0, 5.0, 4.0, 2.0, 12.0]),
            ),
        ),
        ("y", npy("|O", "False", "(3,)", &[0; 24])),
    ];
    let read_back = samples("x.npz", &npz(&columns), &none).unwrap();
    close(
        &read_back.features,
        3,
        &[0.6, 0.8, 0.0, 1.0, 5.0 / 13.0, 12.0 / 13.0],
    );
    // Parts.
    let path = fixture("parts.mat");
    let read_back = read_samples(&path, &keys(&["T", "U"], &[])).unwrap();
    let labelled = read_domain(&path, &keys(&["T", "U"], &["T_Label"])).unwrap();
    assert_eq!(read_back.features, labelled.features);
    // What is asked for must be there.
    refused(read_samples(&path, &keys(&["T"], &["V"])), &["no `V`"]);
    let read_back = samples("x.csv", b"3,4,0.5\n0,2,0.25\n", &none).unwrap();
    close(&read_back.features, 2, &[0.6, 0.8, 0.0, 1.0]);
    assert_eq!(read_back.labels, [None, None]);
    noted(
        &read_back.notes,
        "labels are left out: line 1: 0.5 is no label",
    );
}

#[test]
fn damaged_mat_files_are_refused_or_read_but_never_crash() {
    for name in [
        "double.mat",
        "compressed.mat",
        "sparse.mat",
        "single.mat",
        "split.mat",
        "text.mat",
    ] {
        let whole = std::fs::read(fixture(name)).unwrap();
        for len in (0..whole.len()).step_by(3) {
            let _ = read("cut.mat", &whole[..len], &Keys::default());
        }
        for at in 116..whole.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] ^= flip;
                let _ = read("flipped.mat", bytes, &keys(&[], &["labels"]));
            }
        }
    }
    let whole = std::fs::read(fixture("compressed.mat")).unwrap();
    for len in [129, 150, whole.len() - 60, whole.len() - 1] {
        refused(
            read("cut.mat", &whole[..len], &Keys::default()),
            &["cut.mat"],
        );
    }
}

/// An uncompressed variable, its tags written by hand.
fn variable(class: u32, dims: [i32; 2], data: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let element = |kind: u32, data: &[u8]| {
        let mut out = [kind.to_le_bytes(), (data.len() as u32).to_le_bytes()].concat();
        out.extend(data);
        out.resize(out.len().next_multiple_of(8), 0);
        out
    };
    let dims = dims.map(i32::to_le_bytes).concat();
    let mut body = [
        element(6, &[class.to_le_bytes(), [0; 4]].concat()),
        element(5, &dims),
        element(1, b"fts"),
    ]
    .concat();
    data.iter()
        .for_each(|(kind, data)| body.extend(element(*kind, data)));
    let mut file = vec![b' '; 126];
    file.extend(b"IM");
    file.extend(element(14, &body));
    file
}

#[test]
fn hostile_mat_files_are_refused() {
    let none = Keys::default();
    let good = variable(6, [1, 2], &[(9, floats(&[3.0, 4.0]))]);
    close(
        &read("good.mat", &good, &none).unwrap().features,
        1,
        &[0.6, 0.8],
    );
    let huge = variable(6, [i32::MAX, i32::MAX], &[(9, floats(&[3.0]))]);
    refused(
        read("huge.mat", huge, &none),
        &["damaged", "number of values"],
    );
    let lying = variable(6, [3, 2], &[(9, floats(&[3.0]))]);
    refused(
        read("lying.mat", lying, &none),
        &["damaged", "number of values"],
    );
    let negative = variable(6, [-1, 2], &[(9, floats(&[3.0]))]);
    refused(read("negative.mat", negative, &none), &["negative"]);
    // Both would make `mat5` compute out of range.
    let words = |list: &[i32]| {
        list.iter()
            .flat_map(|x| x.to_le_bytes())
            .collect::<Vec<u8>>()
    };
    let columns = variable(5, [2, -1], &[(5, vec![]), (5, vec![]), (9, vec![])]);
    refused(read("columns.mat", columns, &none), &["negative"]);
    let mut small = good.clone();
    let name = small.windows(3).position(|w| w == b"fts").unwrap() - 8;
    small[name..name + 4].copy_from_slice(&[1, 0, 9, 0]);
    refused(read("small.mat", small, &none), &["damaged"]);
    for (rows, columns) in [
        ([0, 2], [0, 1, 2]),
        ([0, -1], [0, 1, 2]),
        ([0, 1], [0, 2, 1]),
        ([0, 1], [0, -1, 2]),
        ([0, 1], [0, 1, 9]),
    ] {
        let sparse = variable(
            5,
            [2, 2],
            &[
                (5, words(&rows)),
                (5, words(&columns)),
                (9, floats(&[1.0, 2.0])),
            ],
        );
        refused(read("sparse.mat", sparse, &none), &["outside itself"]);
    }
    // A few kilobytes that are 17 TB with their zeros, on a machine of any size.
    let columns = [vec![0], vec![1; 1000]].concat();
    let wide = [(5, words(&[0])), (5, words(&columns)), (9, floats(&[1.0]))];
    let wide = variable(5, [i32::MAX, 1000], &wide);
    refused(
        read("wide.mat", wide, &none),
        &["fts (2147483647×1000 sparse)", "1 values", "fewer than one"],
    );
}

#[test]
fn a_compressed_variable_cannot_expand_beyond_what_it_declares() {
    let plain = variable(6, [1, 2], &[(9, floats(&[3.0, 4.0]))]);
    let pack = |bytes: &[u8]| {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        let packed = encoder.finish().unwrap();
        [
            &plain[..128],
            &15u32.to_le_bytes(),
            &(packed.len() as u32).to_le_bytes(),
            &packed,
        ]
        .concat()
    };
    assert!(read("ok.mat", pack(&plain[128..]), &Keys::default()).is_ok());
    let padded = [&plain[128..], &vec![0; 50_000_000]].concat();
    assert!(read("padded.mat", pack(&padded), &Keys::default()).is_ok());
    let mut lying = plain[128..].to_vec();
    lying[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    refused(
        read("lying.mat", pack(&lying), &Keys::default()),
        &["damaged"],
    );
}

// ------------------------------------------------------------------------------- .npy and .npz

#[test]
fn npz_number_types_and_orders() {
    let two = |descr: &str, data: Vec<u8>| npz(&[("fts", npy(descr, "False", "(1, 2)", &data))]);
    let le = |x: u64, n: usize| x.to_le_bytes()[..n].to_vec();
    for (descr, n) in [
        ("|u1", 1),
        ("|i1", 1),
        ("<u2", 2),
        ("<i2", 2),
        ("<u4", 4),
        ("<i4", 4),
        ("<u8", 8),
        ("<i8", 8),
    ] {
        let file = two(descr, [le(3, n), le(4, n)].concat());
        close(
            &read("x.npz", file, &Keys::default()).unwrap().features,
            1,
            &[0.6, 0.8],
        );
    }
    let single = [3f32, 4.0].iter().flat_map(|x| x.to_be_bytes()).collect();
    let half = vec![0x00, 0x42, 0x00, 0x44];
    for (descr, data) in [(">f4", single), ("<f2", half), ("<f8", floats(&[3.0, 4.0]))] {
        close(
            &read("x.npz", two(descr, data), &Keys::default())
                .unwrap()
                .features,
            1,
            &[0.6, 0.8],
        );
    }
    close(
        &read("x.npz", two("|b1", vec![0, 1]), &Keys::default())
            .unwrap()
            .features,
        1,
        &[0.0, 1.0],
    );
    let fortran = npy("<f8", "True", "(2, 2)", &floats(&[3.0, 0.0, 4.0, 2.0]));
    close(
        &read("x.npz", npz(&[("X", fortran)]), &Keys::default())
            .unwrap()
            .features,
        2,
        &[0.6, 0.8, 0.0, 1.0],
    );
    refused(
        read("x.npz", two("<c8", vec![0; 16]), &Keys::default()),
        &["fts", "<c8", "cannot be read"],
    );
    refused(
        read("x.npz", two("|O", vec![0; 16]), &Keys::default()),
        &["Python objects"],
    );
}

#[test]
fn npz_labels_may_be_text() {
    let wide: Vec<u8> = "dog cat\0"
        .chars()
        .filter(|&c| c != ' ')
        .flat_map(|c| u32::from(c).to_le_bytes())
        .collect();
    let wide = [wide, vec![0; 4 * 5]].concat();
    let labels = npy("<U3", "False", "(4, 1)", &wide);
    let file = npz(&[features(4), ("y", labels)]);
    let text = |t: &str| Some(Label::Text(t.to_string()));
    let read_back = read("x.npz", file, &Keys::default()).unwrap();
    assert_eq!(read_back.labels, [text("dog"), text("cat"), None, None]);
    let bytes = npy("|S2", "False", "(1, 4)", b"b\0-17\0aa");
    let file = npz(&[features(4), ("label", bytes)]);
    let expected = [text("b"), None, Some(Label::Integer(7)), text("aa")];
    assert_eq!(
        read("x.npz", file, &Keys::default()).unwrap().labels,
        expected
    );
    let file = npz(&[("features", npy("<U1", "False", "(1, 1)", &[65, 0, 0, 0]))]);
    refused(read("x.npz", file, &Keys::default()), &["holds text"]);
}

#[test]
fn labels_must_be_integers() {
    let with = |labels: &[f64]| {
        npz(&[
            features(labels.len()),
            (
                "labels",
                npy(
                    "<f8",
                    "False",
                    &format!("({},)", labels.len()),
                    &floats(labels),
                ),
            ),
        ])
    };
    let read_back = read(
        "x.npz",
        with(&[4.0, f64::NAN, -1.0, -7.0]),
        &Keys::default(),
    )
    .unwrap();
    assert_eq!(read_back.labels, integers(&[Some(4), None, None, Some(-7)]));
    for bad in [0.5, f64::INFINITY, 1e17] {
        refused(
            read("x.npz", with(&[1.0, bad, 2.0]), &Keys::default()),
            &["labels", "integers", "--labels-key"],
        );
    }
}

#[test]
fn usual_names_have_an_order_and_unusual_choices_are_told() {
    let one = |x: f64| npy("<f8", "False", "(1, 1)", &floats(&[x]));
    let read_back = read(
        "x.npz",
        npz(&[("X", one(-2.0)), ("Features", one(2.0))]),
        &Keys::default(),
    )
    .unwrap();
    // `X` is spelt exactly, `Features` is not.
    close(&read_back.features, 1, &[-1.0]);
    noted(&read_back.notes, "features are read from `X`");
    let read_back = read(
        "x.npz",
        npz(&[("X", one(-2.0)), ("features", one(2.0))]),
        &Keys::default(),
    )
    .unwrap();
    close(&read_back.features, 1, &[1.0]);
    let read_back = read(
        "x.npz",
        npz(&[("FEA", one(2.0)), ("Gnd", one(3.0))]),
        &Keys::default(),
    )
    .unwrap();
    assert_eq!(read_back.labels, integers(&[Some(3)]));
    noted(&read_back.notes, "labels are read from `Gnd`");
    noted(
        &read("x.npz", npz(&[features(1)]), &Keys::default())
            .unwrap()
            .notes,
        "no labels under labels, label",
    );
    refused(
        read("x.npz", npz(&[("a\nb", one(1.0))]), &Keys::default()),
        &["(1×1 <f8)"],
    );
}

#[test]
fn orientation_follows_the_labels() {
    let square = |n: usize| {
        npz(&[
            (
                "features",
                npy("<f8", "False", "(2, 2)", &floats(&[3.0, 4.0, 0.0, 1.0])),
            ),
            (
                "labels",
                npy("|u1", "False", &format!("({n},)"), &vec![1; n]),
            ),
        ])
    };
    let read_back = read("x.npz", square(2), &Keys::default()).unwrap();
    close(&read_back.features, 2, &[0.6, 0.8, 0.0, 1.0]);
    assert!(read_back.notes.is_empty(), "{:?}", read_back.notes);
    refused(read("x.npz", square(3), &Keys::default()), &["do not fit"]);
}

/// As `scipy.sparse.save_npz` writes a matrix, and labels beside it: (3, 0, 4, 0 …) and (0, 2, 0 …).
fn scipy(format: &str, places: [(&str, &[i32]); 2], values: &[f64]) -> Vec<u8> {
    let ints =
        |values: &[i32]| -> Vec<u8> { values.iter().flat_map(|x| x.to_le_bytes()).collect() };
    let list =
        |kind: &str, count: usize, bytes: &[u8]| npy(kind, "False", &format!("({count},)"), bytes);
    let [first, second] = places;
    npz(&[
        (first.0, list("<i4", first.1.len(), &ints(first.1))),
        (second.0, list("<i4", second.1.len(), &ints(second.1))),
        ("format", npy("|S3", "False", "()", format.as_bytes())),
        (
            "shape",
            list("<i8", 2, &[2u64, 40].map(u64::to_le_bytes).concat()),
        ),
        ("data", list("<f8", values.len(), &floats(values))),
        ("labels", list("<i4", 2, &ints(&[5, 6]))),
    ])
}

#[test]
fn npz_of_a_sparse_matrix() {
    let mut rows = vec![0.0; 80];
    (rows[0], rows[2], rows[41]) = (0.6, 0.8, 1.0);
    let (csr, values): (_, &[f64]) = (
        [("indices", &[2, 0, 1][..]), ("indptr", &[0, 2, 3])],
        &[4.0, 3.0, 2.0],
    );
    let of = |format: &str, places, values: &[f64]| {
        read("x.npz", scipy(format, places, values), &Keys::default())
    };
    let csc_ends: Vec<i32> = [0, 1, 2].into_iter().chain([3; 38]).collect();
    for (format, places, values) in [
        ("csr", csr, values),
        (
            "csc",
            [("indices", &[0, 1, 0][..]), ("indptr", &csc_ends)],
            &[3.0, 2.0, 4.0],
        ),
        // A place may come twice.
        (
            "coo",
            [("row", &[1, 0, 0, 0]), ("col", &[1, 2, 0, 2])],
            &[2.0, 1.0, 3.0, 3.0],
        ),
    ] {
        let domain = of(format, places, values).unwrap();
        assert!(matches!(domain.features, Features::Sparse(_)), "{format}");
        close(&domain.features, 2, &rows);
        assert_eq!(domain.labels, integers(&[Some(5), Some(6)]));
    }
    let outside = ["outside itself"];
    let (indices, ends) = (csr[0], csr[1]);
    for places in [
        [("indices", &[2, 40, 1][..]), ends],
        [("indices", &[2, -1, 1]), ends],
        [("indices", &[2, 0]), ends],
        [indices, ("indptr", &[0, 3])],
        [indices, ("indptr", &[0, 2, 4])],
        [indices, ("indptr", &[1, 2, 3])],
        [indices, ("indptr", &[0, 3, 2, 3])],
    ] {
        refused(of("csr", places, values), &outside);
    }
    refused(
        of("coo", [("row", &[2, 0, 0]), ("col", &[0, 1, 2])], values),
        &outside,
    );
    refused(of("bsr", csr, values), &["format bsr", "csr"]);
    // Diagonals, which are a matrix of their own.
    let diagonals = npz(&[
        ("format", npy("|S3", "False", "()", b"dia")),
        (
            "shape",
            npy(
                "<i8",
                "False",
                "(2,)",
                &[2u64, 2].map(u64::to_le_bytes).concat(),
            ),
        ),
        ("data", npy("<f8", "False", "(1, 2)", &floats(&[3.0, 4.0]))),
        ("offsets", npy("<i4", "False", "(1,)", &[0; 4])),
    ]);
    refused(
        read("x.npz", diagonals, &Keys::default()),
        &["x.npz", "format dia", "csr, csc or coo"],
    );
    refused(
        of("csr", csr, &[4.0, f64::NAN, 2.0]),
        &["row 1, column 1", "NaN"],
    );
    // Without its places it is an array like any other.
    let alone = [("row", indices.1), ("indptr", ends.1)];
    refused(of("csr", alone, values), &["data (3", "no feature matrix"]);
}

#[test]
fn npy_holds_features_alone() {
    let file = npy("<f8", "False", "(2, 1)", &floats(&[3.0, 4.0]));
    let keys = Keys {
        label_column: LabelColumn::First,
        ..keys(&["other"], &[])
    };
    let read_back = read("x.npy", file, &keys).unwrap();
    assert_eq!(
        (read_back.features.dense(0..2).values, read_back.labels),
        (vec![1.0, 1.0], integers(&[None; 2]))
    );
    noted(&read_back.notes, "no labels");
    noted(&read_back.notes, "keys of features and labels play no part");
    noted(&read_back.notes, "names of columns play no part");
    refused(
        read(
            "x.npy",
            npy("<f8", "False", "(2,)", &floats(&[3.0, 4.0])),
            &Keys::default(),
        ),
        &["two dimensions"],
    );
}

#[test]
fn every_feature_is_finite() {
    for bad in [f64::NAN, f64::INFINITY] {
        let values = npy(
            "<f8",
            "False",
            "(2, 3)",
            &floats(&[1.0, 2.0, 3.0, 4.0, bad, 6.0]),
        );
        refused(
            read("x.npy", &values, &Keys::default()),
            &["row 2, column 2", "from 1", "finite"],
        );
        // By sample and feature, also where the file has them the other way round.
        let labels = npy("|u1", "False", "(3,)", &[1, 2, 3]);
        let file = npz(&[("features", values), ("labels", labels)]);
        refused(
            read("x.npz", file, &Keys::default()),
            &["row 2, column 2", "a sample per row"],
        );
    }
}

#[test]
fn hostile_npy_headers_are_refused_before_anything_is_reserved() {
    let read = |bytes: Vec<u8>| read("x.npy", bytes, &Keys::default());
    refused(
        read(npy("<f8", "False", "(2147483648, 1)", &[0; 64])),
        &["truncated", "17179869"],
    );
    refused(
        read(npy("<f8", "False", "(9999999999, 9999999999)", &[0; 64])),
        &["damaged"],
    );
    refused(
        read(npy("<f8", "False", "(0xffffffffffffffff, 255)", &[0; 64])),
        &["damaged"],
    );
    refused(read(npy("<f8", "False", "(-1, 2)", &[0; 64])), &["damaged"]);
    refused(
        read(npy("<U9999999999999", "False", "(2000, 2)", &[0; 64])),
        &["truncated"],
    );
    refused(
        read(npy("<f8", "False", &"(".repeat(60_000), &[0; 64])),
        &["damaged"],
    );
    refused(
        read(npy("|S0", "False", "(1000000000, 1)", &[0; 64])),
        &["no bytes"],
    );
    refused(read(npy("<f8", "False", "(2, 0)", &[0; 64])), &["empty"]);
    refused(read(npy("<f8", "False", "(0, 2)", &[])), &["empty"]);
    refused(
        read(b"\x93NUMPY\x02\x00\xff\xff\xff\xff{".to_vec()),
        &["damaged"],
    );
    let whole = npy("<f8", "False", "(2, 1)", &floats(&[3.0, 4.0]));
    (0..whole.len()).for_each(|len| drop(refused(read(whole[..len].to_vec()), &["x.npy"])));
    for at in 0..whole.len() {
        for flip in [0x01, 0x10, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            let _ = read(bytes);
        }
    }
}

#[test]
fn hostile_archives_are_refused() {
    let labels = npy("|u1", "False", "(3,)", &[1, 2, 3]);
    let whole = npz(&[features(3), ("labels", labels)]);
    for len in 0..whole.len() {
        refused(read("x.npz", &whole[..len], &Keys::default()), &["x.npz"]);
    }
    for at in 0..whole.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            let _ = read("x.npz", bytes, &Keys::default());
        }
    }
    // Ends declared as 8 bytes, though 50 MB would come out of the archive.
    let bomb = npz(&[(
        "features",
        npy(
            "<f8",
            "False",
            "(1, 1)",
            &[vec![1; 8], vec![0; 50_000_000]].concat(),
        ),
    )]);
    assert!(bomb.len() < 100_000);
    assert_eq!(
        read("bomb.npz", bomb, &Keys::default())
            .unwrap()
            .features
            .rows(),
        1
    );
    let lying = npz(&[("features", npy("<f8", "False", "(1000000, 4)", &[1; 8]))]);
    refused(
        read("lying.npz", lying, &Keys::default()),
        &["claims more data"],
    );
    // A 64-bit directory with 2^40 files at a place beyond the end.
    let mut directory = b"PK\x06\x06".to_vec();
    directory.extend(44u64.to_le_bytes());
    directory.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for value in [1u64 << 40, 1 << 40, 46, 1 << 41] {
        directory.extend(value.to_le_bytes());
    }
    directory.extend(b"PK\x06\x07\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0PK\x05\x06\0\0\0\0");
    directory.extend([0xff; 12]);
    directory.extend([0, 0]);
    refused(
        read("directory.npz", directory, &Keys::default()),
        &["damaged"],
    );
}

// ---------------------------------------------------------------------------------------- .csv

#[test]
fn csv_label_columns() {
    let expected = integers(&[Some(1), Some(2)]);
    for (text, column) in [
        ("3,4,1\n0,2,2\n", "last"),
        ("1,3,4\n2,0,2\n", "first"),
        ("a,b,class\n3,4,1\n0,2,2\n", "last"),
        ("a,class,b\n3,1,4\n0,2,2\n", "class"),
        ("a, Class ,b\r\n3,1,4\r\n\r\n0, 2.0 ,2\r\n", "class"),
        ("\u{feff}class,a,b\n1,3,4\n2,0,2\n", "class"),
    ] {
        let read_back = csv(text, column).unwrap();
        close(&read_back.features, 2, &[0.6, 0.8, 0.0, 1.0]);
        assert_eq!(read_back.labels, expected, "{text}");
        assert!(read_back.notes.is_empty(), "{:?}", read_back.notes);
    }
    let read_back = csv("3,4\n0,2\n", "none").unwrap();
    assert_eq!(
        (read_back.features.cols(), read_back.labels),
        (2, integers(&[None; 2]))
    );
    refused(
        csv("a,b,c\n1,2,3\n", "kind"),
        &["no column called kind", "a, b, c"],
    );
    refused(csv("1,2,3\n4,5,6\n", "3"), &["no header"]);
    refused(
        csv("1\n2\n", "last"),
        &["single column", "--label-column none"],
    );
}

#[test]
fn csv_columns_that_are_no_features() {
    let ignoring = |text: &str, column: &str, ignored: &str| {
        let keys = Keys {
            label_column: column.parse().unwrap(),
            ignored_columns: ignored.split(',').map(str::to_string).collect(),
            ..Keys::default()
        };
        read("some.csv", text, &keys)
    };
    // The label is the first or last of those that are left; what is left out may be words.
    for (text, column, ignored) in [
        ("id,a,b,class\nx,3,4,1\ny,0,2,2\n", "last", "id"),
        (
            "a,class,b, Remark ,id\n3,1,4,,x\n0,2,2,!,y\n",
            "class",
            "remark,id",
        ),
        ("id,class,a,b\n7,1,3,4\n8,2,0,2\n", "first", "id"),
        ("a,b,class,by\n3,4,1,x\n0,2,2,x\n", "last", "by"),
        (",0,1,2,class\n0,3,4,9,1\n1,0,2,9,2\n", "last", "2"),
    ] {
        let read_back = ignoring(text, column, ignored).unwrap();
        close(&read_back.features, 2, &[0.6, 0.8, 0.0, 1.0]);
        assert_eq!(read_back.labels, integers(&[Some(1), Some(2)]), "{text}");
        assert_eq!(read_back.columns.map(|names| names.len()), Some(2));
    }
    let text = "a,b,class\n3,4,1\n0,2,2\n";
    let read_back = ignoring(text, "last", "name").unwrap();
    close(&read_back.features, 2, &[0.6, 0.8, 0.0, 1.0]);
    noted(
        &read_back.notes,
        "no column called name; its first line is a, b, class",
    );
    let words = "a,by,class\n3,x,1\n";
    refused(
        csv(words, "last"),
        &["`x` is no number", "--ignore-columns"],
    );
    refused(
        ignoring(text, "class", "class"),
        &["class", "labels and be left out"],
    );
    refused(ignoring(text, "last", "a,b"), &["no column of features"]);
    refused(
        ignoring(text, "last", "a,b,class"),
        &["no column of features"],
    );
    // Numbers that the user calls columns by are a header, however few they are.
    let read_back = ignoring("0,1,2,class\n3,4,9,1\n0,2,9,2\n", "last", "2").unwrap();
    close(&read_back.features, 2, &[0.6, 0.8, 0.0, 1.0]);
    assert_eq!(read_back.labels, integers(&[Some(1), Some(2)]));
    noted(&read_back.notes, "header");
    // Without a header nothing is called so.
    let read_back = ignoring("3,4,1\n0,2,2\n", "last", "name").unwrap();
    noted(&read_back.notes, "no column called name");
}

#[test]
fn csv_headers_of_column_numbers() {
    for (header, column) in [
        ("0,1,2,3,0", "last"),
        ("1,2,3,4,label", "last"),
        ("0,1,2,3,4", "first"),
        ("0,1,2,3,4", "none"),
        ("400.0,410.0,425.5,430.0,Class", "last"),
        ("kind,400.0,410.0,425.5,430.0", "kind"),
    ] {
        let read_back = csv(&format!("{header}\n9,9,9,9,9\n"), column).unwrap();
        assert_eq!(read_back.features.rows(), 1, "{header}");
        noted(&read_back.notes, "header");
    }
    // Too few columns to be sure, or no count.
    assert_eq!(csv("0,1,5\n9,9,5\n", "last").unwrap().features.rows(), 2);
    assert_eq!(
        csv("0,1,2,4,5\n9,9,9,9,5\n", "last")
            .unwrap()
            .features
            .rows(),
        2
    );
    // Growing numbers beside what may be a class, and others beside what is called as columns are.
    for first in ["1,2,3,5,cat", "1,2,5,3,label"] {
        let read_back = csv(&format!("{first}\n9,9,9,9,5\n"), "last").unwrap();
        assert_eq!(read_back.features.rows(), 2, "{first}");
    }
}

#[test]
fn csv_of_other_separators() {
    let text = |t: &str| Some(Label::Text(t.to_string()));
    for (separator, told) in [(";", "semicolons"), ("\t", "tabs")] {
        for (text, column) in [
            ("3,4,1\n0,2,2\n", "last"),
            ("a,b,class\n3,4,1\n0,2,2\n", "class"),
            ("3,4,1\n", "last"),
            (",a,b,class\r\n8,3,4,1\r\n\r\n9,0,2,2\r\n", "last"),
        ] {
            let usual = csv(text, column).unwrap();
            let mut read_back = csv(&text.replace(',', separator), column).unwrap();
            assert_eq!(
                read_back.notes.remove(0),
                format!("cells are separated by {told}")
            );
            assert_eq!(read_back, usual, "{text}");
        }
        let with = |text: &str| csv(&text.replace('|', separator), "last");
        // A comma in a cell is none between cells.
        let read_back = with("width, m|height|kind\n3|4|\"NA\"\n0|2|x, y\n").unwrap();
        assert_eq!(read_back.labels, [text("NA"), text("x, y")]);
        let words = "has a decimal comma";
        for lines in [
            "a|b|c\n1,5|2|x\n",
            "1,5|2,5|x\n0,5|0,25|y\n",
            "1,5|2,5|1\n2,5|3,5|2\n",
        ] {
            refused(with(lines), &["column 1: `1,5`", words, told]);
        }
        refused(
            with("1|2|3\n4|5\n"),
            &["line 2 has 2 cells, the first line 3", told],
        );
    }
    // Where commas separate, the others are characters like any.
    let read_back = csv("3,4,a;b\n0,2,c;d\n", "last").unwrap();
    assert_eq!(read_back.labels, [text("a;b"), text("c;d")]);
    assert!(read_back.notes.is_empty());
    refused(
        csv("4,2,2\n3,x;y,1\n", "last"),
        &["column 2: `x;y` is no number"],
    );
    refused(csv("1 2 3\n4 5 6\n", "last"), &["by spaces", "delimiter"]);
    refused(csv("1 2 3\n4 5 6\n", "none"), &["by spaces", "delimiter"]);
}

#[test]
fn csv_in_utf_16() {
    let units = |text: &str| -> Vec<u16> { text.encode_utf16().collect() };
    for mark in ["", "\u{feff}"] {
        let units = units(&format!("{mark}3,4,1\n0,2,2\n"));
        for encode in [u16::to_le_bytes, u16::to_be_bytes] {
            let bytes: Vec<u8> = units.iter().copied().flat_map(encode).collect();
            refused(
                read("x.csv", bytes, &Keys::default()),
                &["x.csv: is UTF-16: save it as UTF-8"],
            );
        }
    }
}

/// As `DataFrame.to_csv` and `write.csv` number or name the rows.
#[test]
fn csv_with_an_index() {
    for text in [
        ",a,b,label\n7,3,4,x\n8,0,2,y\n",
        ",0,1,label\n0,3,4,x\n1,0,2,y\n",
        ",1,2,label\n0,3,4,x\n1,0,2,y\n",
        "Unnamed: 0,a,b,label\n0,3,4,x\n1,0,2,y\n",
        "\"\",\"a\",\"b\",\"label\"\n\"r1\",3,4,\"x\"\n\"r2\",0,2,\"y\"\n",
    ] {
        let read_back = csv(text, "label").unwrap();
        close(&read_back.features, 2, &[0.6, 0.8, 0.0, 1.0]);
        assert_eq!(csv(text, "last").unwrap(), read_back, "{text}");
        noted(&read_back.notes, "column 1, which the header gives no name");
    }
    let twice = ",Unnamed: 0,0,1\n0,0,3,4\n1,1,0,2\n";
    let read_back = csv(twice, "none").unwrap();
    close(&read_back.features, 2, &[0.6, 0.8, 0.0, 1.0]);
    noted(&read_back.notes, "column 2, which");
    // Asked for, it is the labels.
    let read_back = csv(",a,b\nx,3,4\ny,0,2\n", "first").unwrap();
    close(&read_back.features, 2, &[0.6, 0.8, 0.0, 1.0]);
    assert_eq!(read_back.labels[0], Some(Label::Text("x".to_string())));
    assert!(read_back.notes.is_empty());
    refused(
        csv("Unnamed: 0,label\n0,1\n", "last"),
        &["no column of features"],
    );
}

#[test]
fn csv_labels() {
    let read_back = csv("1,cat\n1,\n1,NaN\n1,-1\n1,\"a, b\"\n1,7\n", "last").unwrap();
    let text = |t: &str| Some(Label::Text(t.to_string()));
    assert_eq!(
        read_back.labels,
        [
            text("cat"),
            None,
            None,
            None,
            text("a, b"),
            Some(Label::Integer(7))
        ]
    );
    refused(
        csv("1,1\n1,0.25\n", "last"),
        &["line 2", "0.25", "--label-column"],
    );
    // Sections, not measurements.
    let read_back = csv("1,a\n1,2.5\n1,b\n", "last").unwrap();
    assert_eq!(read_back.labels[1], text("2.5"));
    noted(
        &read_back.notes,
        "fractions are read as words: 1, the first 2.5 in line 2",
    );
}

/// A word is a number only where a number is written so.
#[test]
fn words_that_look_like_numbers() {
    let word = |t: &str| Some(Label::Text(t.to_string()));
    let number = |value| Some(Label::Integer(value));
    let cases = [
        ("7", number(7)),
        ("0", number(0)),
        ("-3", number(-3)),
        ("10", number(10)),
        (" 2.0 ", number(2)),
        ("-2.000", number(-2)),
        ("1.000000000000000000e+00", number(1)),
        ("-1.200000000000000000e+01", number(-12)),
        ("9223372036854775807", number(i64::MAX)),
        ("-1", None),
        ("-1.0", None),
        ("-1.000000000000000000e+00", None),
        ("", None),
        ("nan", None),
        ("NaN", None),
        ("01", word("01")),
        ("-01", word("-01")),
        ("+1", word("+1")),
        ("1.", word("1.")),
        (".0", word(".0")),
        ("1e3", word("1e3")),
        ("1.5e+03", word("1.5e+03")),
        ("1.500000e+00", word("1.500000e+00")),
        ("1.1", word("1.1")),
        ("0x1", word("0x1")),
        ("inf", word("inf")),
        ("9223372036854775808", word("9223372036854775808")),
    ];
    let expected: Vec<Option<Label>> = cases.iter().map(|(_, label)| label.clone()).collect();
    let lines: String = cases
        .iter()
        .map(|(cell, _)| format!("1,{cell}\n"))
        .collect();
    assert_eq!(csv(&lines, "last").unwrap().labels, expected);
    // The same in an array of text, where they may be any.
    let wide = |(text, _): &(&str, _)| {
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(32, 0);
        bytes
    };
    let rows = cases.len();
    let bytes: Vec<u8> = cases.iter().flat_map(wide).collect();
    let labels = npy("|S32", "False", &format!("({rows},)"), &bytes);
    let file = npz(&[features(rows), ("labels", labels)]);
    assert_eq!(
        read("x.npz", file, &Keys::default()).unwrap().labels,
        expected
    );
    let versions = npy("|S3", "False", "(2,)", b"1.11.2");
    let file = npz(&[features(2), ("labels", versions)]);
    let read_back = read("x.npz", file, &Keys::default()).unwrap();
    assert_eq!(read_back.labels, [word("1.1"), word("1.2")]);
}

/// R leaves out the quotes where a label is missing.
#[test]
fn csv_labels_that_r_has_not() {
    let text = |t: &str| Some(Label::Text(t.to_string()));
    let lines = "\"a\",\"b\",\"class\"\n1,2,\"x\"\n\n1,2,NA\n1,2,\"NA\"\n";
    let read_back = csv(lines, "last").unwrap();
    assert_eq!(read_back.labels, [text("x"), None, text("NA")]);
    noted(&read_back.notes, "NA without quotes stand for none: 1");
    let lines = "\"x, \"\"y\"\"\",1,2\r\nNA,1,2\r\n\"NA\",1,2\r\n";
    let read_back = csv(lines, "first").unwrap();
    assert_eq!(read_back.labels, [text("x, \"y\""), None, text("NA")]);
    // Before the label are cells with quotes and commas, which are features all the same.
    let lines = "\"1\",\" 2\",NA\n\"1\",\" 2\",\"NA\"\n3,4,NAN\n";
    let read_back = csv(lines, "last").unwrap();
    assert_eq!(read_back.labels, [None, text("NA"), None]);
    // In arrays it is a word.
    let labels = npy("|S2", "False", "(1,)", b"NA");
    let file = npz(&[features(1), ("labels", labels)]);
    assert_eq!(
        read("x.npz", file, &Keys::default()).unwrap().labels,
        [text("NA")]
    );
}

#[test]
fn csv_that_cannot_be_used_says_where() {
    refused(csv("", "last"), &["empty"]);
    refused(csv("a,b,label\n", "last"), &["no samples"]);
    refused(csv("1,2,0\n1,,0\n", "last"), &["line 2, column 2", "empty"]);
    refused(csv(",2,0\n1,1,0\n", "last"), &["line 1, column 1", "empty"]);
    refused(
        csv("a,b,l\n1,2,0\n1,x,0\n", "last"),
        &["line 3, column 2", "`x`"],
    );
    refused(
        csv("1,2,0\n1,inf,0\n", "last"),
        &["line 2, column 2", "finite"],
    );
    refused(
        csv("1,2,0\n1,NaN,0\n", "last"),
        &["line 2, column 2", "finite"],
    );
    refused(csv("1,2,0\n1,2,3,0\n", "last"), &["line 2", "4 cells", "3"]);
    refused(
        read("x.csv", b"1,2,\xff\xfe\n", &Keys::default()),
        &["UTF-8"],
    );
    let keys = keys(&["X"], &[]);
    noted(
        &read("x.csv", "1,2\n", &keys).unwrap().notes,
        "keys of features and labels",
    );
}

#[test]
fn label_columns_are_written_as_they_are_read() {
    for text in ["first", "last", "none", "species"] {
        assert_eq!(text.parse::<LabelColumn>().unwrap().to_string(), text);
    }
    assert_eq!(LabelColumn::default(), LabelColumn::Last);
}

// ------------------------------------------------------------------------------ files and names

#[test]
fn names_and_paths_are_found() {
    let folder = TempDir::new().unwrap();
    let make = |name: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, "1,2\n").unwrap();
        path
    };
    let (b, _, c) = (make("b.csv"), make("notes.txt"), make("c.npy"));
    assert_eq!(find("b", folder.path()).unwrap(), b);
    assert_eq!(find("c", folder.path()).unwrap(), c);
    let first = make("b.npz");
    assert_eq!(find("b", folder.path()).unwrap(), first);
    let first = make("b.mat");
    assert_eq!(find("b", folder.path()).unwrap(), first);
    assert_eq!(find(b.to_str().unwrap(), Path::new("/nowhere")).unwrap(), b);
    let error = refused(
        find("d", folder.path()),
        &["called d", "holds b, c;", "--data-dir"],
    );
    assert_eq!(error.exit_code(), 2);
    refused(
        find("d", Path::new("/nowhere")),
        &["/nowhere cannot be read", "--data-dir"],
    );
    // What can be nothing but a path is none of the names.
    for path in ["nope.npz", "some/where", "/nowhere/d"] {
        let words = format!("{path}: there is no such file; a path begins at the current folder");
        let error = refused(find(path, Path::new("/nowhere")), &[&words]);
        assert_eq!(error.exit_code(), 2);
    }
    let there = format!("b.csv: there is no such file; there is {}", b.display());
    refused(find("b.csv", folder.path()), &[&there]);
    let name = folder.path().to_str().unwrap();
    refused(find(name, Path::new("/nowhere")), &["is a folder"]);
}

#[test]
fn files_that_are_none() {
    let folder = TempDir::new().unwrap();
    refused(
        read_domain(&folder.path().join("a.mat"), &Keys::default()),
        &["a.mat", "cannot be read"],
    );
    refused(read("a.txt", "1", &Keys::default()), &["a.txt", ".npz"]);
    let inner = folder.path().join("b.mat");
    std::fs::create_dir(&inner).unwrap();
    let words = ["b.mat: is a folder, no regular file: name a file"];
    refused(read_domain(&inner, &Keys::default()), &words);
    assert_eq!(read("A.CSV", "1,2\n", &Keys::default()).unwrap().name, "A");
}

#[test]
fn digits_are_bundled_and_found_by_name() {
    let (source, target) = digits().unwrap();
    assert_eq!((source.features.rows(), source.features.cols()), (1000, 76));
    assert_eq!(
        (target.features.rows(), target.features.cols()),
        (1000, 240)
    );
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/digits");
    let path = find("digits_fourier", &folder).unwrap();
    assert_eq!(read_domain(&path, &Keys::default()).unwrap(), source);
    let path = find("digits_pixels", &folder).unwrap();
    assert_eq!(read_domain(&path, &Keys::default()).unwrap(), target);
    for row in source.features.dense(0..1000).values.chunks_exact(76) {
        approx::assert_abs_diff_eq!(row.iter().map(|x| x * x).sum::<f64>(), 1.0, epsilon = 1e-12);
    }
    let task = Task::new(source, target).unwrap();
    assert_eq!(
        task.classes,
        (0..10).map(Label::Integer).collect::<Vec<_>>()
    );
    for labels in [&task.source_labels, &task.target_labels] {
        (0..10).for_each(|k| assert_eq!(labels.iter().filter(|&&l| l == Some(k)).count(), 100));
    }
}

// --------------------------------------------------------------------------- classes and splits

#[test]
fn classes_are_the_sources_in_order() {
    let task = task(
        &[Some(10), Some(9), None, Some(-3)],
        &[Some(9), None, Some(10)],
    )
    .unwrap();
    assert_eq!(task.classes, [-3, 9, 10].map(Label::Integer));
    assert_eq!(task.source_labels, [Some(2), Some(1), None, Some(0)]);
    assert_eq!(task.target_labels, [Some(1), None, Some(2)]);
    noted(&task.notes, "take no part: 1");
    noted(&task.notes, "without a labelled sample in target tgt: -3");
}

#[test]
fn integers_and_text_meet_as_text() {
    let text = |t: &str| Some(Label::Text(t.to_string()));
    let source = domain("src", vec![text("10"), text("9"), text("x")]);
    let task = Task::new(source, domain("tgt", integers(&[Some(9), Some(10)]))).unwrap();
    assert_eq!(
        task.classes,
        ["10", "9", "x"].map(|t| Label::Text(t.to_string()))
    );
    assert_eq!(task.target_labels, [Some(1), Some(0)]);
    noted(&task.notes, "compared as text");
    assert_eq!(
        Label::Text("two\nlines".to_string())
            .to_string()
            .lines()
            .count(),
        1
    );
}

#[test]
fn class_sets_that_cannot_work() {
    refused(
        task(&[Some(1), Some(2)], &[Some(0), Some(3), Some(1)]),
        &["target tgt", "source src has: 0, 3;", "has 1, 2:"],
    );
    refused(
        task(&[None, None], &[Some(1)]),
        &["source src has no labels"],
    );
    refused(task(&[Some(4), Some(4)], &[Some(4)]), &["single class 4"]);
}

#[test]
fn rows_are_drawn_per_class_and_partition() {
    let known: Vec<Option<i64>> = (0..60).map(|i| (i % 7 != 0).then_some(i % 3)).collect();
    let task = task(&[Some(0), None, Some(1), Some(2)], &known).unwrap();
    let splits = task.splits(&Labelling::PerClass(4), 3, 2020).unwrap();
    for split in &splits {
        assert_eq!(split.source, [0, 2, 3]);
        let mut all = [&split.labelled[..], &split.unlabelled[..]].concat();
        assert!(split.labelled.is_sorted() && split.unlabelled.is_sorted());
        all.sort_unstable();
        assert_eq!(all, (0..60).collect::<Vec<_>>());
        for k in 0..3 {
            let of = split
                .labelled
                .iter()
                .filter(|&&i| task.target_labels[i] == Some(k));
            assert_eq!(of.count(), 4);
        }
    }
    assert!(splits[0] != splits[1] && splits[1] != splits[2] && splits[0] != splits[2]);
    assert_eq!(
        task.splits(&Labelling::PerClass(4), 3, 2020).unwrap(),
        splits
    );
    // A partition does not depend on how many there are, but on the seed.
    assert_eq!(
        task.splits(&Labelling::PerClass(4), 2, 2020).unwrap(),
        splits[..2]
    );
    assert_ne!(
        task.splits(&Labelling::PerClass(4), 1, 2021).unwrap(),
        splits[..1]
    );
}

#[test]
fn draws_come_from_the_even_streams_class_by_class() {
    use rand::{SeedableRng, seq::SliceRandom};
    let labels: Vec<Option<i64>> = (0..40).map(|i| Some(i % 2)).collect();
    let task = task(&[Some(0), Some(1)], &labels).unwrap();
    for (p, split) in task
        .splits(&Labelling::PerClass(3), 4, 9)
        .unwrap()
        .iter()
        .enumerate()
    {
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(9);
        random.set_stream(2 * p as u64);
        let mut expected = Vec::new();
        for k in 0..2 {
            let mut rows: Vec<usize> = (k..40).step_by(2).collect();
            expected.extend_from_slice(rows.partial_shuffle(&mut random, 3).0);
        }
        expected.sort_unstable();
        assert_eq!(split.labelled, expected);
    }
}

#[test]
fn too_few_rows_of_a_class() {
    let task = task(
        &[Some(1), Some(2), Some(3)],
        &[Some(1), Some(1), Some(2), Some(2), Some(2)],
    )
    .unwrap();
    refused(
        task.splits(&Labelling::PerClass(2), 1, 0),
        &["class 3", "no labelled row", "--split"],
    );
    let two = crate::task(
        &[Some(1), Some(2)],
        &[Some(1), Some(1), Some(2), Some(2), Some(2)],
    )
    .unwrap();
    refused(
        two.splits(&Labelling::PerClass(3), 1, 0),
        &["class 1 has 2", "3 are asked for", "--labelled-per-class 2"],
    );
    let split = &two.splits(&Labelling::PerClass(2), 1, 0).unwrap()[0];
    assert_eq!(
        (split.labelled.len(), &split.labelled[..2]),
        (4, &[0, 1][..])
    );
    let all = crate::task(&[Some(1), Some(2)], &[Some(1), Some(2)]).unwrap();
    refused(
        all.splits(&Labelling::PerClass(1), 1, 0),
        &["every row", "--labelled-per-class"],
    );
    assert_eq!(
        refused(all.splits(&Labelling::PerClass(0), 1, 0), &["0"]).exit_code(),
        2
    );
    assert_eq!(
        refused(all.splits(&Labelling::Given, 0, 0), &["partitions"]).exit_code(),
        2
    );
    refused(all.splits(&Labelling::Given, 1, 0), &["every row"]);
    refused(all.splits(&Labelling::Parts, 1, 0), &["one part"]);
}

#[test]
fn labels_as_given_and_by_parts() {
    let mut task = task(&[Some(1), Some(2)], &[Some(1), None, Some(2), Some(1)]).unwrap();
    assert_eq!(task.default_labelling(3), Labelling::Given);
    let split = Split {
        source: vec![0, 1],
        labelled: vec![0, 2, 3],
        unlabelled: vec![1],
    };
    assert_eq!(
        task.splits(&Labelling::Given, 2, 0).unwrap(),
        [split.clone(), split]
    );
    task.target.parts = vec![3, 1];
    assert_eq!(task.default_labelling(3), Labelling::Parts);
    let split = Split {
        source: vec![0, 1],
        labelled: vec![0, 2],
        unlabelled: vec![1, 3],
    };
    assert_eq!(
        task.splits(&Labelling::Parts, 1, 0).unwrap(),
        std::slice::from_ref(&split)
    );
    assert_eq!(
        task.splits(&Labelling::Fixed(split.clone()), 2, 0).unwrap(),
        [split.clone(), split.clone()]
    );
    let outside = Split {
        labelled: vec![4],
        ..split
    };
    refused(
        task.splits(&Labelling::Fixed(outside), 1, 0),
        &["row 4", "4 rows"],
    );
    let full = crate::task(&[Some(1), Some(2)], &[Some(1)]).unwrap();
    assert_eq!(full.default_labelling(5), Labelling::PerClass(5));
    let none = crate::task(&[Some(1), Some(2)], &[None, None]).unwrap();
    refused(
        none.splits(&none.default_labelling(3), 1, 0),
        &["no row of target tgt is labelled"],
    );
    // A class without labelled target rows is no obstacle.
    let partial = crate::task(&[Some(1), Some(2)], &[Some(1), None]).unwrap();
    assert!(partial.splits(&Labelling::Given, 1, 0).is_ok());
}

fn json(text: &str) -> ssan::Result<Split> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("split.json");
    std::fs::write(&path, text).unwrap();
    let task = task(
        &[Some(1), Some(2), Some(2), None],
        &[Some(1), Some(2), None],
    )
    .unwrap();
    read_split(&path, &task)
}

#[test]
fn splits_in_json() {
    let split = json(r#"{"source":[2,0],"labelled":[1,0],"unlabelled":[2]}"#).unwrap();
    assert_eq!(
        split,
        Split {
            source: vec![0, 2],
            labelled: vec![0, 1],
            unlabelled: vec![2]
        }
    );
    let split = json(r#"{"labelled":[1],"unlabelled":[2]}"#).unwrap();
    assert_eq!(split.source, [0, 1, 2]);
    // A run's list, if it leaves no choice.
    let one = r#"{"source":[1,0],"labelled":[1],"unlabelled":[2]}"#;
    let list = |splits: &[&str]| format!("{{\"partitions\": [{}]}}\n", splits.join(","));
    assert_eq!(json(&list(&[one])).unwrap(), json(one).unwrap());
    for n in [0, 2] {
        let words = format!("a run's list of the splits of {n} partitions: one entry");
        refused(json(&list(&vec![one; n])), &["split.json", &words]);
    }
    refused(json(&list(&["{}"])), &["missing field `labelled`"]);
    for (text, words) in [
        (
            r#"{"labelled":[1],"unlabelled":[3]}"#,
            &["split.json", "unlabelled lists row 3", "from 0", "3 rows"][..],
        ),
        (
            r#"{"labelled":[1,1],"unlabelled":[2]}"#,
            &["labelled lists row 1", "twice"],
        ),
        (
            r#"{"labelled":[1,0],"unlabelled":[2,0]}"#,
            &["row 0", "both in labelled and in unlabelled"],
        ),
        (
            r#"{"labelled":[2],"unlabelled":[1]}"#,
            &["labelled lists row 2", "no label"],
        ),
        (
            r#"{"source":[0,1,3],"labelled":[1],"unlabelled":[2]}"#,
            &["source lists row 3", "no label"],
        ),
        (
            r#"{"source":[1,2],"labelled":[1],"unlabelled":[2]}"#,
            &["source", "class 1"],
        ),
        (
            r#"{"source":[],"labelled":[1],"unlabelled":[2]}"#,
            &["source lists no row"],
        ),
        (
            r#"{"labelled":[],"unlabelled":[2]}"#,
            &["labelled lists no row"],
        ),
        (
            r#"{"labelled":[1],"unlabelled":[]}"#,
            &["unlabelled lists no row"],
        ),
        (
            r#"{"labelled":[1],"unlabelled":[2],"test":[0]}"#,
            &["unknown field `test`"],
        ),
        (r#"{"labelled":[1]}"#, &["missing field `unlabelled`"]),
        (r#"{"labelled":[-1],"unlabelled":[2]}"#, &["-1"]),
        (
            r#"{"labelled":[18446744073709551615],"unlabelled":[2]}"#,
            &["18446744073709551615"],
        ),
        ("[", &["EOF"]),
    ] {
        refused(json(text), words);
    }
}

#[test]
fn splits_in_mat_files_count_from_one() {
    let three = task(&[Some(1), Some(2), Some(2)], &[Some(1), Some(2), Some(2)]).unwrap();
    let split = read_split(&fixture("split.mat"), &three).unwrap();
    assert_eq!(
        split,
        Split {
            source: vec![0, 1, 2],
            labelled: vec![0, 2],
            unlabelled: vec![1]
        }
    );
    let two = task(&[Some(1), Some(2), Some(2)], &[Some(1), Some(2)]).unwrap();
    refused(
        read_split(&fixture("split.mat"), &two),
        &[
            "split.mat",
            "target_training_index lists row 3",
            "from 1",
            "2 rows",
        ],
    );
    refused(
        read_split(&fixture("double.mat"), &two),
        &["no source_index", "fts (3×2 double)"],
    );
    refused(
        read_split(Path::new("/nowhere.json"), &two),
        &["nowhere.json", "cannot be read"],
    );
}

#[test]
fn memory_is_known_here() {
    if Path::new("/proc/meminfo").exists() {
        assert!(ssan::memory::available().unwrap() > 1 << 20);
    }
}
