"""The model card: what a stranger should know of the network before using it. Written by plot.

Sections after M. Mitchell et al. (2019), "Model Cards for Model Reporting"; the front matter is what model hubs
read. The words are in template/MODEL_CARD.md.j2, the figures are those of the page.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mnistcore.data.description import DatasetDescription
from mnistcore.data.normalization import Normalizer
from mnistcore.evaluation.metrics import Reliability, confusion_matrix, wilson_interval
from mnistcore.evaluation.predictions import Predictions
from mnistcore.files import replacing
from mnistcore.network.network import Network
from mnistcore.report.figures import TEMPLATE
from mnistcore.report.page import flat, per_class, percent, sha256, thousands

ON_THE_HUB = {"mnist": "ylecun/mnist", "fashion-mnist": "zalando-datasets/fashion_mnist"}
SHOWS = {"fashion-mnist": "articles of clothing", "kmnist": "handwritten Japanese characters"}


def write_card(
    path: str | os.PathLike[str],
    *,
    description: DatasetDescription,
    normalizer: Normalizer,
    predictions: Predictions,
    metrics: Mapping[str, Any],
    bins: Reliability,
    network: Network,
    epochs: int,
    parameters: Mapping[str, Any],
    made_of: Iterable[str | os.PathLike[str]],
) -> None:
    """Write the card, Markdown with YAML front matter: the same bytes for the same arguments.

    Parameters
    ----------
    metrics : the content of metrics.json
    bins : of the reliability diagram
    epochs : that the network was trained for
    parameters : what the network was trained with, by name, nested as they like
    made_of : the files whose SHA-256 the card gives
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATE),
        autoescape=False,  # noqa: S701  (Markdown, from our own files)
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"percent": percent, "thousands": thousands}
    counts = confusion_matrix(predictions.actual, predictions.predicted, len(description.classes))
    found, claimed = np.diag(counts).tolist(), counts.sum(axis=0).tolist()
    rows = [
        row
        | {
            "precision_ci95": wilson_interval(right, predicted),
            "recall_ci95": wilson_interval(right, row["examples"]),
        }
        for row, right, predicted in zip(per_class(description.classes, counts), found, claimed, strict=True)
    ]
    filled = np.flatnonzero(bins.counts).tolist()
    text = environment.get_template("MODEL_CARD.md.j2").render(
        description=description,
        shows=SHOWS.get(description.name, "handwritten digits"),
        hub=ON_THE_HUB.get(description.name),
        normalizer=normalizer,
        metrics=metrics,
        test_metrics=metrics["test"],
        sets=[(name, metrics[name]) for name in ("train", "validation", "test") if name in metrics],
        network=network,
        size=network.parameters.size,
        output=network.layers[-1].dense.activation,
        epochs=epochs,
        parameters=list(flat(parameters)),
        rows=rows,
        bins=[
            {
                "from": place / len(bins.counts),
                "to": (place + 1) / len(bins.counts),
                "count": int(bins.counts[place]),
                "confidence": float(bins.confidence[place]),
                "accuracy": float(bins.accuracy[place]),
            }
            for place in filled
        ],
        files=[(Path(name).as_posix(), sha256(name)) for name in made_of],
        numpy=np.__version__,
    )
    with replacing(path, "w") as file:
        file.write(text)
