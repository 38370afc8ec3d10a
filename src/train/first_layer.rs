//! Which projectors train their first layer in Gram form.
//!
//! A first layer of `h` units on `n` fixed rows of `d` features costs, per epoch and partition,
//! `4·n·d·h` operations as its weight (forward and weight gradient) and `2·n²·h` in Gram form
//! ([`Form::Gram`]), which pays once for `X·Xᵀ` (`2·n²·d`, shared by all partitions), and per
//! partition for `X·W₀ᵀ` at the start and the weight at the end (`2·n·d·h` each). In the long run
//! it is the cheaper one where `n < 2d`.

use std::fmt;
use std::str::FromStr;

use super::{Options, Problem};
use crate::model::Form;

/// What the first layer of both projectors is trained as (`--first-layer`). The result is the same
/// but for rounding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FirstLayer {
    /// Of each projector, what costs fewer operations.
    #[default]
    Auto,
    /// In Gram form, unless the optimiser rules it out.
    Gram,
    /// As its weight.
    Direct,
}

impl FromStr for FirstLayer {
    type Err = String;

    fn from_str(name: &str) -> Result<FirstLayer, String> {
        match name {
            "auto" => Ok(FirstLayer::Auto),
            "gram" => Ok(FirstLayer::Gram),
            "direct" => Ok(FirstLayer::Direct),
            _ => Err("auto, gram or direct is known".to_string()),
        }
    }
}

impl fmt::Display for FirstLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FirstLayer::Auto => "auto",
            FirstLayer::Gram => "gram",
            FirstLayer::Direct => "direct",
        })
    }
}

/// Entries that a Gram matrix may have: kernels count them in `int`s.
const LARGEST_GRAM: f64 = 2e9;

impl Options {
    /// What the first layer of a projector on `rows` rows of `cols` features is trained as, in
    /// `networks` networks side by side. Adam is not linear in the gradient: with it,
    /// [`Form::Direct`] always.
    pub fn first_layer_form(&self, rows: usize, cols: usize, networks: usize) -> Form {
        let gram = match self.first_layer {
            FirstLayer::Auto => self.gram_pays(rows, cols, networks),
            FirstLayer::Gram => true,
            FirstLayer::Direct => false,
        };
        if gram && self.optimizer.is_linear() {
            Form::Gram
        } else {
            Form::Direct
        }
    }

    /// What the first layer of the source and of the target projector is trained as.
    pub fn first_layers(&self, problem: &Problem) -> [Form; 2] {
        let networks = problem.networks();
        [&problem.source, &problem.target]
            .map(|x| self.first_layer_form(x.rows(), x.cols(), networks))
    }

    /// What a user should be told: that the Gram form was asked for and cannot be had.
    pub fn first_layer_note(&self) -> Option<&'static str> {
        let refused = self.first_layer == FirstLayer::Gram && !self.optimizer.is_linear();
        refused.then_some(
            "the Gram form of the first layer needs an update that is linear in the gradient; \
             with Adam both first layers are trained directly",
        )
    }

    /// Whether the Gram form takes fewer operations over the whole run.
    fn gram_pays(&self, rows: usize, cols: usize, networks: usize) -> bool {
        let hidden = self.layers.first(cols, self.common) as f64;
        let [rows, cols, networks] = [rows, cols, networks].map(|n| n as f64);
        let steps = networks * self.epochs as f64;
        let direct = steps * 4.0 * rows * cols * hidden;
        let once = 2.0 * rows * rows * cols + networks * 4.0 * rows * cols * hidden;
        let gram = steps * 2.0 * rows * rows * hidden + once;
        gram < direct && rows * rows <= LARGEST_GRAM
    }
}
