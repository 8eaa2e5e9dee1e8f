"""Random streams: every draw in training comes from a generator named by (seed, purpose, position).

A stream depends on nothing that was drawn before it, so a run resumed in the
middle draws what an uninterrupted run would have drawn, and one purpose (say,
dropout) never shifts another (say, shuffling).
"""

import zlib
from typing import Annotated

import numpy as np

from mnistcore.arguments import ArgumentError, Bounds, check

LegacySeed = Annotated[int, Bounds(least=0, below=2**32)]


def stream(seed: int, purpose: str, *position: int) -> np.random.Generator:
    """A fresh generator for one purpose at one position, such as ("shuffle", epoch).

    The same arguments give the same draws on any machine; different ones give
    independent streams (NumPy's SeedSequence hashes them together).

    Raises
    ------
    ArgumentError : for a seed or a position that is not a whole number from 0
    """
    try:
        return np.random.Generator(np.random.SFC64([seed, zlib.crc32(purpose.encode()), *position]))
    except (TypeError, ValueError, AttributeError):  # only now: streams are made in the middle of a step
        problem = "should be whole numbers from 0 around the name of a purpose"
        raise ArgumentError("stream", (), problem, (seed, purpose, *position)) from None


def legacy_stream(seed: int) -> np.random.RandomState:
    """NumPy's generator of before 2019, as old notebooks seeded it: to draw the very weights that they drew.

    Raises
    ------
    ArgumentError : for a seed that it does not take
    """
    return np.random.RandomState(check(LegacySeed, seed, "legacy_stream", "seed"))
