"""Feature sets of UCI's Multiple Features (doi 10.24432/C5HC70) as domains for ssan.

    python benches/peer/mfeat.py FOLDER [OUT]

FOLDER has the files of the archive, mfeat-fac, mfeat-fou, mfeat-kar, mfeat-pix, mfeat-zer: a row per
digit, 200 of each class in order. Writes fac_source.npz and fac_target.npz, … to OUT (FOLDER): the
first 100 digits of each class and the others, so that no digit is in both domains. Needs numpy.
"""

import argparse
import pathlib

import numpy as np

SETS, CLASSES, EACH = ("fac", "fou", "kar", "pix", "zer"), 10, 200


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path, nargs="?")
    args = parser.parse_args()
    labels = np.repeat(np.arange(CLASSES), EACH)
    first = np.arange(len(labels)) % EACH < EACH // 2
    for name in SETS:
        features = np.loadtxt(args.folder / f"mfeat-{name}")
        if len(features) != len(labels):
            parser.error(f"mfeat-{name} has {len(features)} rows, not {len(labels)}")
        for domain, rows in (("source", first), ("target", ~first)):
            path = (args.out or args.folder) / f"{name}_{domain}.npz"
            np.savez(path, features=features[rows], labels=labels[rows])


if __name__ == "__main__":
    main()
