//! What a run needs in memory, before anything is taken.

use super::{Options, Select};
use crate::data::{Features, Task};
use crate::error::{Error, Result};
use crate::memory::available;
use crate::model::{Form, Layers};
use crate::optim::Optimizer;

/// Bytes that training `partitions` partitions of `task` in `f32` on the CPU takes, about. A `f64`,
/// since options may ask for more than any integer counts.
pub fn needed(task: &Task, partitions: usize, options: &Options) -> f64 {
    let (source, target) = (&task.source.features, &task.target.features);
    let networks = partitions.saturating_mul(options.members);
    let dimensions = options.dimensions(source.cols(), target.cols(), task.classes.len());
    // Value, gradient and the optimiser's state in f32; the value read back, in f32, what is kept of
    // it, and the initial and the trained one in f64.
    let copies = match options.optimizer {
        Optimizer::Sgd | Optimizer::MomentumSgd => 3.0,
        Optimizer::Adam => 4.0,
    };
    let kept = if options.select == Select::Last {
        0.0
    } else {
        2.0
    };
    let trained = 4.0 * (copies + 1.0 + kept);
    let mut per_network = dimensions.parameter_count() * (trained + 2.0 * 8.0);
    let (mut data, mut shared, mut passing) = (0.0, 0.0, 0.0f64);
    let (common, classes) = (options.common as f64, task.classes.len() as f64);
    for matrix in [source, target] {
        let (rows, cols) = (matrix.rows() as f64, matrix.cols() as f64);
        let hidden = (cols + common) / 2.0;
        // Hidden layer, features before and after normalisation, the reversed gradient, logits,
        // softmax and similarities: values and gradients. Split, labels, and what is said of the
        // rows at the end.
        per_network += 4.0 * rows * (2.0 * hidden + 5.0 * common + 8.0 * classes) + 32.0 * rows;
        if options.first_layer_form(matrix.rows(), matrix.cols(), networks) == Form::Gram {
            // Instead of the weight: coefficients of the rows, their gradient and momentum, the
            // output of the initial weight. The products of all pairs of rows, of one domain at a
            // time in f64 too.
            let first = options.layers.first(matrix.cols(), options.common) as f64;
            per_network += 4.0 * 4.0 * rows * first - trained * cols * first;
            shared += 4.0 * rows * rows;
            passing = passing.max(8.0 * rows * rows);
        } else if let Features::Sparse(_) = matrix {
            data += 4.0 * rows * cols;
            passing = passing.max(8.0 * rows * cols);
        }
        // As read and as selected in f64, and in f32; or with the column of each value.
        data += match matrix {
            Features::Dense(_) => (8.0 + 8.0 + 4.0) * rows * cols,
            Features::Sparse(_) => (12.0 + 12.0) * matrix.stored() as f64,
        };
    }
    data + shared + passing + networks as f64 * per_network
}

/// Refuses what does not fit in the memory that is available now.
///
/// # Errors
/// It does not fit; the message has the figure, and the option that would reduce it enough.
pub fn check(task: &Task, partitions: usize, options: &Options) -> Result<()> {
    match available() {
        Some(available) => check_against(available as f64, task, partitions, options),
        None => Ok(()),
    }
}

/// As [`check`], where `available` bytes are.
///
/// # Errors
/// As [`check`].
pub fn check_against(
    available: f64,
    task: &Task,
    partitions: usize,
    options: &Options,
) -> Result<()> {
    let needed = needed(task, partitions, options);
    if needed <= available {
        return Ok(());
    }
    let gib = |bytes: f64| bytes / f64::from(1 << 30);
    Err(Error::Usage(format!(
        "training needs about {:.1} GiB of memory, {:.1} GiB are available: {}",
        gib(needed),
        gib(available),
        remedy(available, task, partitions, options)
    )))
}

/// What would fit: fewer partitions; else fewer networks of one; else a smaller one; else nothing but
/// less data.
fn remedy(available: f64, task: &Task, partitions: usize, options: &Options) -> String {
    let fits = |partitions, options: &Options| needed(task, partitions, options) <= available;
    let halved =
        |n: usize| std::iter::successors(Some(n / 2), |n| Some(n / 2)).take_while(|&n| n > 0);
    if let Some(fewer) = halved(partitions).find(|&p| fits(p, options)) {
        return format!("--partition {fewer} would fit");
    }
    let fewer = halved(options.members).map(|members| Options {
        members,
        ..*options
    });
    if let Some(fewer) = { fewer }.find(|options| fits(1, options)) {
        return format!("--partition 1 --members {} would fit", fewer.members);
    }
    let members = match options.members {
        1 => "",
        _ => " --members 1",
    };
    for layers in [options.layers, Layers::Single] {
        for common in std::iter::once(options.common).chain(halved(options.common)) {
            let smaller = Options {
                layers,
                common,
                members: 1,
                ..*options
            };
            if fits(1, &smaller) {
                let name = match layers {
                    Layers::Single => "single",
                    Layers::Double => "double",
                };
                return format!(
                    "--partition 1{members} --layer {name} --d_common {common} would fit"
                );
            }
        }
    }
    "use fewer rows or features".to_string()
}
