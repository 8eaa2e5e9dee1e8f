"""Labels: whether they are classes of the data set, and their one-hot form."""

import numpy as np

from mnistcore.errors import InputError


def check_labels(labels: np.ndarray, classes: int, name: str, first: int = 0) -> None:
    """Refuse labels that are no class of 0 … `classes` − 1.

    Parameters
    ----------
    name : what the labels are called in the error
    first : the number of the first of them there

    Raises
    ------
    InputError : names the first wrong one
    """
    wrong = labels >= classes
    if wrong.any():
        at = int(wrong.argmax())
        raise InputError(
            f"{name}: example {first + at} has label {labels[at]}; the classes are 0 to {classes - 1}"
        )


def one_hot(labels: np.ndarray, classes: int, dtype: np.typing.DTypeLike) -> np.ndarray:
    """(N, `classes`) array of zeros with a one in row i at `labels[i]`."""
    targets = np.zeros((len(labels), classes), dtype)
    targets[np.arange(len(labels)), labels] = 1
    return targets
