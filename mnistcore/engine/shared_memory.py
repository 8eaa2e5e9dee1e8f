"""Arrays in memory that a process shares with the processes forked from it."""

import math
import mmap

import numpy as np

from mnistcore.network.network import Network


class _Memory(mmap.mmap):
    """Anonymous shared memory, distinguishable from the map of a file."""


def zeros(shape: tuple[int, ...], dtype: np.typing.DTypeLike) -> np.ndarray:
    """A new C-ordered array of zeros that later forks of this process read and write as their own.

    Raises
    ------
    MemoryError : when there is not so much memory
    """
    dtype = np.dtype(dtype)
    size = math.prod(shape)
    try:
        memory = _Memory(-1, max(1, size * dtype.itemsize))  # a map cannot be empty
    except (OSError, OverflowError):
        raise MemoryError(f"no memory for an array of shape {shape} and {dtype}") from None
    return np.frombuffer(memoryview(memory), dtype, size).reshape(shape)


def is_shared(array: np.ndarray) -> bool:
    """Whether `array` lies in memory made by `zeros`."""
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    return isinstance(base, memoryview) and isinstance(base.obj, _Memory)


def shared(network: Network) -> Network:
    """The same network with its parameters in such memory; itself, if they lie there already."""
    if is_shared(network.parameters):
        return network
    moved = network.over(zeros(network.parameters.shape, network.precision))
    moved.parameters[...] = network.parameters
    return moved
