//! What a run needs in memory, before anything is taken.

use super::Options;
use crate::data::Task;
use crate::error::{Error, Result};
use crate::memory::available;
use crate::model::Form;
use crate::optim::Optimizer;

/// Bytes that training `partitions` partitions of `task` in `f32` on the CPU takes, about. A `f64`,
/// since options may ask for more than any integer counts.
pub fn needed(task: &Task, partitions: usize, options: &Options) -> f64 {
    let (source, target) = (&task.source.features, &task.target.features);
    let dimensions = options.dimensions(source.cols, target.cols, task.classes.len());
    // Value, gradient and the optimiser's state in f32; the initial and the trained values in f64.
    let copies = match options.optimizer {
        Optimizer::Sgd | Optimizer::MomentumSgd => 3.0,
        Optimizer::Adam => 4.0,
    };
    let mut per_partition = dimensions.parameter_count() * (4.0 * copies + 2.0 * 8.0);
    let mut shared = 0.0;
    let (common, classes) = (options.common as f64, task.classes.len() as f64);
    for matrix in [source, target] {
        let (rows, cols) = (matrix.rows as f64, matrix.cols as f64);
        let hidden = (cols + common) / 2.0;
        // Hidden layer, features before and after normalisation, the reversed gradient, logits,
        // softmax and similarities: values and gradients. Split, labels, and what is said of the
        // rows at the end.
        per_partition += 4.0 * rows * (2.0 * hidden + 5.0 * common + 11.0 * classes) + 32.0 * rows;
        if options.first_layer_form(matrix.rows, matrix.cols, partitions) == Form::Gram {
            // Coefficients of the rows, their gradient and momentum, the output of the initial
            // weight; the products of all pairs of rows.
            let first = options.layers.first(matrix.cols, options.common) as f64;
            per_partition += 4.0 * 4.0 * rows * first;
            shared += (8.0 + 4.0) * rows * rows;
        }
    }
    // As read and as selected in f64, and in f32.
    let data = (source.values.len() + target.values.len()) as f64 * (8.0 + 8.0 + 4.0);
    data + shared + partitions as f64 * per_partition
}

/// Refuses what does not fit in the memory that is available now.
///
/// # Errors
/// It does not fit.
pub fn check(task: &Task, partitions: usize, options: &Options) -> Result<()> {
    let needed = needed(task, partitions, options);
    match available() {
        Some(available) if needed > available as f64 => {
            let gib = |bytes: f64| bytes / f64::from(1 << 30);
            Err(Error::Usage(format!(
                "training needs about {:.1} GiB of memory, {:.1} GiB are available; \
                 use a smaller --partition or --d_common",
                gib(needed),
                gib(available as f64)
            )))
        }
        _ => Ok(()),
    }
}
