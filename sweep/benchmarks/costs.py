"""What a sweep costs beyond its trials; the figures of sweep/README.md come from here.

    python sweep/benchmarks/costs.py overhead      # of a trial, beside `dvc exp run` alone; a minute
    python sweep/benchmarks/costs.py many          # 1,000 trials, the driver's memory; some minutes
    python sweep/benchmarks/costs.py large         # proposals and the hub with 10,000 trials; two minutes
    python sweep/benchmarks/costs.py throughput    # two trials at a time beside one, in the project it is run in

Each prints a table in Markdown, and the machine. `throughput` needs a DVC project, its data, and a sweep file.
"""

import itertools
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import click
import psutil

PIPELINE = """\
stages:
  sleep:
    cmd: sleep 0.1 && cp params.yaml metrics.yaml
    params: [a]
    metrics: [metrics.yaml: {cache: false}]
"""
SWEEP = """\
objective: {file: metrics.yaml, key: a, direction: minimize}
sampler: random
space: {a: {low: 0.0, high: 1.0}}
"""


def run(*command: str, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


@contextmanager
def project() -> Iterator[Path]:
    """A DVC project whose only stage sleeps for 0.1 s."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "project"
        root.mkdir()
        for name, text in {"dvc.yaml": PIPELINE, "params.yaml": "a: 0.5\n", "sweep.yaml": SWEEP}.items():
            (root / name).write_text(text)
        for command in (
            "git init -q",
            "dvc init -q",
            "dvc repro -q",
            "git add -A",
            "git commit -qm baseline",
        ):
            run(*command.split(), cwd=root)
        yield root


def machine() -> str:
    with open("/proc/cpuinfo") as file:
        models = [line.partition(": ")[2].strip() for line in file if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores of {models[0] if models else platform.processor()}, Python {platform.python_version()}"


def table(heads: list[str], rows: list[list[str]]) -> None:
    click.echo("\n| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    for row in rows:
        click.echo("| " + " | ".join(row) + " |")
    click.echo(f"\n{machine()}, {os.uname().sysname}\n")


def ends(root: Path, name: str) -> list[tuple[float, float]]:
    """Start and end of each complete trial, in seconds, as Optuna's journal has them, by their end."""
    started, found = {}, []
    with open(root / ".dvc/tmp/sweeps" / name / "journal.log") as journal:
        for line in map(json.loads, journal):
            if line["op_code"] == 4:
                started[len(started)] = datetime.fromisoformat(line["datetime_start"]).timestamp()
            elif line["op_code"] == 6 and line["state"] == 1:
                found.append(
                    (started[line["trial_id"]], datetime.fromisoformat(line["datetime_complete"]).timestamp())
                )
    return sorted(found, key=lambda one: one[1])


@click.group()
def main() -> None:
    """What a sweep costs."""


@main.command()
@click.option("--trials", default=12)
def overhead(trials: int) -> None:
    """Seconds of a trial in a sweep with one worker, beside `dvc exp run` by itself."""
    with project() as root:
        clone = root.with_name("clone")
        run("git", "clone", "-q", str(root), str(clone), cwd=root)
        alone = []
        for number in range(trials):
            run("git", "reset", "-q", "--hard", cwd=clone)
            before = time.perf_counter()
            run(
                "dvc", "exp", "run", "-q", "-n", f"alone-{number}", "-S", f"a={0.1 + number / 100}", cwd=clone
            )
            alone.append(time.perf_counter() - before)
        run("dvc-sweep", "run", "sweep.yaml", "--trials", str(trials), "--workers", "1", cwd=root)
        times = [end for _, end in ends(root, "sweep")]
        whole = [later - earlier for earlier, later in itertools.pairwise(times)]
    rows = [
        [what, f"{statistics.median(one):.2f}", f"{min(one):.2f}", f"{max(one):.2f}"]
        for what, one in (("`dvc exp run` by itself", alone), ("a trial of a sweep, all in all", whole))
    ]
    table(["seconds", "median", "least", "most"], rows)


@main.command()
@click.option("--trials", default=1000)
@click.option("--workers", default=2)
def many(trials: int, workers: int) -> None:
    """So many trials of a stage that sleeps for 0.1 s: the driver's memory and time as they go."""
    with project() as root:
        before = time.monotonic()
        command = ["dvc-sweep", "run", "sweep.yaml", "--trials", str(trials), "--workers", str(workers)]
        log = root.with_name("log")
        with log.open("w") as output:
            driver = subprocess.Popen(command, cwd=root, stdout=output, stderr=output)
        process, samples, wanted = psutil.Process(driver.pid), [], trials // 10
        while driver.poll() is None:
            time.sleep(0.2)
            try:
                done = len(ends(root, "sweep"))
                if done >= wanted:
                    memory, used = process.memory_info().rss, process.cpu_times()
                    samples.append((done, time.monotonic() - before, memory, used.user + used.system))
                    wanted += trials // 10
            except (OSError, ValueError, psutil.Error):
                pass
        if driver.returncode:
            sys.exit(f"dvc-sweep ended with {driver.returncode}: {log.read_text()[-2000:]}")
        refs = run("git", "for-each-ref", "--format=%(refname)", "refs/exps", cwd=root).count("/sweep-")
        size = sum(one.stat().st_size for one in (root / ".dvc/tmp/sweeps").rglob("*") if one.is_file())
    rows = [
        [f"{done:,}", f"{seconds:.0f}", f"{memory / 1e6:.0f}", f"{1000 * cpu / done:.0f}"]
        for done, seconds, memory, cpu in samples
    ]
    table(["trials done", "seconds", "driver's memory, MB", "driver's processor time per trial, ms"], rows)
    click.echo(f"{refs} experiments in the repository, {size / 1e6:.1f} MB in the sweep's folder")


@main.command()
@click.option("--trials", default=10_000)
def large(trials: int) -> None:
    """Milliseconds of what the driver and the hub do for a trial when there are so many already."""
    from optuna.distributions import FloatDistribution
    from optuna.trial import create_trial

    from dvc_sweep import space
    from dvc_sweep.hub import Hub, Outcome
    from dvc_sweep.study import Study

    rows = []
    for sampler in ("random", "tpe"):
        times = []
        for size in (trials // 10, trials):
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "sweep.yaml"
                file.write_text(SWEEP.replace("random", sampler))
                study = Study(Path(folder) / "journal", "s", space.read(file), writing=True)
                whole = {"a": FloatDistribution(0.0, 1.0)}
                for number in range(size):
                    value = number / size
                    study.study.add_trial(create_trial(params={"a": value}, distributions=whole, value=value))
                times.append([])
                for _ in range(5):
                    before = time.perf_counter()
                    trial = study.ask()
                    study.tell(
                        trial, Outcome(trial.number, "complete", trial.params["a"], seconds=1.0, worker="w")
                    )
                    times[-1].append(1000 * (time.perf_counter() - before))
        rows.append(
            [f"driver: propose and record, {sampler}", *(f"{statistics.median(one):.0f}" for one in times)]
        )
    with project() as root:
        marks: dict[str, list[float]] = {}
        for size in (trials // 10, trials):
            hub = Hub(str(root.with_name(f"hub-{size}")), "s-1")
            commit = run("git", "rev-parse", "HEAD", cwd=root).strip()
            hub.create(root, commit)
            refs = [
                f"create refs/dvc-sweep/s-1/trials/{one} {commit}\ncreate refs/exps/00/1/s-{one} {commit}\n"
                for one in range(size)
            ]
            subprocess.run(
                ["git", "update-ref", "--stdin"], cwd=hub.url, input="".join(refs), text=True, check=True
            )
            new, outcome = "refs/exps/00/1/new", Outcome(size, "complete", 1.0, commit)
            for step, what, *given in (
                ("worker: hand in a trial", hub.put, root, outcome, new),
                ("worker: look a trial up", hub.outcome, root, size + 1),
                ("driver: fetch an experiment", hub.fetch_experiment, root, new),
            ):
                before = time.perf_counter()
                what(*given)
                marks.setdefault(step, []).append(1000 * (time.perf_counter() - before))
        rows += [[step, *(f"{one:.0f}" for one in found)] for step, found in marks.items()]
    table(["milliseconds", f"with {trials // 10:,} trials", f"with {trials:,}"], rows)


@main.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
def throughput(file: str) -> None:
    """Trials per hour of a sweep of FILE (a grid), one at a time and two at a time, on all cores."""
    root, rows = Path.cwd(), []
    for workers in (1, 2):
        name = f"throughput-{os.getpid()}-{workers}"
        run("dvc-sweep", "run", file, "--name", name, "--workers", str(workers), cwd=root)
        times = ends(root, name)
        seconds = times[-1][1] - min(start for start, _ in times)
        rows.append(
            [f"{workers} at a time", f"{len(times)}", f"{seconds:.1f}", f"{3600 * len(times) / seconds:.0f}"]
        )
        names = [f"{name}-{number}" for number in range(len(times))]
        run("dvc", "exp", "remove", "-q", *names, cwd=root)
        shutil.rmtree(root / ".dvc/tmp/sweeps" / name)
        (Path(file).with_name(f"{name}.html")).unlink()
    table(["", "trials", "seconds", "trials per hour"], rows)
    click.echo(f"{float(rows[1][3]) / float(rows[0][3]):.2f} times as many")


if __name__ == "__main__":
    main()
