//! From what the user calls a domain to its file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::domain::Format;
use crate::error::{Error, Result};

/// The file that `name` stands for: a path, or a file of that name in `data_dir` with the
/// extension `.mat`, `.npz`, `.npy` or `.csv`, the first of these that exists.
///
/// # Errors
/// There is no such file; of what is no path, the message lists the names that there are.
pub fn find(name: &str, data_dir: &Path) -> Result<PathBuf> {
    let extensions = Format::ALL.iter();
    let named = extensions.map(|(extension, _)| data_dir.join(format!("{name}.{extension}")));
    let mut candidates = [PathBuf::from(name)].into_iter().chain(named);
    if let Some(path) = candidates.find(|path| path.is_file()) {
        return Ok(path);
    }
    let path = Path::new(name);
    if path.is_dir() {
        return Err(Error::Usage(format!(
            "{name} is a folder: name a file in it"
        )));
    }
    if path.components().count() > 1 || Format::of(path).is_some() {
        let beside = data_dir.join(path);
        let hint = match beside.is_file() {
            true => format!("there is {}", beside.display()),
            false => "a path begins at the current folder, or at /".to_string(),
        };
        return Err(Error::Usage(format!(
            "{name}: there is no such file; {hint}"
        )));
    }
    let folder = data_dir.display();
    let found = match names(data_dir) {
        None => format!("the folder {folder} cannot be read"),
        Some(names) if names.is_empty() => format!("{folder} holds no data"),
        Some(names) => format!("{folder} holds {}", names.join(", ")),
    };
    Err(Error::Usage(format!(
        "no data called {name}: {found}; --data-dir chooses the folder, or give the path of a file"
    )))
}

/// Names that a folder knows, sorted; `None` without the folder.
fn names(folder: &Path) -> Option<Vec<String>> {
    let paths = std::fs::read_dir(folder).ok()?.flatten().map(|e| e.path());
    let known = paths.filter(|path| path.is_file() && Format::of(path).is_some());
    let names: BTreeSet<String> = known
        .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
        .collect();
    Some(names.into_iter().collect())
}
