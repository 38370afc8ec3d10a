"""CDSPP, a peer of the accuracy table, on the rows that a run of ssan drew.

Cross-domain structure preserving projection in its semi-supervised form (Wang & Breckon, "Cross-Domain
Structure Preserving Projection for Heterogeneous Domain Adaptation", Pattern Recognition 123, 2022),
written anew. With the settings of its authors (alpha = 10, lambda = 0.5, 5 rounds, as many dimensions as
classes) the projections `P` of both domains maximise

    tr(P' B P), P' A P = I,  A = blockdiag(Xs' (Ls + lambda Ds) Xs, Xt' (Lt + lambda Dt) Xt) + alpha I,
    B = [0, Xs' Wc Xt; Xt' Wc' Xs, 0]

where `Wc` links rows of one class across the domains, `Ds`, `Dt` are its sums, and `L` are the
Laplacians of rows of one class within a domain. A round labels the unlabelled target rows by the nearer
of the class means and of k-means that starts there, and of each class the surest join the labelled
ones, more in each round.

    python benches/peer/cdspp.py RUN [SOURCE.mat TARGET.mat] [--source-features-key S ...]

Prints the accuracy on the unlabelled rows, mean and standard deviation over the run's partitions, for
rows of unit length and for rows as `--normalise rooted` makes them. Needs what classic.py needs.
"""

import argparse
import json
import pathlib
import time

import numpy as np
import scipy.linalg

from classic import read, rooted, unit

ALPHA, LAMBDA, ROUNDS = 10.0, 0.5, 5


def sums(x, y, classes):
    """Sum of the rows of each class, `K × d`, and how many there are."""
    one_hot = np.eye(classes)[y]
    return one_hot.T @ x, one_hot.sum(0)


def half(x, y, classes, across):
    """This domain's block of `A`, by its Cholesky factor, and the classes' sums."""
    total, count = sums(x, y, classes)
    weights = (count + LAMBDA * across)[y]
    block = x.T @ (weights[:, None] * x) - total.T @ total
    block[np.diag_indices_from(block)] += ALPHA
    return scipy.linalg.cho_factor(block, overwrite_a=True), total


def project(xs, ys, xt, yt, classes):
    """Both projections.

    `Xs' Wc Xt` is `S' T` with the classes' sums `S`, `T`, so that with `a = S ps`, `b = T pt` the
    eigenproblem is one of K × K: `(S As^-1 S') (T At^-1 T') a = mu^2 a`.
    """
    count_s, count_t = (np.bincount(y, minlength=classes) for y in (ys, yt))
    factor_s, s = half(xs, ys, classes, count_t)
    factor_t, t = half(xt, yt, classes, count_s)
    solved_s, solved_t = (scipy.linalg.cho_solve(f, m.T) for f, m in ((factor_s, s), (factor_t, t)))
    cs, ct = s @ solved_s, t @ solved_t
    values, a = scipy.linalg.eig(cs @ ct)
    order = np.argsort(-values.real)
    mu = np.sqrt(np.maximum(values.real[order], 1e-24))
    a = a.real[:, order]
    b = ct @ a / mu
    ps, pt = solved_s @ b / mu, solved_t @ a / mu
    # p' A p of each is a'b / mu of either domain.
    length = np.sqrt(np.maximum(2 * (a * b).sum(0) / mu, 1e-24))
    return ps / length, pt / length


def distances(x, centres):
    squares = (x**2).sum(1)[:, None] + (centres**2).sum(1) - 2 * x @ centres.T
    return np.sqrt(np.maximum(squares, 0))


def k_means(x, centres, most=100):
    for _ in range(most):
        nearest = distances(x, centres).argmin(1)
        total, count = sums(x, nearest, len(centres))
        moved = np.where(count[:, None] > 0, total / np.maximum(count, 1)[:, None], centres)
        if np.allclose(moved, centres, atol=1e-9):
            break
        centres = moved
    return centres


def probabilities(x, centres):
    p = np.exp(-distances(x, unit(centres)))
    return p / p.sum(1, keepdims=True)


def label(xs, ys, xt, y, labelled, unlabelled):
    """The class of each unlabelled row."""
    classes = y.max() + 1
    test = xt[unlabelled]
    train, train_y = xt[labelled], y[labelled]
    for turn in range(1, ROUNDS + 1):
        ps, pt = project(xs, ys, train, train_y, classes)
        known = np.vstack([xs @ ps, train @ pt])
        mean = known.mean(0)
        known, rows = unit(known - mean), unit(test @ pt - mean)
        total, count = sums(known, np.concatenate([ys, train_y]), classes)
        means = unit(total / np.maximum(count, 1)[:, None])
        p = np.maximum(probabilities(rows, means), probabilities(rows, k_means(rows, means)))
        labels, sure = p.argmax(1), p.max(1)
        joins = np.zeros(len(rows), bool)
        for k in range(classes):
            of_class = np.sort(sure[labels == k])
            if len(of_class):
                least = of_class[min(int(len(of_class) * (1 - turn / ROUNDS)), len(of_class) - 1)]
                joins |= (labels == k) & (sure > least)
        train = np.vstack([xt[labelled], test[joins]])
        train_y = np.concatenate([y[labelled], labels[joins]])
    return labels


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=pathlib.Path)
    digits = pathlib.Path(__file__).parents[2] / "datasets/digits"
    files = ["digits_fourier.npz", "digits_pixels.npz"]
    for name, file in zip(("source", "target"), files):
        parser.add_argument(name, type=pathlib.Path, nargs="?", default=digits / file)
        for what in ("features", "labels"):
            parser.add_argument(f"--{name}-{what}-key", type=lambda text: text.split(","))
    args = parser.parse_args()
    xs, ys = read(args.source, args.source_features_key, args.source_labels_key)
    xt, yt = read(args.target, args.target_features_key, args.target_labels_key)
    splits = json.loads((args.run / "splits.json").read_text())["partitions"]
    for name, scale in {"CDSPP": unit, "CDSPP, roots": rooted}.items():
        source, target = scale(xs), scale(xt)
        found, start = [], time.time()
        for split in splits:
            rows, labelled, unlabelled = (
                np.array(split[part]) for part in ("source", "labelled", "unlabelled")
            )
            labels = label(source[rows], ys[rows], target, yt, labelled, unlabelled)
            found.append(100 * (labels == yt[unlabelled]).mean())
        took = (time.time() - start) / len(splits)
        each = " ".join(f"{x:.1f}" for x in found)
        print(f"{name:14s} {np.mean(found):6.2f} ± {np.std(found):.2f}  [{each}]  {took:.1f} s each")


if __name__ == "__main__":
    main()
