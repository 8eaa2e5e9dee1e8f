"""A network packed as text for a page: nothing lost that matters, and no more text than that takes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_page import any_network, blots, trained_on_digits

from mnistcore.network.network import Dense
from mnistcore.report import compression


class Bits:
    """Reads back what embedding writes; written after its docstrings, bit by bit, and not after its code."""

    def __init__(self, text):
        values = [compression.ALPHABET.index(letter) for letter in text.replace("\n", "")]
        pairs = zip(values[::2], values[1::2], strict=True)
        self.bits = iter("".join(f"{91 * first + second:013b}" for first, second in pairs))

    def number(self, width):
        return int("".join(next(self.bits) for _ in range(width)) or "0", 2)

    def rice(self, low):
        ones = 0
        while next(self.bits) == "1":
            ones += 1
        folded = (ones << low) + self.number(low)
        return -(folded + 1) // 2 if folded % 2 else folded // 2


def unpacked(layer):
    bits = Bits(layer["text"])
    heads = [(bits.number(4), bits.number(5)) for _ in range(layer["inputs"])]
    weights = [
        [bits.rice(low) * layer["step"] * 2**shift for _ in range(layer["units"])] for shift, low in heads
    ]
    biases = [bits.number(32) for _ in range(layer["units"])] if layer["bias"] else None
    return compression.Layer(
        np.array(weights, np.float32),
        None if biases is None else np.array(biases, np.uint32).view(np.float32),
        layer["activation"],
    )


def layers_of(network):
    return [
        compression.Layer(layer.weights, layer.biases, layer.dense.activation) for layer in network.layers
    ]


def last(layers, images):
    return list(compression.forward(layers, images))[-1]


def test_the_unpacked_network_keeps_every_probability_within_the_promise():
    network, images, _ = trained_on_digits()
    outputs = network.probabilities(images)
    packed = compression.pack(layers_of(network), images, outputs)
    assert (
        np.abs(last([unpacked(layer) for layer in packed], images) - outputs).max() <= compression.TOLERANCE
    )


@pytest.mark.parametrize(
    "dense",
    [
        [Dense(12, "tanh", bias=False), Dense(10, "sigmoid")],
        [Dense(9, "sigmoid"), Dense(8, "relu-straight-through"), Dense(10, "softmax", bias=False)],
        [Dense(10, "identity")],
        [Dense(12, "relu-straight-through"), Dense(10, "tanh")],
    ],
    ids=["sigmoid", "deep", "linear", "tanh"],
)
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_any_architecture(dense, precision):
    network = any_network(dense, 64, precision)
    images = (blots(80, (8, 8)) / 255).astype(precision)
    outputs = network.probabilities(images)
    packed = compression.pack(layers_of(network), images, outputs)
    assert (
        np.abs(last([unpacked(layer) for layer in packed], images) - outputs).max() <= compression.TOLERANCE
    )


def test_a_network_whose_inputs_are_faint_is_not_given_bits_it_does_not_need():
    network = any_network([Dense(40), Dense(10, "softmax")])
    images = (blots(300) / 255).astype(np.float32)
    outputs = network.probabilities(images)
    packed = compression.pack(layers_of(network), images, outputs)
    letters = sum(len(layer["text"]) for layer in packed)
    assert 6.5 * letters / network.parameters.size < 17  # of the 32 bits of a float


def test_weights_of_zero_and_untouched_pixels_are_no_trouble():
    network = any_network([Dense(6), Dense(10, "softmax")], 64)
    network.layers[0].weights[...] = 0
    images = np.zeros((30, 64), np.float32)
    outputs = network.probabilities(images)
    packed = compression.pack(layers_of(network), images, outputs)
    assert (
        np.abs(last([unpacked(layer) for layer in packed], images) - outputs).max() <= compression.TOLERANCE
    )


def test_outputs_that_cannot_be_matched_are_refused():
    network = any_network([Dense(10, "identity")], 64)
    images = np.ones((20, 64), np.float32)
    assert compression.pack(layers_of(network), images, network.probabilities(images) + 1) is None


@given(st.lists(st.integers(0, 1), max_size=200))
@settings(max_examples=50, deadline=None)
def test_bits_come_back_from_text(bits):
    text = compression.text_of(np.array(bits, np.uint8))
    assert not set(text) & set("<&\\ ")
    read = Bits(text)
    assert [read.number(1) for _ in bits] == bits


@given(st.binary(max_size=600).map(lambda data: bytes(value if value > 120 else 0 for value in data)))
@settings(max_examples=50, deadline=None)
def test_pictures_come_back_from_text(data):
    read, pixels = Bits(compression.pictures_text(np.frombuffer(data, np.uint8)[None])), bytearray()
    while len(pixels) < len(data):
        value = read.number(8)
        pixels += bytes([value]) if value else bytes(read.number(8))
    assert bytes(pixels) == data
