//! The ladder of matrix products: which rung of `kernels/linear.cu` computes which product.

use std::fmt;
use std::str::FromStr;

use super::Choice;
use crate::error::{Error, Result};
use crate::real::Real;

/// What a user asks of the matrix products of a CUDA device (`--precision`). Inputs, results and
/// sums are `f32` whatever it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// As accurate as `f32`, or nearly.
    #[default]
    Fp32,
    /// Factors rounded to 10 bits after the point.
    Tf32,
    /// Factors rounded to 7 bits after the point.
    Bf16,
}

/// What a product is computed in: `ARITHMETIC` of `kernels/linear.cu`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Arithmetic {
    /// The step's own type, on the ordinary units.
    #[default]
    Plain,
    /// Tensor cores, factors rounded to tf32.
    Tf32,
    /// Tensor cores, each factor the sum of two tf32 numbers: three products of such, with a
    /// relative error of at most 5·2⁻²² beside what summing them costs.
    ThreeTf32,
    /// Tensor cores, factors rounded to bf16.
    Bf16,
}

/// The part of the result that a block makes: `TILE` of `kernels/linear.cu`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Tile {
    /// 128×128.
    Large,
    /// 64×64.
    #[default]
    Medium,
    /// 32×32, a quarter of a block's threads summing a quarter of the terms.
    Small,
}

/// How a product is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rung {
    /// In what.
    pub arithmetic: Arithmetic,
    /// By which blocks.
    pub tile: Tile,
}

/// Sizes of a product: `rows × cols` sums of `inner` terms for each of `partitions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product {
    /// Products side by side.
    pub partitions: usize,
    /// Rows of the result.
    pub rows: usize,
    /// Its columns.
    pub cols: usize,
    /// Terms of each sum.
    pub inner: usize,
}

/// Multiprocessors of a card for which products are laid out, whatever a card has, so that all give
/// the same result. An A100 has 108, an H100 132, large cards for graphics 80 to 170.
const MULTIPROCESSORS: usize = 108;

impl Precision {
    /// What large products of numbers `T` are computed in on a card of compute capability
    /// `(major, minor)`.
    ///
    /// # Errors
    /// The card's tensor cores, if it has any, do not take such numbers.
    pub fn arithmetic<T: Real>(self, (major, minor): (i32, i32)) -> Result<Arithmetic> {
        if T::C_NAME == "double" {
            return Ok(Arithmetic::Plain);
        }
        match (self, (major, minor)) {
            // In tf32 the tensor cores of these do about eight times what their ordinary units do
            // in float (A100: 156 and 19.5 TFLOP/s, H100: 495 and 67), so that three products pay.
            // On those for graphics, 8.6 and later, they do as much or twice as much.
            (Precision::Fp32, (8 | 9, 0)) => Ok(Arithmetic::ThreeTf32),
            (Precision::Fp32, _) => Ok(Arithmetic::Plain),
            (_, (..8, _)) => Err(Error::Device(format!(
                "--precision {self} needs a card of compute capability 8.0 or later, this one has \
                 {major}.{minor}: use --precision fp32"
            ))),
            (Precision::Tf32, _) => Ok(Arithmetic::Tf32),
            (Precision::Bf16, _) => Ok(Arithmetic::Bf16),
        }
    }

    /// What a user should be told who asks for it on `device`.
    pub fn note(self, device: Choice) -> Option<String> {
        let ignored = device == Choice::Cpu && self != Precision::Fp32;
        ignored.then(|| format!("--precision {self} is for CUDA devices: on the CPU it is fp32"))
    }
}

impl Arithmetic {
    /// How a product of these sizes is computed.
    ///
    /// - Of a few terms it is on the default rung: loading them takes one or two steps on any, so
    ///   that tensor cores would win nothing for what rounding loses, and a smaller tile nothing at
    ///   all.
    /// - Else the tile is the largest that gives every multiprocessor of a card a block, if need be
    ///   by [several for a tile](Rung::split_k): a larger one reads each operand less often, and
    ///   smaller ones are more. Three products of each number that is read are enough for the
    ///   medium one. Nor may half of it lie outside the result.
    /// - Where none does, the small one it is: the time is that of the steps which a block makes
    ///   one after the other, and there it makes four at once.
    pub fn rung(self, product: Product) -> Rung {
        const FEW_TERMS: usize = 32;
        if product.inner < FEW_TERMS {
            return Rung::default();
        }
        let mut rungs = self.tiles().iter().map(|&tile| Rung {
            arithmetic: self,
            tile,
        });
        let fits = |rung: &Rung| {
            let blocks = rung.tile.blocks(product).iter().product::<usize>();
            blocks * rung.split_k(product) >= MULTIPROCESSORS
                && product.rows.min(product.cols) > rung.tile.side() / 2
        };
        rungs.find(fits).unwrap_or(Rung {
            arithmetic: self,
            tile: Tile::Small,
        })
    }

    /// The tiles there are for it, the largest first.
    fn tiles(self) -> &'static [Tile] {
        match self {
            Arithmetic::Plain | Arithmetic::ThreeTf32 => &[Tile::Medium, Tile::Small],
            Arithmetic::Tf32 | Arithmetic::Bf16 => &[Tile::Large, Tile::Medium, Tile::Small],
        }
    }
}

impl Tile {
    /// Rows, and as many columns.
    pub fn side(self) -> usize {
        match self {
            Tile::Large => 128,
            Tile::Medium => 64,
            Tile::Small => 32,
        }
    }

    /// Blocks in x, y, z.
    pub fn blocks(self, product: Product) -> [usize; 3] {
        let tiles = |n: usize| n.div_ceil(self.side());
        [tiles(product.cols), tiles(product.rows), product.partitions]
    }
}

impl Rung {
    /// Threads of a block.
    pub fn threads(self) -> usize {
        match (self.arithmetic, self.tile) {
            (Arithmetic::Plain, _) | (_, Tile::Large) => 256,
            (_, Tile::Medium | Tile::Small) => 128,
        }
    }

    /// Terms that a block sums up in a step: `DEPTH` of `kernels/linear.cu`.
    fn depth(self) -> usize {
        match (self.arithmetic, self.tile) {
            (_, Tile::Small) => 64,
            (Arithmetic::Plain, _) | (_, Tile::Large) => 16,
            (_, Tile::Medium) => 32,
        }
    }

    /// Blocks that share a tile of `product`, each with a part of the terms (split-K): as many as
    /// a card's multiprocessors take at once, so that few tiles of long sums keep it busy too and
    /// take fewer steps one after the other. Each has some steps at least, since the last to come
    /// adds up what all have; a large tile, of which that is much, is of one block.
    pub fn split_k(self, product: Product) -> usize {
        // What registers allow on tensor cores: `AT_ONCE` of `kernels/linear.cu`.
        const THREADS_AT_ONCE: usize = 512 * MULTIPROCESSORS;
        const STEPS: usize = 4;
        const MOST: usize = 8;
        let blocks = self.tile.blocks(product).iter().product::<usize>();
        if self.tile == Tile::Large || blocks == 0 {
            return 1;
        }
        let at_once = THREADS_AT_ONCE / (self.threads() * blocks);
        let steps = product.inner.div_ceil(self.depth());
        at_once.min(steps / STEPS).clamp(1, MOST)
    }

    /// Sums that a block keeps: of each share of the terms that some of its threads have, a tile's.
    pub fn sums(self) -> usize {
        let shares = if self.tile == Tile::Small { 4 } else { 1 };
        shares * self.tile.side().pow(2)
    }

    /// The macros that `kernels/linear.cu` is compiled with.
    pub fn macros(self) -> [(&'static str, &'static str); 2] {
        let arithmetic = match self.arithmetic {
            Arithmetic::Plain => "PLAIN",
            Arithmetic::Tf32 => "TF32",
            Arithmetic::ThreeTf32 => "THREE_TF32",
            Arithmetic::Bf16 => "BF16",
        };
        let tile = match self.tile {
            Tile::Large => "LARGE",
            Tile::Medium => "MEDIUM",
            Tile::Small => "SMALL",
        };
        [("ARITHMETIC", arithmetic), ("TILE", tile)]
    }

    /// All rungs; the first is the default one.
    pub fn all() -> Vec<Rung> {
        use Arithmetic::{Bf16, Plain, Tf32, ThreeTf32};
        let of = |arithmetic: Arithmetic| {
            let tiles = arithmetic.tiles().iter();
            tiles.map(move |&tile| Rung { arithmetic, tile })
        };
        [Plain, Tf32, ThreeTf32, Bf16]
            .into_iter()
            .flat_map(of)
            .collect()
    }
}

/// As kernels are named in tables, `tf32 large`; nothing for the default rung.
impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Rung::default() {
            return Ok(());
        }
        let [(_, arithmetic), (_, tile)] = self.macros();
        let name = format!("{arithmetic} {tile}").to_lowercase();
        f.write_str(&name.replace("three_", "3×"))
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Precision, String> {
        match name {
            "fp32" => Ok(Precision::Fp32),
            "tf32" => Ok(Precision::Tf32),
            "bf16" => Ok(Precision::Bf16),
            _ => Err("fp32, tf32 or bf16 is known".to_string()),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Precision::Fp32 => "fp32",
            Precision::Tf32 => "tf32",
            Precision::Bf16 => "bf16",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_precision_reads_what_it_prints() {
        for name in ["fp32", "tf32", "bf16"] {
            assert_eq!(name.parse::<Precision>().unwrap().to_string(), name);
        }
        assert!("fp16".parse::<Precision>().is_err());
    }

    #[test]
    fn a_card_computes_in_what_its_tensor_cores_take() {
        use Precision::{Bf16, Fp32, Tf32};
        for (precision, capability, expected) in [
            (Fp32, (7, 5), Arithmetic::Plain),
            (Fp32, (8, 0), Arithmetic::ThreeTf32),
            (Fp32, (8, 6), Arithmetic::Plain),
            (Fp32, (9, 0), Arithmetic::ThreeTf32),
            (Fp32, (12, 0), Arithmetic::Plain),
            (Tf32, (8, 6), Arithmetic::Tf32),
            (Bf16, (9, 0), Arithmetic::Bf16),
        ] {
            let float = precision.arithmetic::<f32>(capability).unwrap();
            assert_eq!(float, expected, "{precision} on {capability:?}");
            let double = precision.arithmetic::<f64>(capability).unwrap();
            assert_eq!(double, Arithmetic::Plain);
        }
        let error = Tf32.arithmetic::<f32>((7, 5)).unwrap_err().to_string();
        assert!(error.contains("--precision fp32"), "{error}");
    }

    /// Products of a step on SURF → DeCAF6, with the blocks of a tile.
    #[test]
    fn the_tile_is_the_largest_that_fills_a_card() {
        let rung = |partitions, rows, cols, inner| {
            let product = Product {
                partitions,
                rows,
                cols,
                inner,
            };
            [Arithmetic::Tf32, Arithmetic::ThreeTf32, Arithmetic::Plain].map(|arithmetic| {
                let rung = arithmetic.rung(product);
                format!("{rung} {}", rung.split_k(product))
            })
        };
        let on = |of: [&str; 3]| of.map(str::to_string);
        let expected = on(["tf32 large 1", "3×tf32 medium 1", " 1"]);
        assert_eq!(rung(1, 958, 2176, 958), expected);
        assert_eq!(rung(20, 958, 528, 958), expected);
        let expected = on(["tf32 medium 3", "3×tf32 medium 3", " 1"]);
        assert_eq!(rung(1, 958, 528, 958), expected);
        let expected = on(["tf32 medium 7", "3×tf32 medium 7", " 3"]);
        assert_eq!(rung(1, 958, 256, 2176), expected);
        let expected = on(["tf32 small 3", "3×tf32 small 3", "plain small 3"]);
        assert_eq!(rung(1, 10, 256, 958), expected);
        assert_eq!(rung(1, 958, 256, 10), on([" 1", " 1", " 1"]));
    }
}
