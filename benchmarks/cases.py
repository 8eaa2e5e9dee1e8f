"""What is timed: one epoch of plain gradient descent over 60,000 images, in a new order."""

from typing import NamedTuple


class Case(NamedTuple):
    """A relu network with a softmax output, and how it is trained.

    targets : how many times faster than PyTorch and scikit-learn, and what multiple of the bare matrix
        products' time, was aimed at; None: no aim
    """

    sizes: tuple[int, ...]
    batch: int
    dtype: str
    targets: dict[str, float | None]

    @property
    def name(self) -> str:
        return f"{'-'.join(map(str, self.sizes))}, {self.batch}" + (
            " (float64)" if self.dtype == "float64" else ""
        )


CASES = [
    Case((784, 100, 100, 10), 100, "float32", {"torch": 2.0, "sklearn": 2.2, "bare": 1.3}),
    Case((784, 256, 256, 10), 128, "float32", {"torch": 1.6, "sklearn": 2.0, "bare": 1.15}),
    Case((784, 1000, 500, 10), 128, "float32", {"torch": 1.15, "sklearn": 1.4, "bare": 1.08}),
    Case((784, 40, 10), 10, "float32", {"torch": 6.0, "sklearn": None, "bare": 2.5}),
    Case((784, 40, 10), 1, "float64", {"torch": 6.0, "sklearn": None, "bare": None}),
]
RATE = 0.01
EXAMPLES = 60_000
