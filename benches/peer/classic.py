"""Peers of the accuracy table that are not networks, on the rows that a run of ssan drew.

Reads the splits.json of a run's folder and the target's features, and prints for each method the
accuracy on the unlabelled rows, mean and standard deviation over the run's partitions:

- `svm`: a linear SVM, C = 1, on the labelled target rows alone, rows of unit length;
- `svm, roots`: the same on the rows as `--normalise rooted` makes them;
- `nearest mean`: nearest class mean of those rows, by cosine;
- `propagation, roots`: F = (I - 0.95 S)^-1 Y over the graph of the ten nearest of those rows, each
  column divided by the root of its sum over unlabelled rows (Zhou et al., NeurIPS 2003);
- `propagation`: the same on the rows as `--normalise centred` makes them.

    python benches/peer/classic.py RUN TARGET.mat [--features-key T,Ttest --labels-key T_Label,...]

The target is the file that the run read; without it: the bundled digits. Needs numpy, scipy and
scikit-learn (`requirements-classic.txt`).
"""

import argparse
import json
import pathlib
import warnings

import numpy as np
import scipy.io
import scipy.sparse
from sklearn.svm import LinearSVC

FEATURES = ("features", "fts", "feas", "fea", "data", "X")
LABELS = ("labels", "label", "Y", "y", "gnd")


def dense(x):
    return np.asarray(x.toarray() if scipy.sparse.issparse(x) else x, float)


def read(path, features, labels):
    """Features (a row per sample) and class numbers from 0."""
    file = np.load(path) if path.suffix == ".npz" else scipy.io.loadmat(path)
    pick = lambda names: [next(name for name in names if name in file)]
    x = [dense(file[key]) for key in features or pick(FEATURES)]
    y = np.concatenate([np.ravel(file[key]) for key in labels or pick(LABELS)])
    x = [part.T if len(x) == 1 and part.shape[0] != len(y) else part for part in x]
    return np.vstack(x), np.unique(y, return_inverse=True)[1]


def unit(x):
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def centred(x):
    x = unit(x)
    return unit(x - x.mean(0))


def rooted(x):
    return centred(np.sign(x) * np.sqrt(np.abs(x)))


def svm(x, y, labelled):
    return LinearSVC(C=1.0).fit(x[labelled], y[labelled]).decision_function(x)


def nearest_mean(x, y, labelled):
    means = [x[labelled[y[labelled] == k]].mean(0) for k in range(y.max() + 1)]
    return x @ unit(np.stack(means)).T


def graph(x, nearest=10):
    cosine = x @ x.T
    np.fill_diagonal(cosine, -1)
    at = np.argpartition(-cosine, nearest, 1)[:, :nearest]
    weights = np.zeros_like(cosine)
    rows = np.arange(len(x))[:, None]
    weights[rows, at] = np.maximum(cosine[rows, at], 0)
    weights = np.maximum(weights, weights.T)
    scale = 1 / np.sqrt(np.maximum(weights.sum(1), 1e-12))
    return scipy.sparse.csr_matrix(weights * scale[:, None] * scale)


def label_propagation(s, y, labelled, unlabelled, spread=0.95):
    start = np.zeros((len(y), y.max() + 1))
    start[labelled, y[labelled]] = 1
    scores = start
    for _ in range(int(np.log(1e-6) / np.log(spread))):
        scores = spread * (s @ scores) + start
    return scores / np.sqrt(scores[unlabelled].sum(0))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=pathlib.Path)
    digits = pathlib.Path(__file__).parents[2] / "datasets/digits/digits_pixels.npz"
    parser.add_argument("target", type=pathlib.Path, nargs="?", default=digits)
    parser.add_argument("--features-key", type=lambda text: text.split(","))
    parser.add_argument("--labels-key", type=lambda text: text.split(","))
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    x, y = read(args.target, args.features_key, args.labels_key)
    splits = json.loads((args.run / "splits.json").read_text())["partitions"]
    plain, roots = unit(x), rooted(x)
    s, s_roots = graph(centred(x)), graph(roots)
    found = {}
    for split in splits:
        labelled, unlabelled = np.array(split["labelled"]), np.array(split["unlabelled"])
        scores = {
            "svm": svm(plain, y, labelled),
            "svm, roots": svm(roots, y, labelled),
            "nearest mean": nearest_mean(roots, y, labelled),
            "propagation, roots": label_propagation(s_roots, y, labelled, unlabelled),
            "propagation": label_propagation(s, y, labelled, unlabelled),
        }
        for name, score in scores.items():
            right = score[unlabelled].argmax(1) == y[unlabelled]
            found.setdefault(name, []).append(100 * right.mean())
    for name, values in found.items():
        print(f"{name:18s} {np.mean(values):6.2f} ± {np.std(values):.2f}")


if __name__ == "__main__":
    main()
