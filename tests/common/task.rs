//! A small task in two files.

use std::path::Path;

/// Writes `source.csv` (3 features) and `target.csv` (4) to `folder`: three classes, ten rows of each.
pub fn write_task(folder: &Path) {
    for (name, cols) in [("source.csv", 3), ("target.csv", 4)] {
        let row = |i: usize| {
            let cell = |j: usize| f64::from(u8::from(j == i % 3)) + ((i * 7 + j) % 5) as f64 / 20.0;
            let cells: Vec<String> = (0..cols).map(|j| cell(j).to_string()).collect();
            format!("{},{}\n", cells.join(","), i % 3)
        };
        let text: String = (0..30).map(row).collect();
        std::fs::write(folder.join(name), text).unwrap();
    }
}
