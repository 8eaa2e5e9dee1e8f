"""Random streams: every draw in training comes from a generator named by (seed, purpose, position).

A stream depends on nothing that was drawn before it, so a run resumed in the
middle draws what an uninterrupted run would have drawn, and one purpose (say,
dropout) never shifts another (say, shuffling).
"""

import zlib

import numpy as np


def stream(seed: int, purpose: str, *position: int) -> np.random.Generator:
    """A fresh generator for one purpose at one position, such as ("shuffle", epoch).

    The same arguments give the same draws on any machine; different ones give
    independent streams (NumPy's SeedSequence hashes them together).
    """
    return np.random.Generator(np.random.SFC64([seed, zlib.crc32(purpose.encode()), *position]))
