"""Makes the two domains beside this file from the CSV files of UCI's Multiple Features data set.

    python make.py FOLDER        (needs NumPy; FOLDER holds mfeat-fou.csv and mfeat-pix.csv)

Every class has 200 digits, in the same order in both files. The first 100 become the source, the
others the target, so that no digit is in both domains.
"""

import sys
from pathlib import Path

import numpy as np

SOURCE, TARGET = range(0, 100), range(100, 200)


def domain(csv, rows, dtype, out):
    table = np.loadtxt(csv, delimiter=",", skiprows=1)
    features, labels = table[:, :-1], table[:, -1].astype(np.uint8)
    keep = np.concatenate([np.flatnonzero(labels == k)[rows] for k in np.unique(labels)])
    np.savez_compressed(out, features=features[keep].astype(dtype), labels=labels[keep])


raw, here = Path(sys.argv[1]), Path(__file__).parent
domain(raw / "mfeat-fou.csv", SOURCE, np.float32, here / "digits_fourier.npz")
domain(raw / "mfeat-pix.csv", TARGET, np.uint8, here / "digits_pixels.npz")
