"""Times every contestant in one run, interleaved, and writes benchmarks/results."""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from benchmarks.cases import CASES, EXAMPLES, Case
from mnistcore.report.figures import BLUE, FAINT, RULE, page, place_axes, save, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HERE = Path(__file__).parent
RESULTS = HERE / "results"
RAW = HERE.parent / "data" / "raw"
TITLES = {
    "ours": "ours",
    "torch": "PyTorch, eager",
    "torch-avx2": "PyTorch held to AVX2",
    "sklearn": "scikit-learn",
    "jax-step": "JAX, jitted step",
    "jax-scan": "JAX, scanned epoch",
    "bare": "bare products",
    "bare-pinned": "bare products, our kernel in one thread",
}
PAUSE = 0.2  # seconds before an epoch: idle threads of the contestant before may go on spinning for a while
ENOUGH = 60  # seconds: a quick case goes on for so long, since a shared machine's speed changes from minute to minute
ELSEWHERE = ("torch", "torch-avx2", "jax-step", "jax-scan")  # in the benchmark environment
# What holds PyTorch, and the libraries it computes with, to the instructions that our own kernels are pinned to.
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"}


class Contestant:
    """A running process of contestant.py, of the checkout `root`."""

    def __init__(
        self, name: str, case: Case, threads: int, python: str, files: list[str], root: Path = HERE.parent
    ) -> None:
        self.name, self.threads = name, threads
        environment = dict(os.environ, PYTHONPATH=str(root))
        for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            environment[variable] = str(threads)
        for variable in ("OPENBLAS_CORETYPE", "NPY_DISABLE_CPU_FEATURES"):
            environment.pop(variable, None)
        if name == "torch-avx2":
            environment.update(AVX2)
        if name in ("ours", "bare-pinned"):
            # As mnistcore.reproducible does it; the environment is read when NumPy is imported.
            code = "import mnistcore.reproducible; from benchmarks.contestant import main; main()"
        else:
            code = "from benchmarks.contestant import main; main()"
        self.process = subprocess.Popen(
            [python, "-P", "-c", code, name, str(CASES.index(case)), str(threads), *files],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ready(self) -> "Contestant":
        if self.process.stdout.readline().strip() != "ready":
            raise click.ClickException(f"{self.name} did not start")
        return self

    def epoch(self, examples: int) -> float:
        time.sleep(PAUSE)
        self.process.stdin.write(f"{examples}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def measure(
    case: Case, names: list[str], python: str, examples: int, rounds: int, enough: float, files: list[str]
) -> dict:
    """Seconds per epoch of each contestant, with the number of threads (ours: processes) that suits it best.

    At least so many rounds, and as many as begin within `enough` seconds.
    """
    contestants = [
        Contestant(name, case, threads, python if name in ELSEWHERE else sys.executable, files)
        for name in names
        for threads in ((1,) if name == "bare-pinned" else (1, 2))  # its pins allow one
    ]
    times: dict[Contestant, list[float]] = {contestant.ready(): [] for contestant in contestants}
    for contestant in contestants:
        contestant.epoch(examples)  # compiles, warms up
    started, done = time.monotonic(), 0
    while done < rounds or time.monotonic() - started < enough:
        for contestant, taken in times.items():
            taken.append(contestant.epoch(examples))
        done += 1
    result = {}
    for name in names:
        tried = [(statistics.median(t), c.threads, t) for c, t in times.items() if c.name == name]
        seconds, threads, taken = min(tried)
        result[name] = {
            "seconds": round(seconds, 4),
            "each": [round(value, 4) for value in taken],
            "threads": threads,
            "by threads": {str(number): round(median, 4) for median, number, _ in tried},
        }
    for contestant in contestants:
        contestant.end()
    return result


def write_arrays(raw: Path, folder: Path) -> list[str]:
    """MNIST's training images (60000, 784) and labels (60000,) as .npy files, bytes; their paths."""
    files = []
    for name, shape, offset in (("images", (-1, 784), 16), ("labels", (-1,), 8)):
        files.append(str(folder / f"{name}.npy"))
        content = np.fromfile(next(raw.glob(f"train-{name}-*")), np.uint8, offset=offset)
        np.save(files[-1], content.reshape(shape))
    return files


def machine(python: str) -> dict[str, str]:
    """What the figures were measured on and with."""
    model = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    memory = next((line.split()[1] for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), "0")
    versions = (
        "import importlib.metadata as m; print(*(f'{n} {m.version(n)}' for n in ('torch', 'jax')), sep=', ')"
    )
    theirs = subprocess.run([python, "-c", versions], capture_output=True, text=True).stdout.strip()
    from importlib.metadata import version

    return {
        "processor": model,
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "memory": f"{int(memory) / 2**20:.0f} GB",
        "system": f"{platform.system()} {platform.machine()}",
        "versions": f"Python {platform.python_version()}, NumPy {version('numpy')}, "
        f"scikit-learn {version('scikit-learn')}, {theirs}",
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def table(results: dict[str, dict], about: dict[str, str], examples: int) -> str:
    """The results as Markdown."""
    lines = [
        "# Training time",
        "",
        f"One epoch of plain gradient descent over {examples:,} MNIST images in a new order: seconds, median of "
        f"at least {min(len(r['ours']['each']) for r in results.values())} interleaved rounds, each contestant with "
        "the number of threads (ours: processes; 1 or 2, in brackets) that suits it best.",
        "",
        *(f"- {key}: {value}" for key, value in about.items()),
        "",
        "| network, batch | " + " | ".join(TITLES.values()) + " |",
        "|---|" + "---|" * len(TITLES),
    ]
    for name, result in results.items():
        cells = [
            f"{result[key]['seconds']:.3f} ({result[key]['threads']})" if key in result else "–"
            for key in TITLES
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", "Ours against the others; in brackets what was aimed at:", "", *comparison(results)]
    return "\n".join(lines) + "\n"


def comparison(results: dict[str, dict]) -> list[str]:
    """The lines of the table that sets our seconds against those of the others."""
    lines = [
        "| network, batch | ours | PyTorch | PyTorch held to AVX2 | scikit-learn | JAX's step | JAX's scan "
        "| ÷ bare products | ÷ those of our kernel in one thread |",
        "|---|" + "---|" * 8,
    ]
    for case in CASES:
        if case.name not in results:
            continue
        result, mine = results[case.name], results[case.name]["ours"]["seconds"]
        cells = [f"{mine:.3f} s"]
        for key in ("torch", "torch-avx2", "sklearn", "jax-step", "jax-scan", "bare", "bare-pinned"):
            if key not in result:
                cells.append("–")
                continue
            theirs = result[key]["seconds"]
            ratio = f"{mine / theirs:.2f}" if key.startswith("bare") else f"{theirs / mine:.2f} ×"
            aim = case.targets.get(key)
            cells.append(ratio + (f" ({aim:g})" if aim else ""))
        lines.append(f"| {case.name} | " + " | ".join(cells) + " |")
    return lines


@styled
def chart(results: dict[str, dict]) -> "Figure":
    """A bar for the time of each contestant in each case, ours as 1, on one scale from zero."""
    wide, tall, left, gap = 1.75, 0.34 * len(TITLES), 3.35, 0.5
    width, height = left + len(results) * (wide + gap) + 0.1, 1.85 + tall
    figure = page(
        (width, height),
        "Time of an epoch",
        "ours in seconds, the others as a multiple of ours: shorter is faster",
    )
    most = max(r[key]["seconds"] / r["ours"]["seconds"] for r in results.values() for key in r)
    for place, (case, r) in enumerate(results.items()):
        axes = place_axes(figure, (left + place * (wide + gap), 0.3, wide, tall))
        layers, batch = case.split(", ", 1)
        axes.set_title(
            f"{layers}\n{batch.replace('batch', 'batches of') if 'batch' in batch else f'batches of {batch}'}"
        )
        for row, key in enumerate(TITLES):
            if key not in r:
                axes.text(0.1, row, "–", color=FAINT, va="center")
                continue
            times = r[key]["seconds"] / r["ours"]["seconds"]
            colour = BLUE if key == "ours" else RULE if key.startswith("bare") else "#a49c8e"
            axes.barh(row, times, height=0.72, color=colour)
            label = f"{r[key]['seconds']:.3f} s" if key == "ours" else f"{times:.2f} ×"
            strong = {"color": BLUE, "weight": "bold"} if key == "ours" else {}
            axes.text(max(times, 1) + 0.02 * most, row, label, size=9, va="center", **strong)
        axes.axvline(1, color=BLUE, linewidth=0.8)
        axes.set(xlim=(0, 1.1 * most), ylim=(len(TITLES) - 0.5, -0.5))
        axes.set_xticks([])
        axes.set_yticks(range(len(TITLES)), TITLES.values() if place == 0 else [""] * len(TITLES))
        axes.tick_params(length=0)
        axes.spines["bottom"].set_visible(False)
    return figure


@click.command()
@click.option(
    "--python",
    default=".venv-bench/bin/python",
    show_default=True,
    help="The interpreter that has PyTorch and JAX.",
)
@click.option("--examples", default=EXAMPLES, show_default=True, help="Images per epoch.")
@click.option("--rounds", default=5, show_default=True, help="Timed epochs of each contestant, at least.")
@click.option(
    "--enough", default=ENOUGH, show_default=True, help="Seconds after which a case needs no more rounds."
)
@click.option("--case", "only", type=int, multiple=True, help="Number of a case, from 0; all, if not given.")
@click.option(
    "--contestant", "names", multiple=True, type=click.Choice(list(TITLES)), help="All, if not given."
)
@click.option("--write/--no-write", default=True, help="Whether to write benchmarks/results.")
def main(
    python: str,
    examples: int,
    rounds: int,
    enough: int,
    only: tuple[int, ...],
    names: tuple[str, ...],
    write: bool,
) -> None:
    """Time training against PyTorch, scikit-learn, JAX and the bare matrix products."""
    if not (RAW / "train-images-idx3-ubyte").is_file():
        subprocess.run([sys.executable, HERE.parent / "stages" / "fetch.py"], cwd=HERE.parent, check=True)
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        files = write_arrays(RAW, Path(folder))
        for number, case in enumerate(CASES):
            if only and number not in only:
                continue
            # In small batches the calls take the time, and which instructions the products may use hardly matters;
            # beside scikit-learn, nothing was aimed at there.
            left_out = ("sklearn", "torch-avx2") if case.batch < 100 else ()
            wanted = [name for name in names or TITLES if name not in left_out]
            results[case.name] = measure(case, wanted, python, examples, rounds, enough, files)
            timings = ", ".join(
                f"{name} {r['seconds']:.3f} ({r['threads']})" for name, r in results[case.name].items()
            )
            click.echo(f"{case.name}: {timings}")
    if write and len(results) == len(CASES):
        about = machine(python)
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "results.md").write_text(table(results, about, examples), encoding="utf-8")
        content = {"machine": about, "examples": examples, "results": results}
        (RESULTS / "results.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        save(chart(results), RESULTS / "results.png", dpi=130)
        click.echo((RESULTS / "results.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
