//! The SSAN objective of one epoch, term by term, and what is counted beside it.
//!
//! ```text
//! total = L_src + L_isc + γ·L_adv + β·L_esa (+ w·cross-entropy of pseudo-labels, not in the paper)
//! L_src  cross-entropy of the source rows
//! L_isc  (1−α)·cross-entropy of the labelled target rows + α·soft correlation; α = 1: the plain
//!        cross-entropy alone, as in the released code
//! L_adv  binary cross-entropy of the domain discriminator behind gradient reversal
//! L_esa  alignment of class centroids; unlabelled target rows take part where refined
//!        pseudo-labels select them
//! ```
//!
//! Li et al., "Simultaneous Semantic Alignment Network for Heterogeneous Domain Adaptation", ACM
//! MM 2020. A term of weight 0 is not recorded, and parameters that only it needs are not trained.

use crate::graph::{Graph, Labels, Var};
use crate::model::Model;
use crate::ops::{
    ClassMeans, DomainRows, Prototypes, Refined, Schedule, Similarity, argmax, class_means,
    count_correct, cross_entropy, domain_bce, gradient_reversal, pairwise_alignment, refine,
    similarity, soft_correlation, softmax, triplet_margin, weighted_sum,
};
use crate::real::Real;

/// Which second opinion confirms a pseudo-label (`--combine_pred`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refinement {
    /// None: every unlabelled row is selected.
    None,
    /// The class of the most similar prototype agrees.
    Agreement(Similarity),
    /// It agrees and the similarity reaches a threshold: for the cosine
    /// `1/(1 + exp(−0.8(e + 1))) − 0.01`; for the negative squared distance 0.2, which can never
    /// be reached, so that nothing is selected. The released code has it so.
    Threshold(Similarity),
}

/// The explicit alignment of class centroids (`--alignment`, `--prototype`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Alignment {
    /// Squared distances between the centroids of a class.
    Pairwise(Prototypes),
    /// Triplet margin: nearer to the own class's target centroid than to any other by a margin.
    Margin(f64),
}

/// How the terms that have a part for each class, the soft correlation and L_esa, add them up
/// (`--over-classes`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverClasses {
    /// As their sum, which grows with the number of classes: the paper.
    Sum,
    /// As their mean.
    Mean,
}

/// Weights and forms of the terms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Objective {
    /// Share of the soft correlation in L_isc, in [0, 1].
    pub alpha: f64,
    /// Weight of L_esa; 0 leaves it out.
    pub beta: f64,
    /// Weight of L_adv; 0 leaves it out.
    pub gamma: f64,
    /// Temperature of the source softmax in the soft correlation.
    pub temperature: f64,
    /// How the soft correlation and L_esa add up over the classes.
    pub over_classes: OverClasses,
    /// Selection of pseudo-labels.
    pub refinement: Refinement,
    /// Form of L_esa.
    pub alignment: Alignment,
}

/// The recorded labels: classes, −1 where a row has no part in it. The rows are the model's.
#[derive(Clone, Copy, Debug)]
pub struct Inputs {
    /// Class of the source rows in use.
    pub source_labels: Labels,
    /// Class of the labelled target rows.
    pub labelled: Labels,
    /// 0 on unlabelled target rows.
    pub unlabelled: Labels,
    /// 0 on target rows in use, labelled or not.
    pub target_rows: Labels,
    /// Class of unlabelled target rows where it is known; serves the accuracy alone.
    pub truth: Labels,
    /// Pseudo-labels of unlabelled target rows, and the weight of their cross-entropy.
    pub pseudo_targets: Option<(Labels, f64)>,
}

/// The recorded results, each a scalar `[P, 1, 1]` unless said otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The objective.
    pub total: Var,
    /// L_src.
    pub source_ce: Var,
    /// Cross-entropy of the labelled target rows.
    pub labelled_ce: Var,
    /// Soft correlation as a sum over the classes, without its factor α; 0 if not recorded.
    pub soft: Var,
    /// L_adv; 0 if not recorded.
    pub adversarial: Var,
    /// L_esa as a sum over the classes; 0 if not recorded.
    pub alignment: Var,
    /// Cross-entropy of the pseudo-labels, without its weight; 0 if not recorded.
    pub pseudo_ce: Var,
    /// Selected unlabelled rows.
    pub selected: Var,
    /// Those of them whose pseudo-label is right, among rows of known class.
    pub selected_correct: Var,
    /// Source rows labelled right by the parameters that the epoch starts with.
    pub source_correct: Var,
    /// Labelled target rows labelled right.
    pub labelled_correct: Var,
    /// Unlabelled target rows of known class labelled right.
    pub unlabelled_correct: Var,
    /// Logits of all target rows, `[P, nt, K]`.
    pub target_logits: Var,
    /// The network's label of every target row.
    pub pseudo: Labels,
    /// The most similar prototype's class of every target row; the network's own without a second
    /// opinion.
    pub nearest: Labels,
    /// Prototypes of the classes and how rows are compared with them; none without a second
    /// opinion.
    pub prototypes: Option<(ClassMeans, Similarity)>,
    /// Class as which a target row takes part in the alignment.
    pub assigned: Labels,
}

impl Objective {
    /// The paper's objective, and the released code's defaults.
    pub const PAPER: Objective = Objective {
        alpha: 0.1,
        beta: 0.004,
        gamma: 0.1,
        temperature: 5.0,
        over_classes: OverClasses::Sum,
        refinement: Refinement::Agreement(Similarity::Cosine),
        alignment: Alignment::Pairwise(Prototypes::Three),
    };

    /// The robust recipe's: weights that do not depend on the number of classes.
    pub const ROBUST: Objective = Objective {
        alpha: 0.5,
        beta: 0.1,
        over_classes: OverClasses::Mean,
        ..Objective::PAPER
    };

    /// Weight of the labelled cross-entropy in the total.
    fn hard_weight(&self) -> f64 {
        if self.alpha == 1.0 {
            1.0
        } else {
            1.0 - self.alpha
        }
    }

    /// What a term that has a part for each of `classes` classes is multiplied by.
    pub(crate) fn per_class(&self, classes: usize) -> f64 {
        match self.over_classes {
            OverClasses::Sum => 1.0,
            OverClasses::Mean => 1.0 / classes as f64,
        }
    }

    /// Records the forward pass of one epoch.
    pub fn record<T: Real>(
        &self,
        g: &mut Graph<T>,
        model: &Model,
        inputs: &Inputs,
        schedule: &Schedule,
    ) -> Terms {
        let classes = model.dimensions().classes;
        let per_class = self.per_class(classes);
        let zero = g.shared("absent term", 1, 1);
        let fs = model.project_source(g);
        let zs = model.classify(g, fs);
        let ft = model.project_target(g);
        let zt = model.classify(g, ft);

        let source_pseudo = argmax(g, zs);
        let pseudo = argmax(g, zt);
        let (nearest, prototypes, refined) =
            self.refine(g, inputs, schedule, classes, (fs, ft), pseudo);

        let source_ce = cross_entropy(g, zs, inputs.source_labels);
        let labelled_ce = cross_entropy(g, zt, inputs.labelled);
        let mut terms = vec![(source_ce, 1.0), (labelled_ce, self.hard_weight())];
        let mut soft = zero;
        if self.alpha > 0.0 && self.alpha < 1.0 {
            let q = softmax(g, zs, self.temperature);
            let q = class_means(g, &[(q, inputs.source_labels)], classes);
            soft = soft_correlation(g, zt, inputs.labelled, q.means);
            terms.push((soft, self.alpha * per_class));
        }
        let mut adversarial = zero;
        if self.gamma != 0.0 {
            let mut part = |features, rows, positive| {
                let reversed = gradient_reversal(g, features, schedule.lambda);
                DomainRows {
                    logits: model.discriminate(g, reversed),
                    rows,
                    positive,
                }
            };
            let source = part(fs, inputs.source_labels, true);
            let target = part(ft, inputs.target_rows, false);
            adversarial = domain_bce(g, &[source, target]);
            terms.push((adversarial, self.gamma));
        }
        let mut alignment = zero;
        if self.beta != 0.0 {
            let source = class_means(g, &[(fs, inputs.source_labels)], classes);
            let target = class_means(g, &[(ft, refined.assigned)], classes);
            alignment = match self.alignment {
                Alignment::Pairwise(prototypes) => {
                    pairwise_alignment(g, source, target, prototypes)
                }
                Alignment::Margin(margin) => triplet_margin(g, source, target, margin),
            };
            terms.push((alignment, self.beta * per_class));
        }
        let mut pseudo_ce = zero;
        if let Some((labels, weight)) = inputs.pseudo_targets {
            pseudo_ce = cross_entropy(g, zt, labels);
            terms.push((pseudo_ce, weight));
        }
        Terms {
            total: weighted_sum(g, &terms),
            source_ce,
            labelled_ce,
            soft,
            adversarial,
            alignment,
            pseudo_ce,
            selected: refined.selected,
            selected_correct: count_correct(g, refined.assigned, inputs.truth),
            source_correct: count_correct(g, source_pseudo, inputs.source_labels),
            labelled_correct: count_correct(g, pseudo, inputs.labelled),
            unlabelled_correct: count_correct(g, pseudo, inputs.truth),
            target_logits: zt,
            pseudo,
            nearest,
            prototypes,
            assigned: refined.assigned,
        }
    }

    /// Records the second opinion on the pseudo-labels, from prototypes of the labelled rows of
    /// both domains, and the selection.
    fn refine<T: Real>(
        &self,
        g: &mut Graph<T>,
        inputs: &Inputs,
        schedule: &Schedule,
        classes: usize,
        (fs, ft): (Var, Var),
        pseudo: Labels,
    ) -> (Labels, Option<(ClassMeans, Similarity)>, Refined) {
        let (kind, threshold) = match self.refinement {
            Refinement::None => {
                let refined = refine(g, inputs.labelled, inputs.unlabelled, pseudo, None);
                return (pseudo, None, refined);
            }
            Refinement::Agreement(kind) => (kind, None),
            Refinement::Threshold(Similarity::Cosine) => {
                (Similarity::Cosine, Some(schedule.threshold))
            }
            Refinement::Threshold(Similarity::Euclidean) => {
                let threshold = g.constant("threshold", 1, 1, vec![T::of(0.2)]);
                (Similarity::Euclidean, Some(threshold))
            }
        };
        let (fs, ft) = (g.detach(fs), g.detach(ft));
        let labelled = [(fs, inputs.source_labels), (ft, inputs.labelled)];
        let prototypes = class_means(g, &labelled, classes);
        let similar = similarity(g, ft, prototypes, kind);
        let nearest = argmax(g, similar);
        let opinion = Some((similar, nearest, threshold));
        let refined = refine(g, inputs.labelled, inputs.unlabelled, pseudo, opinion);
        (nearest, Some((prototypes, kind)), refined)
    }
}
