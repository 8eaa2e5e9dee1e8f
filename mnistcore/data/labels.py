"""Labels: whether they are classes of the data set, and their one-hot form."""

from typing import Annotated

import numpy as np

from mnistcore.arguments import Bounds, Whole, check, check_array, check_dtype
from mnistcore.errors import InputError

MOST_CLASSES = 1_000_000
Classes = Annotated[int, Bounds(least=1, most=MOST_CLASSES)]


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
    check_array(labels, "check_labels", "labels", kinds="iu", shape=(None,))
    check(Classes, classes, "check_labels", "classes")
    check(Whole, first, "check_labels", "first")
    wrong = (labels < 0) | (labels >= classes)
    if wrong.any():
        at = int(wrong.argmax())
        raise InputError(
            f"{name}: example {first + at} has label {labels[at]}; the classes are 0 to {classes - 1}"
        )


def one_hot(labels: np.ndarray, classes: int, dtype: np.typing.DTypeLike) -> np.ndarray:
    """(N, `classes`) array of zeros with a one in row i at `labels[i]`.

    Parameters
    ----------
    labels : (N,), integers
    dtype : float32 or float64

    Raises
    ------
    InputError : for a label that is no class
    """
    check_labels(labels, classes, "one_hot")
    dtype = check_dtype(dtype, "one_hot")
    targets = np.zeros((len(labels), classes), dtype)
    targets[np.arange(len(labels)), labels] = 1
    return targets
