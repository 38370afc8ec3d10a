//! `embedding.npz`: rows of the first partition in the common space of its first network, before and
//! after training; what a picture of the adaptation is drawn from.
//!
//! | array | type, shape | |
//! |---|---|---|
//! | `source_before`, `source_after` | f32, `m × d_common` | at most [`MOST_ROWS`] source rows, of unit length |
//! | `target_before`, `target_after` | f32, `n × d_common` | target rows likewise |
//! | `source_labels`, `target_labels` | i32, `m`, `n` | index of the class, −1 where unknown |
//! | `target_labelled` | u8, `n` | 1 where training used the label |

use std::io::{Cursor, Write};

use npyz::{AutoSerialize, WriterBuilder};
use zip::write::SimpleFileOptions;

use crate::data::{Split, Task};
use crate::error::Result;
use crate::inference::{Side, TrainedModel};
use crate::model::Parameters;

/// Rows of a domain that are kept: more would only blur a picture.
pub const MOST_ROWS: usize = 500;

/// The bytes of the file, of the run's first partition with this `split`: its trained `model`, whose
/// first network began with the parameters `initial`.
///
/// # Errors
/// None, unless `model` is of another task.
pub fn embedding(
    task: &Task,
    split: &Split,
    model: &TrainedModel,
    initial: &Parameters,
) -> Result<Vec<u8>> {
    let trained = &model.members[0].parameters;
    let labelled = |row: &usize| split.labelled.binary_search(row).is_ok();
    let mut target = [&split.labelled[..], &split.unlabelled].concat();
    target.sort_unstable();
    let (source, target) = (spread(&split.source), spread(&target));
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (side, name, domain, rows, labels) in [
        (
            Side::Source,
            "source",
            &task.source,
            &source,
            &task.source_labels,
        ),
        (
            Side::Target,
            "target",
            &task.target,
            &target,
            &task.target_labels,
        ),
    ] {
        let features = domain.features.select_rows(rows);
        let both = model.features_of(&[initial, trained], side, &features)?;
        for (common, when) in both.into_iter().zip(["before", "after"]) {
            let shape = [common.rows as u64, common.cols as u64];
            let values = common.values.iter().map(|&x| x as f32);
            add(&mut zip, &format!("{name}_{when}"), &shape, values);
        }
        let classes = rows.iter().map(|&i| labels[i].map_or(-1, |k| k as i32));
        add(
            &mut zip,
            &format!("{name}_labels"),
            &[rows.len() as u64],
            classes,
        );
    }
    let used = target.iter().map(|row| u8::from(labelled(row)));
    add(&mut zip, "target_labelled", &[target.len() as u64], used);
    let cursor = zip.finish().expect("memory can be written");
    Ok(cursor.into_inner())
}

/// At most [`MOST_ROWS`] of `rows`, evenly spread.
fn spread(rows: &[usize]) -> Vec<usize> {
    let kept = rows.len().min(MOST_ROWS);
    (0..kept).map(|i| rows[i * rows.len() / kept]).collect()
}

/// Adds an array to an archive, always with the same bytes.
fn add<T: AutoSerialize>(
    zip: &mut zip::ZipWriter<Cursor<Vec<u8>>>,
    name: &str,
    shape: &[u64],
    values: impl Iterator<Item = T>,
) {
    let mut bytes = Vec::new();
    let options = npyz::WriteOptions::<T>::new().default_dtype();
    let writer = options.shape(shape).writer(&mut bytes).begin_nd();
    let mut writer = writer.expect("memory can be written");
    writer.extend(values).expect("memory can be written");
    writer.finish().expect("memory can be written");
    // Without features for it, `zip` writes no time.
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    zip.start_file(format!("{name}.npy"), options)
        .and_then(|()| Ok(zip.write_all(&bytes)?))
        .expect("memory can be written");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_spread_evenly() {
        assert_eq!(spread(&[3, 5, 8]), [3, 5, 8]);
        let rows: Vec<usize> = (0..1250).collect();
        let kept = spread(&rows);
        assert_eq!(kept.len(), MOST_ROWS);
        assert!(kept.windows(2).all(|w| (2..=3).contains(&(w[1] - w[0]))));
    }
}
