"""How many of the pictures that people take and draw are read rightly, by the trained network; all made here.

`python -m pytest -m slow tests/report/test_pictures_are_read.py -s` prints the table of all 2,000.
"""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pictures_of_digits import KINDS, Scene, scene, scenes

from mnistcore.data.normalization import Normalizer
from mnistcore.errors import InputError
from mnistcore.network import model
from mnistcore.report.framing import frame, frame_of
from mnistcore.report.pictures import find_digits

ROOT = Path(__file__).parents[2]
BLANK = [kind for kind in KINDS if kind not in ("inverted", "blurred", "jpeg")]


@pytest.fixture(scope="module")
def read():
    """Reads a picture's digits with the trained network; () where it is blank."""
    path = ROOT / "models" / "model.npz"
    if not path.is_file() and not os.environ.get("REQUIRE_TRAINED"):
        pytest.skip("needs the trained network: run the pipeline first")
    network = model.load(path)[1][0]
    normalizer = Normalizer.load(ROOT / "data" / "processed" / "normalizer.npz")
    if normalizer.image_shape != (28, 28):
        pytest.skip("the network in models reads other pictures")
    how = frame_of(normalizer.image_shape)

    def read(picture):
        try:
            seen = np.stack([frame(ink, how) for ink in find_digits(picture)])
        except InputError:
            return ()
        return tuple(network.predict(normalizer.transform(seen)).tolist())

    return read


def share(read, pictures: list[Scene], wanted=lambda scene: scene.digits) -> float:
    """The part of the pictures that are read rightly; prints it for each kind."""
    right, all_of = Counter(), Counter(one.kind for one in pictures)
    for one in pictures:
        right[one.kind] += read(one.picture) == wanted(one)
    print("\n".join(f"{kind:14} {right[kind]:4} of {all_of[kind]}" for kind in all_of))
    return right.total() / len(pictures)


def of_several(each: int, seed: int) -> list[Scene]:
    random = np.random.default_rng(seed)
    return [scene(kind, 0.3, random, count=int(random.integers(2, 5))) for kind in KINDS for _ in range(each)]


def blank(each: int, seed: int) -> list[Scene]:
    random = np.random.default_rng(seed)
    return [scene(kind, 0.3, random, count=0) for kind in BLANK for _ in range(each)]


@pytest.mark.parametrize(("part", "least"), [(0.5, 0.95), (0.2, 0.9)])
def test_a_few_of_every_kind(read, part, least):
    assert share(read, list(scenes(part, 1, seed=2))) >= least


def test_a_few_blank_ones_and_some_with_several_digits(read):
    assert share(read, blank(1, 3)[::2], wanted=lambda scene: ()) >= 0.85
    assert share(read, of_several(1, 4)[::2]) >= 0.8


@pytest.mark.slow
@pytest.mark.parametrize(("part", "least"), [(0.5, 0.97), (0.2, 0.93)])
def test_pictures_of_every_kind(read, part, least):
    """1,600 pictures: 97 % with the digit at half the height, 93 % at a fifth."""
    assert share(read, list(scenes(part, 40, seed=1))) >= least


@pytest.mark.slow
def test_blank_pictures_are_called_blank(read):
    assert share(read, blank(12, 5), wanted=lambda scene: ()) >= 0.95


@pytest.mark.slow
def test_several_digits_are_read_from_left_to_right(read):
    assert share(read, of_several(10, 6)) >= 0.9
