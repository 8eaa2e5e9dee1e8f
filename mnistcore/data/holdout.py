"""The hold-out: which training examples are kept back to validate on, each class in proportion."""

import numpy as np

from mnistcore.arguments import Whole, check, check_array
from mnistcore.data.labels import MOST_CLASSES, check_labels
from mnistcore.errors import InputError
from mnistcore.streams import stream


def split(labels: np.ndarray, held_out: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Divide examples into those that train and those held out, each class in proportion.

    A class of n examples out of N gives n · `held_out` / N of them, rounded down; the examples still wanted
    come from the classes with the largest remainders (the lower class first among equals). Which examples of
    a class are held out is drawn at random.

    Parameters
    ----------
    labels : (N,), integers

    Returns
    -------
    (train, validation) : rows, both ascending

    Raises
    ------
    InputError : nothing would be left to train on; or labels that are no classes
    """
    check_array(labels, "split", "labels", kinds="iu", shape=(None,))
    held_out, seed = check(Whole, held_out, "split", "held_out"), check(Whole, seed, "split", "seed")
    if held_out >= len(labels):
        raise InputError(f"{held_out:,} of {len(labels):,} examples held out leave none to train on")
    check_labels(labels, MOST_CLASSES, "split")
    counts = np.bincount(labels)
    quotas, remainders = np.divmod(counts.astype(np.int64) * held_out, len(labels))
    most = np.argsort(-remainders, kind="stable")[: held_out - quotas.sum()]
    quotas[most] += 1
    random = stream(seed, "held out")
    is_held_out = np.zeros(len(labels), bool)
    for label, quota in enumerate(quotas):
        rows = np.flatnonzero(labels == label)
        is_held_out[random.permutation(rows)[:quota]] = True
    return np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)
