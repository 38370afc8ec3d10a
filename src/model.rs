//! The network: one projector per domain, a shared classifier, a discriminator.
//!
//! Projector `d → h → d_common` with `h = ⌊(d + d_common)/2⌋`, or `d → d_common`; LeakyReLU(0.2)
//! after every linear layer, then rows scaled to unit length. Classifier `d_common → K`, LeakyReLU
//! on the logits too. Discriminator `d_common → 1` (SSAN, Fig. 2; as the released code has it).

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, Normal};

use crate::graph::{Graph, Var};
use crate::ops::{l2_normalize, leaky_relu, linear};
use crate::real::Real;

/// Slope of every LeakyReLU.
const SLOPE: f64 = 0.2;

/// Standard deviation of every initial weight and bias.
const INITIAL_SCALE: f64 = 0.01;

/// Linear layers of a projector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layers {
    /// `d → d_common`.
    Single,
    /// `d → ⌊(d + d_common)/2⌋ → d_common`.
    Double,
}

/// Sizes that fix the shape of every parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dimensions {
    /// Source features.
    pub source: usize,
    /// Target features.
    pub target: usize,
    /// Common representation.
    pub common: usize,
    /// Classes `K`.
    pub classes: usize,
    /// Layers of the projectors.
    pub layers: Layers,
}

/// Name and shape of one parameter: `rows × cols`, a weight as `out × in`, a bias as `1 × out`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterShape {
    /// For instance `source.0.weight`.
    pub name: String,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
}

impl Dimensions {
    /// All linear layers as (name, inputs, outputs), in the order in which they are initialised.
    fn layers(&self) -> Vec<(String, usize, usize)> {
        let mut layers = Vec::new();
        for (domain, features) in [("source", self.source), ("target", self.target)] {
            let hidden = features.midpoint(self.common);
            let sizes = match self.layers {
                Layers::Single => vec![features, self.common],
                Layers::Double => vec![features, hidden, self.common],
            };
            for (i, pair) in sizes.windows(2).enumerate() {
                layers.push((format!("{domain}.{i}"), pair[0], pair[1]));
            }
        }
        layers.push(("classifier".into(), self.common, self.classes));
        layers.push(("discriminator".into(), self.common, 1));
        layers
    }

    /// Numbers in all parameters together, of any sizes that a user may ask for.
    pub fn parameter_count(&self) -> f64 {
        let layers = self.layers().into_iter();
        let layers = layers.map(|(_, inputs, outputs)| (inputs as f64 + 1.0) * outputs as f64);
        layers.sum()
    }

    /// All parameters, in the order in which they are initialised.
    pub fn parameters(&self) -> Vec<ParameterShape> {
        let shape = |name, rows, cols| ParameterShape { name, rows, cols };
        let layers = self.layers().into_iter();
        layers
            .flat_map(|(name, inputs, outputs)| {
                [
                    shape(format!("{name}.weight"), outputs, inputs),
                    shape(format!("{name}.bias"), 1, outputs),
                ]
            })
            .collect()
    }
}

/// Values of all parameters of one partition, in the order of [`Dimensions::parameters`].
pub type Parameters = Vec<Vec<f64>>;

/// Initial parameters of partition `partition`: every weight and bias from N(0, 0.01²). They
/// depend on the seed and the partition's number alone.
pub fn initial_parameters(dimensions: &Dimensions, seed: u64, partition: usize) -> Parameters {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // Stream 2p draws the labelled rows of partition p.
    rng.set_stream(2 * partition as u64 + 1);
    let normal = Normal::new(0.0, INITIAL_SCALE).expect("a positive deviation");
    let mut draw = |len: usize| (0..len).map(|_| normal.sample(&mut rng)).collect();
    let shapes = dimensions.parameters().into_iter();
    shapes.map(|s| draw(s.rows * s.cols)).collect()
}

/// A linear layer's parameters.
#[derive(Clone, Copy, Debug)]
struct Layer {
    weight: Var,
    bias: Var,
}

/// The recorded parameters of all partitions.
#[derive(Clone, Debug)]
pub struct Model {
    dimensions: Dimensions,
    source: Vec<Layer>,
    target: Vec<Layer>,
    classifier: Layer,
    discriminator: Layer,
}

impl Model {
    /// Records the parameters, which start from `initial`, one set per partition.
    pub fn record<T: Real>(
        g: &mut Graph<T>,
        dimensions: Dimensions,
        initial: &[Parameters],
    ) -> Model {
        assert_eq!(initial.len(), g.partitions(), "one set per partition");
        let shapes = dimensions.parameters().into_iter().enumerate();
        let vars: Vec<Var> = shapes
            .map(|(i, shape)| {
                let values = initial.iter().flat_map(|set| &set[i]);
                let values = values.map(|&x| T::of(x)).collect();
                g.parameter(&shape.name, shape.rows, shape.cols, values)
            })
            .collect();
        let mut layers: Vec<Layer> = vars
            .chunks_exact(2)
            .map(|pair| Layer {
                weight: pair[0],
                bias: pair[1],
            })
            .collect();
        let discriminator = layers.pop().expect("the last layer");
        let classifier = layers.pop().expect("the last but one");
        let target = layers.split_off(layers.len() / 2);
        Model {
            dimensions,
            source: layers,
            target,
            classifier,
            discriminator,
        }
    }

    /// The sizes it was recorded with.
    pub fn dimensions(&self) -> &Dimensions {
        &self.dimensions
    }

    /// Parameters in the order of [`Dimensions::parameters`].
    pub fn vars(&self) -> Vec<Var> {
        let layers = self.source.iter().chain(&self.target);
        let layers = layers.chain([&self.classifier, &self.discriminator]);
        layers.flat_map(|l| [l.weight, l.bias]).collect()
    }

    /// Records the source projector: `x [1, n, d_source]` to unit rows `[P, n, d_common]`.
    pub fn project_source<T: Real>(&self, g: &mut Graph<T>, x: Var) -> Var {
        project(g, &self.source, x)
    }

    /// Records the target projector: `x [1, n, d_target]` to unit rows `[P, n, d_common]`.
    pub fn project_target<T: Real>(&self, g: &mut Graph<T>, x: Var) -> Var {
        project(g, &self.target, x)
    }

    /// Records the classifier: features `[P, n, d_common]` to logits `[P, n, K]`.
    pub fn classify<T: Real>(&self, g: &mut Graph<T>, features: Var) -> Var {
        self.classifier.record_activated(g, features)
    }

    /// Records the discriminator: features `[P, n, d_common]` to logits `[P, n, 1]` of "source".
    pub fn discriminate<T: Real>(&self, g: &mut Graph<T>, features: Var) -> Var {
        let Layer { weight, bias } = self.discriminator;
        linear(g, features, weight, bias)
    }
}

impl Layer {
    fn record_activated<T: Real>(&self, g: &mut Graph<T>, x: Var) -> Var {
        let y = linear(g, x, self.weight, self.bias);
        leaky_relu(g, y, SLOPE)
    }
}

fn project<T: Real>(g: &mut Graph<T>, layers: &[Layer], x: Var) -> Var {
    let features = layers.iter().fold(x, |x, l| l.record_activated(g, x));
    l2_normalize(g, features)
}
