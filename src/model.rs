//! The network: one projector per domain, a shared classifier, a discriminator.
//!
//! Projector `d → h → d_common` with `h = ⌊(d + d_common)/2⌋`, or `d → d_common`; LeakyReLU(0.2)
//! after every linear layer, then rows scaled to unit length. Classifier `d_common → K`, as
//! published with LeakyReLU on the logits too. Discriminator `d_common → 1` (SSAN, Fig. 2; as the released code has it).
//!
//! The rows that a projector reads never change, so its first layer may be kept in Gram form
//! ([`Form::Gram`]): the same training, at another cost.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, Normal};

use crate::data::Features;
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::ops::{GramLayer, gram_linear, l2_normalize, leaky_relu, linear};
use crate::real::Real;

/// Slope of every LeakyReLU.
pub(crate) const SLOPE: f64 = 0.2;

/// What the initial parameters are drawn from (`--init-scale`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initialisation {
    /// Every weight **and bias** from N(0, 0.01²): the released code.
    Small,
    /// Weights so that a layer keeps the scale of what it reads (He et al. 2015): N(0, g²/inputs),
    /// with g² = 2/(1 + 0.2²) before a LeakyReLU and g = 1 in classifier and discriminator; biases
    /// 0.
    FanIn,
}

impl Initialisation {
    /// Standard deviation of a parameter of `shape`.
    fn deviation(self, shape: &ParameterShape) -> f64 {
        match self {
            Initialisation::Small => 0.01,
            Initialisation::FanIn if shape.name.ends_with(".bias") => 0.0,
            Initialisation::FanIn => {
                let projects = shape.name.starts_with("source") || shape.name.starts_with("target");
                let gain: f64 = if projects {
                    2.0 / (1.0 + SLOPE * SLOPE)
                } else {
                    1.0
                };
                (gain / shape.cols as f64).sqrt()
            }
        }
    }
}

/// What the classifier ends with (`--logits`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logits {
    /// LeakyReLU(0.2), as in the released code.
    LeakyRelu,
    /// The linear layer itself.
    Linear,
}

impl Logits {
    /// Slope of negative logits.
    pub fn slope(self) -> f64 {
        match self {
            Logits::LeakyRelu => SLOPE,
            Logits::Linear => 1.0,
        }
    }
}

/// Linear layers of a projector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layers {
    /// `d → d_common`.
    Single,
    /// `d → ⌊(d + d_common)/2⌋ → d_common`.
    Double,
}

impl Layers {
    /// Units of the first layer of a projector from `features` to `common` dimensions.
    pub fn first(self, features: usize, common: usize) -> usize {
        match self {
            Layers::Single => common,
            Layers::Double => features.midpoint(common),
        }
    }
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
            let sizes = match self.layers {
                Layers::Single => vec![features, self.common],
                Layers::Double => vec![
                    features,
                    self.layers.first(features, self.common),
                    self.common,
                ],
            };
            for (i, pair) in sizes.windows(2).enumerate() {
                layers.push((format!("{domain}.{i}"), pair[0], pair[1]));
            }
        }
        layers.push(("classifier".into(), self.common, self.classes));
        layers.push(("discriminator".into(), self.common, 1));
        layers
    }

    /// Where the weights that read the source and the target rows are among all parameters.
    fn first_weights(&self) -> [usize; 2] {
        match self.layers {
            Layers::Single => [0, 2],
            Layers::Double => [0, 4],
        }
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

/// Initial parameters of member `member` of partition `partition`. They depend on these numbers
/// and the seed alone.
pub fn initial_parameters(
    dimensions: &Dimensions,
    initialisation: Initialisation,
    seed: u64,
    partition: usize,
    member: usize,
) -> Parameters {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // Stream 2p draws the labelled rows of partition p.
    rng.set_stream(((member as u64) << 32) + 2 * partition as u64 + 1);
    let mut draw = |shape: ParameterShape| {
        let deviation = initialisation.deviation(&shape);
        let normal = Normal::new(0.0, deviation).expect("a deviation");
        let numbers = 0..shape.rows * shape.cols;
        numbers.map(|_| normal.sample(&mut rng)).collect()
    };
    dimensions.parameters().into_iter().map(&mut draw).collect()
}

/// What the first layer of a projector is trained as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As its weight.
    Direct,
    /// As coefficients of the rows that it reads, see [`gram_linear`]: under a linear update the
    /// same training, without a product with the columns of these rows in the step.
    Gram,
}

impl std::fmt::Display for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Form::Direct => "trained as its weight",
            Form::Gram => "trained in Gram form",
        })
    }
}

/// The rows `X [n, d]` of a domain and the form of the first layer that reads them.
#[derive(Clone, Copy, Debug)]
pub struct Domain<'a> {
    /// Rows of unit length.
    pub features: &'a Features,
    /// Form of the first layer.
    pub form: Form,
}

/// A linear layer's parameters.
#[derive(Clone, Copy, Debug)]
struct Layer {
    /// `out × in`; of a first layer in Gram form its coefficients, `n × out`.
    weight: Var,
    bias: Var,
}

/// What the first layer of a projector reads.
#[derive(Clone, Copy, Debug)]
enum Input {
    /// `X [1, n, d]`.
    Direct(Var),
    /// `X·Xᵀ [1, n, n]`, `X·W₀ᵀ [P, n, h]` and the parameter that scales it.
    Gram { gram: Var, start: Var, scale: Var },
}

#[derive(Clone, Debug)]
struct Projector {
    input: Input,
    layers: Vec<Layer>,
}

/// The recorded parameters of all partitions.
#[derive(Clone, Debug)]
pub struct Model {
    dimensions: Dimensions,
    logits: Logits,
    source: Projector,
    target: Projector,
    classifier: Layer,
    discriminator: Layer,
}

impl Model {
    /// Records the source and the target rows, and the parameters, which start from `initial`, one
    /// set per partition.
    pub fn record<T: Real>(
        g: &mut Graph<T>,
        dimensions: Dimensions,
        logits: Logits,
        initial: &[Parameters],
        domains: [Domain; 2],
    ) -> Model {
        assert_eq!(initial.len(), g.partitions(), "one set per partition");
        let shapes = dimensions.parameters();
        let first = dimensions.first_weights();
        let constants = [0, 1].map(|i| {
            let weights = initial.iter().map(|set| &set[first[i]][..]);
            domains[i].record(g, weights, shapes[first[i]].rows)
        });
        // All parameters one after the other: their update is one launch.
        let inputs = constants.map(|constants| match constants {
            (features, None) => Input::Direct(features),
            (gram, Some(start)) => {
                let one = vec![T::one(); g.partitions()];
                let scale = g.parameter("scale", 1, 1, one);
                Input::Gram { gram, start, scale }
            }
        });
        let vars: Vec<Var> = shapes
            .iter()
            .enumerate()
            .map(|(i, shape)| {
                for (domain, first) in domains.iter().zip(first) {
                    if i == first && domain.form == Form::Gram {
                        return g.parameter(
                            &shape.name,
                            domain.features.rows(),
                            shape.rows,
                            Vec::new(),
                        );
                    }
                }
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
        let [source_input, target_input] = inputs;
        Model {
            dimensions,
            logits,
            source: Projector {
                input: source_input,
                layers,
            },
            target: Projector {
                input: target_input,
                layers: target,
            },
            classifier,
            discriminator,
        }
    }

    /// The sizes it was recorded with.
    pub fn dimensions(&self) -> &Dimensions {
        &self.dimensions
    }

    /// What the source and the target projector's first layer is trained as.
    pub fn forms(&self) -> [Form; 2] {
        [&self.source, &self.target].map(|projector| match projector.input {
            Input::Direct(_) => Form::Direct,
            Input::Gram { .. } => Form::Gram,
        })
    }

    /// Trained variables in the order of [`Dimensions::parameters`]; the coefficients of a first
    /// layer in Gram form stand in the place of its weight.
    pub fn vars(&self) -> Vec<Var> {
        let layers = self.source.layers.iter().chain(&self.target.layers);
        let layers = layers.chain([&self.classifier, &self.discriminator]);
        layers.flat_map(|l| [l.weight, l.bias]).collect()
    }

    /// Values of the parameters of every partition, from the variables that `read` reads. Weights
    /// in Gram form are formed, `W = a·W₀ + Cᵀ·X`, from the rows and the initial parameters that
    /// the model was recorded with.
    ///
    /// # Errors
    /// What `read` returns.
    pub fn parameters<T: Real>(
        &self,
        initial: &[Parameters],
        features: [&Features; 2],
        read: impl Fn(Var) -> Result<Vec<T>>,
    ) -> Result<Vec<Parameters>> {
        let read = |var| -> Result<Vec<f64>> { Ok(read(var)?.into_iter().map(T::wide).collect()) };
        let mut parameters = vec![Parameters::new(); initial.len()];
        for var in self.vars() {
            let values = read(var)?;
            for (p, parameters) in parameters.iter_mut().enumerate() {
                parameters.push(values[var.at(p)].to_vec());
            }
        }
        let projectors = [&self.source, &self.target].into_iter().zip(features);
        for ((projector, features), first) in projectors.zip(self.dimensions.first_weights()) {
            let Input::Gram { scale, .. } = projector.input else {
                continue;
            };
            let scale = read(scale)?;
            for (p, parameters) in parameters.iter_mut().enumerate() {
                let mut weight: Vec<f64> = initial[p][first].iter().map(|w| scale[p] * w).collect();
                features.add_products(&parameters[first], &mut weight);
                parameters[first] = weight;
            }
        }
        Ok(parameters)
    }

    /// Records the source projector: source rows to unit rows `[P, n, d_common]`.
    pub fn project_source<T: Real>(&self, g: &mut Graph<T>) -> Var {
        self.source.record(g)
    }

    /// Records the target projector: target rows to unit rows `[P, n, d_common]`.
    pub fn project_target<T: Real>(&self, g: &mut Graph<T>) -> Var {
        self.target.record(g)
    }

    /// Records the classifier: features `[P, n, d_common]` to logits `[P, n, K]`.
    pub fn classify<T: Real>(&self, g: &mut Graph<T>, features: Var) -> Var {
        let logits = self.classifier.record(g, features);
        match self.logits {
            Logits::LeakyRelu => leaky_relu(g, logits, SLOPE),
            Logits::Linear => logits,
        }
    }

    /// Records the discriminator: features `[P, n, d_common]` to logits `[P, n, 1]` of "source".
    pub fn discriminate<T: Real>(&self, g: &mut Graph<T>, features: Var) -> Var {
        self.discriminator.record(g, features)
    }
}

impl Domain<'_> {
    /// Records what the first layer reads: `X`, or `X·Xᵀ` and `X·W₀ᵀ` with the `out × d` matrix
    /// `W₀` of each partition.
    fn record<'w, T: Real>(
        &self,
        g: &mut Graph<T>,
        weights: impl Iterator<Item = &'w [f64]>,
        out: usize,
    ) -> (Var, Option<Var>) {
        let (rows, cols) = (self.features.rows(), self.features.cols());
        let real = |values: &[f64]| -> Vec<T> { values.iter().map(|&x| T::of(x)).collect() };
        if self.form == Form::Direct {
            let x = real(&self.features.dense(0..rows).values);
            return (g.constant("features", rows, cols, x), None);
        }
        // In f64, since every step multiplies by it.
        let gram = self.features.gram();
        let gram = g.constant("gram", rows, rows, real(&gram));
        let block = rows * out;
        let mut start = vec![T::zero(); g.partitions() * block];
        for (start, w) in start.chunks_exact_mut(block).zip(weights) {
            self.features.times_transposed(&real(w), start);
        }
        (gram, Some(g.given_buffer("start", rows, out, start)))
    }
}

impl Projector {
    fn record<T: Real>(&self, g: &mut Graph<T>) -> Var {
        let (first, rest) = self.layers.split_first().expect("at least one layer");
        let y = match self.input {
            Input::Direct(x) => first.record(g, x),
            Input::Gram { gram, start, scale } => gram_linear(
                g,
                GramLayer {
                    gram,
                    start,
                    scale,
                    coefficients: first.weight,
                    bias: first.bias,
                },
            ),
        };
        let y = leaky_relu(g, y, SLOPE);
        let features = rest.iter().fold(y, |x, layer| {
            let y = layer.record(g, x);
            leaky_relu(g, y, SLOPE)
        });
        l2_normalize(g, features)
    }
}

impl Layer {
    fn record<T: Real>(&self, g: &mut Graph<T>, x: Var) -> Var {
        linear(g, x, self.weight, self.bias)
    }
}
