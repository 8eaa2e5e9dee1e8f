"""The trained network as one ONNX file: raw pixels in, probabilities and label out.

    python -m mnistcore.interop.onnx models/model.npz model.onnx

The fitted normaliser is the graph's first two nodes, so that whoever runs the
file needs to know nothing of how the network was trained. ONNX, the Open Neural
Network Exchange: https://onnx.ai/onnx/repo-docs/Operators.html
"""

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistcore.arguments import check
from mnistcore.data.description import DatasetDescription, read_dataset_description
from mnistcore.data.normalization import Normalizer
from mnistcore.errors import InputError
from mnistcore.evaluation.metrics_file import read_metrics
from mnistcore.files import replacing
from mnistcore.network import model
from mnistcore.network.network import Network

if TYPE_CHECKING:
    import onnx

# Named here, not left to the installed library, so that a newer one writes the same bytes, and old enough for
# any runtime.
OPERATORS, FORMAT = 17, 8

OPERATOR_OF = {
    "identity": "Identity",
    "relu": "Relu",
    "relu-straight-through": "Relu",  # the straight way is the gradient's
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "softmax": "Softmax",  # over the last axis
}


def graph_of(
    network: Network,
    normalizer: Normalizer,
    description: DatasetDescription,
    properties: Mapping[str, str] | None = None,
) -> "onnx.ModelProto":
    """The network and its normaliser as an ONNX model, checked, shapes and all.

    Its input is `images`, (N, rows, columns) uint8 for any N. Its outputs are `probabilities`, (N, classes)
    of the network's precision, as `Network.probabilities` gives them, and `label`, (N,) int64, the index of
    the largest (the first of equal ones). It computes in the precision that normaliser and network have.

    Parameters
    ----------
    description : names the data set and the classes
    properties : further metadata, text by name

    Raises
    ------
    InputError : the package onnx is not installed, or network, normaliser and classes do not belong together
    """
    check(Network, network, "graph_of", "network")
    check(Normalizer, normalizer, "graph_of", "normalizer")
    check(DatasetDescription, description, "graph_of", "description")
    onnx = _onnx()
    from onnx import TensorProto, helper, numpy_helper

    rows, columns = normalizer.image_shape
    if (network.features, network.classes) != (rows * columns, len(description.classes)):
        raise InputError(
            f"ONNX: a network {network}, images of {rows} × {columns} pixels and {len(description.classes)} "
            "classes do not belong together; run the pipeline again"
        )
    constants, nodes = [], []

    def constant(name: str, array: np.ndarray, meaning: str) -> str:
        tensor = numpy_helper.from_array(np.ascontiguousarray(array), name)
        tensor.doc_string = meaning
        constants.append(tensor)
        return name

    def node(operator: str, inputs: list[str], output: str, meaning: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(operator, inputs, [output], output, meaning, **attributes))
        return output

    def number_type(dtype: np.typing.DTypeLike) -> int:
        return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))

    a = node("Flatten", ["images"], "pixels", "each image as one row of pixels", axis=1)
    a = node("Cast", [a], "numbers", "bytes as numbers", to=number_type(normalizer.offset.dtype))
    offset = constant("normalizer.offset", normalizer.offset, "subtracted from each pixel")
    a = node("Sub", [a, offset], "shifted", f"{normalizer.method}: pixel − offset")
    scale = constant("normalizer.scale", normalizer.scale, "what each pixel is then divided by")
    a = node("Div", [a, scale], "normalized", f"{normalizer.method}: (pixel − offset) / scale")
    if normalizer.offset.dtype != network.precision:
        a = node("Cast", [a], "input", "in the network's precision", to=number_type(network.precision))
    for number, layer in enumerate(network.layers, start=1):
        name, activation = f"layer{number}", layer.dense.activation
        parameters = [constant(f"{name}.weights", layer.weights, f"W of layer {number}, (fan-in, units)")]
        if layer.biases is not None:
            parameters.append(constant(f"{name}.biases", layer.biases, f"b of layer {number}, (units,)"))
        a = node("Gemm", [a, *parameters], f"{name}.z", f"pre-activations of layer {number}: x W + b")
        output = "probabilities" if layer is network.layers[-1] else f"{name}.{activation}"
        a = node(OPERATOR_OF[activation], [a], output, f"activations of layer {number}: {activation}")
    node("ArgMax", [a], "label", "the index of the likeliest class", axis=1, keepdims=0)

    def value(name: str, kind: int, shape: list[str | int], meaning: str) -> "onnx.ValueInfoProto":
        return helper.make_tensor_value_info(name, kind, shape, meaning)

    classes = ", ".join(description.classes)
    graph = helper.make_graph(
        nodes,
        "mnistcore",
        [value("images", TensorProto.UINT8, ["N", rows, columns], "raw grey values, 0 to 255")],
        [
            value(
                "probabilities", number_type(network.precision), ["N", network.classes],
                f"of each class, in this order: {classes}",
            ),
            value("label", TensorProto.INT64, ["N"], f"index of the likeliest class among: {classes}"),
        ],
        constants,
        f"{network}, over images of {rows} × {columns} pixels",
    )  # fmt: skip
    exported = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPERATORS)],
        ir_version=FORMAT,
        producer_name="mnistcore",
        doc_string=f"A fully connected classifier of {description.title}, trained with NumPy: {network}.",
    )
    metadata = {
        "data_set": description.name,
        "title": description.title,
        "classes": json.dumps(description.classes, ensure_ascii=False),
        "architecture": json.dumps(network.architecture()),
        "normalization": normalizer.method,
        **(properties or {}),
    }
    helper.set_model_props(exported, metadata)
    onnx.checker.check_model(exported, full_check=True)
    return exported


def export(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    processed: str | os.PathLike[str] | None = None,
    metrics: str | os.PathLike[str] | None = None,
) -> None:
    """Write the network of a model.npz, the first if it holds several, as ONNX: the same bytes every time.

    Parameters
    ----------
    source : models/model.npz
    processed : the folder of normalizer.npz and dataset.json; None: data/processed of the pipeline that made
        `source`
    metrics : what evaluate wrote of the network; None: the same pipeline's reports/metrics.json

    Raises
    ------
    InputError : a file is missing or damaged, they do not belong together, or onnx is not installed
    """
    project = Path(os.path.abspath(source)).parents[1]
    processed = _found(processed, project, "data/processed", "--processed")
    metrics = _found(metrics, project, "reports/metrics.json", "--metrics")
    network = model.load(source)[1][0]
    normalizer = Normalizer.load(processed / "normalizer.npz")
    description = read_dataset_description(processed / "dataset.json")
    properties = {"metrics": json.dumps(read_metrics(metrics)["test"], ensure_ascii=False)}
    for file in (Path(source), processed / "normalizer.npz", metrics):
        properties[f"sha256 of {file.name}"] = hashlib.sha256(file.read_bytes()).hexdigest()
    exported = graph_of(network, normalizer, description, properties)
    with replacing(target) as file:
        file.write(exported.SerializeToString(deterministic=True))


def _onnx():
    try:
        import onnx
        import onnx.checker
    except ImportError:
        raise InputError(
            "ONNX: the package onnx is not installed; pip install 'mnistcore[onnx]' brings it"
        ) from None
    return onnx


def _found(given: str | os.PathLike[str] | None, project: Path, usual: str, option: str) -> Path:
    """What was named; or the usual one of the project that the model is part of."""
    if given is not None:
        return Path(given)
    if not (project / usual).exists():
        raise InputError(
            f"ONNX: {project / usual}: not found beside the model's folder; name it with {option}"
        )
    return project / usual


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        "python -m mnistcore.interop.onnx",
        description="Write a trained network as ONNX: raw pixels in, probabilities and label out.",
    )
    parser.add_argument("model", help="models/model.npz; the first network, if it holds several")
    parser.add_argument("onnx", help="the file to write")
    parser.add_argument(
        "--processed", help="folder of normalizer.npz and dataset.json [data/processed beside models/]"
    )
    parser.add_argument("--metrics", help="what evaluate wrote [reports/metrics.json beside models/]")
    given = parser.parse_args(arguments)
    try:
        export(given.model, given.onnx, processed=given.processed, metrics=given.metrics)
    except (InputError, OSError) as error:
        text = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else error
        print(f"onnx: {text}", file=sys.stderr)
        return 2
    print(f"onnx: {given.onnx}: {os.path.getsize(given.onnx):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
