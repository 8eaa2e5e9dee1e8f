"""What `make repro` says at the end: how good the model is, how sure that is, and where to look."""

import sys

from mnistcore.errors import InputError
from mnistcore.evaluation.metrics_file import read_metrics
from stages.paths import METRICS, REPORT


def summary(metrics: dict) -> str:
    """Three lines about the test metrics, as evaluate wrote them."""
    test = metrics["test"]
    accuracy, low, high = (f"{100 * share:.2f}" for share in (test["accuracy"], *test["accuracy_ci95"]))
    return (
        f"test accuracy  {accuracy} % (95 % interval {low} to {high} %)\n"
        f"errors         {test['errors']:,} of {test['examples']:,}\n"
        f"report         {REPORT}"
    )


def main() -> None:
    """Print the summary, or one line and exit status 2 where there is none to print."""
    try:
        metrics = read_metrics(METRICS)
    except InputError as error:
        print(f"summary: {error}", file=sys.stderr)
        sys.exit(2)
    print(summary(metrics))


if __name__ == "__main__":
    main()
