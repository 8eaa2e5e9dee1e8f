"""The command line: `dvc-sweep run | status | show | resume | stop`."""

import contextlib
import dataclasses
import importlib
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dvc_sweep.errors import BadInput
from dvc_sweep.signals import held

if TYPE_CHECKING:
    from distributed import Client

    from dvc_sweep.folder import Folder
    from dvc_sweep.project import Project
    from dvc_sweep.study import Study

SHOWN = 10  # trials in the table at the end


class Command(click.Group):
    """Tells what the operating system and Git refuse in one line, too."""

    def invoke(self, ctx: click.Context) -> Any:
        from dvc_sweep.git import GitError

        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            sys.exit(130)
        except BrokenPipeError:
            raise
        except GitError as error:
            raise BadInput(str(error)) from None
        except OSError as error:
            raise BadInput(f"{error.filename or 'operating system'}: {error.strerror or error}") from None


@click.group(cls=Command)
@click.option(
    "--directory", "-C", default=".", type=click.Path(exists=True, file_okay=False), help="The project."
)
@click.version_option(package_name="dvc-sweep")
@click.pass_context
def main(context: click.Context, directory: str) -> None:
    """Many DVC experiments, on as many machines as there are.

    A YAML file names the parameters to vary and the metric to improve. Optuna
    proposes trials, Dask spreads them over processes or machines, and each is
    a DVC experiment: `dvc exp show` lists it, `dvc exp apply` brings it back.

    Exit status: 0 done, 1 no trial was completed, 2 bad input, 130 or 143
    interrupted (`resume` goes on).
    """
    context.obj = directory


def _where(command: Any) -> Any:
    """The options of `run` and `resume` that say where trials run."""
    for option in (
        click.option("--scheduler", metavar="ADDRESS", help="A Dask scheduler that runs: tcp://host:8786."),
        click.option(
            "--workers", type=click.IntRange(min=1), help="Local processes; as many as there are cores."
        ),
    ):
        command = option(command)
    return command


@main.command()
@click.argument("file", type=click.Path(dir_okay=False))
@click.option("--trials", type=click.IntRange(min=1), help="How many; a grid has its own number.")
@click.option("--name", help="Of the sweep and its experiments; the file's name if not given.")
@_where
@click.option("--hub", metavar="URL", help="A bare Git repository that all workers can push to.")
@click.pass_obj
def run(
    directory: str,
    file: str,
    trials: int | None,
    name: str | None,
    workers: int | None,
    scheduler: str | None,
    hub: str | None,
) -> None:
    """Run the sweep that FILE describes.

    Trials start from the last commit, in clones of the repository; the
    workspace is left alone. Each is a DVC experiment called NAME-NUMBER.

    Workers that share no folder with this machine need a --hub, and the
    project a DVC remote.
    """
    _import_all()
    from dvc_sweep import project as projects
    from dvc_sweep import space
    from dvc_sweep.folder import Folder, check_name
    from dvc_sweep.hub import Hub
    from dvc_sweep.page import may_be_written

    path = Path(file)
    if path.exists() and not path.is_file():
        raise BadInput(f"{file}: is no regular file, and the sweep's page is to be written beside it")
    sweep = space.read(path)
    name = path.stem if name is None else name
    check_name(name)
    page = path.with_name(f"{name}.html")
    if not may_be_written(page):
        raise BadInput(f"{page}: is there and is no page of a sweep; give another --name")
    if trials is None and sweep.sampler != "grid":
        raise BadInput("say how many trials: --trials N")
    project = projects.find(directory)
    folder = Folder(project.sweeps, name)
    if folder.exists:
        raise BadInput(
            f"a sweep called '{name}' exists; `dvc-sweep resume {name}` goes on, --name begins another"
        )
    if names := projects.taken(project, name):
        raise BadInput(f"an experiment called {names[0]} exists; give another --name")
    projects.require_commit(project)
    projects.check(project, sweep)
    if hub is not None:
        projects.require_remote(project)
        hub = hub if ":" in hub else os.path.abspath(hub)  # a URL, host:path, or a path
    projects.ask_pipeline(project, sweep)
    with folder.driving(), _client(folder, workers, scheduler) as client:
        relative = os.path.relpath(path.resolve(), project.root)
        about = folder.plan(relative, project.commit, hub, trials)
        Hub(about.hub, about.identity).create(project.repository, about.commit)
        if about.shared:
            projects.write_config(project, folder.clone_config)
        folder.begin(about, path.read_text(encoding="utf-8"))
        _drive(project, folder, client)


@main.command()
@click.argument("name")
@click.option("--trials", type=click.IntRange(min=1), help="How many in all; as many as before if not given.")
@_where
@click.pass_obj
def resume(directory: str, name: str, trials: int | None, workers: int | None, scheduler: str | None) -> None:
    """Go on with the sweep NAME: what had ended stays, what had not runs again."""
    _import_all()
    project, folder = _find(directory, name)
    with folder.driving(), _client(folder, workers, scheduler) as client:
        if trials is not None:
            folder.write(dataclasses.replace(folder.about, trials=trials))
        _drive(project, folder, client)


@main.command()
@click.argument("name", required=False)
@click.pass_obj
def status(directory: str, name: str | None) -> None:
    """Say how far the sweep NAME is, or each of them."""
    from dvc_sweep import folder as folders
    from dvc_sweep import project as projects
    from dvc_sweep.terminal import counted

    project = projects.find(directory)
    found = folders.every(project.sweeps) if name is None else [folders.find(project.sweeps, name)]
    if not found:
        click.echo("no sweep has been run here")
    for folder in found:
        try:
            study, about = _study(folder), folder.about
        except BadInput as error:  # of one sweep; the others have nothing to do with it
            click.echo(f"{folder.name}: {error.message}", err=True)
            continue
        wanted = min(about.trials or sys.maxsize, study.largest or sys.maxsize)
        ended = sum(one.state.is_finished() for one in study.trials)
        state = "done" if ended >= wanted else "stopped"
        if driver := folder.driver():
            state = f"runs ({driver[0]}, process {driver[1]})"
        best = study.best()
        tail = f"; best {best.value:.6g} ({folder.name}-{best.number})" if best else ""
        click.echo(f"{folder.name}: {state}, {ended} of {counted(study, wanted)}{tail}")


@main.command()
@click.argument("name")
@click.argument("trial", type=click.IntRange(min=0), required=False)
@click.pass_obj
def show(directory: str, name: str, trial: int | None) -> None:
    """List the trials of the sweep NAME, the best first, and write its page; or tell all of one TRIAL."""
    from dvc_sweep.terminal import details, table

    project, folder = _find(directory, name)
    study = _study(folder)
    if trial is None:
        for line in table(name, study):
            click.echo(line)
        click.echo(f"page: {_write_page(project, folder, study)}")
        return
    if trial >= len(study.trials):
        last = len(study.trials) - 1
        raise BadInput(f"{name} has no trial {trial}" + (f"; they go to {last}" if last >= 0 else " yet"))
    for line in details(name, study, study.trials[trial]):
        click.echo(line)


@main.command()
@click.argument("name")
@click.pass_obj
def stop(directory: str, name: str) -> None:
    """Stop the sweep NAME as Ctrl-C would: running trials end, finished ones are kept."""
    _, folder = _find(directory, name)
    driver = folder.driver()
    if driver is None:
        raise BadInput(f"{name} does not run")
    host, process = driver
    if host != socket.gethostname():
        raise BadInput(f"{name} is driven from {host}, by process {process}; stop it there")
    os.kill(process, signal.SIGTERM)  # while it starts it may ignore SIGINT, as jobs in the background do
    while folder.driver() == driver:
        time.sleep(0.1)
    click.echo(f"{name}: stopped; `dvc-sweep resume {name}` goes on")


def _import_all() -> None:
    """Import what takes seconds, with Ctrl-C held back: Python ignores what is raised in a callback of its imports."""
    with held():
        for module in ("cluster", "driver", "page", "project"):
            importlib.import_module(f"dvc_sweep.{module}")


def _find(directory: str, name: str) -> "tuple[Project, Folder]":
    from dvc_sweep import folder as folders
    from dvc_sweep import project as projects

    project = projects.find(directory)
    folder = folders.find(project.sweeps, name)
    return dataclasses.replace(project, commit=folder.about.commit), folder


def _study(folder: "Folder", writing: bool = False) -> "Study":
    from dvc_sweep.study import Study

    sweep = folder.sweep
    if not (writing or folder.journal.exists()):
        raise BadInput(
            f"{folder.journal}: is not there; `dvc-sweep resume {folder.name}` makes it from the hub"
        )
    try:
        study = Study(folder.journal, folder.about.identity, sweep, writing)
    except (KeyError, ValueError, TypeError):  # what Optuna makes of a journal that is not whole
        raise folder.damaged(folder.journal) from None
    if any(one.state.is_finished() and one.params.keys() != sweep.space.keys() for one in study.trials):
        raise BadInput(f"{folder.path / 'sweep.yaml'}: has another space than the trials; put it right")
    return study


@contextlib.contextmanager
def _client(folder: "Folder", workers: int | None, scheduler: str | None) -> "Iterator[Client]":
    """A client of the scheduler that was named, or of one with local workers that is started here."""
    from dvc_sweep import cluster

    if scheduler is None:
        with cluster.local(workers or cluster.cores(), folder.workers) as address:
            yield cluster.connect(address)
    elif workers is not None:
        raise BadInput("--workers is for local processes; a scheduler has its own")
    else:
        yield cluster.connect(scheduler)


def _drive(project: "Project", folder: "Folder", client: "Client") -> None:
    """Run what there is to run, then say what came of it."""
    from dvc_sweep import project as projects
    from dvc_sweep.driver import Driver, Stopped
    from dvc_sweep.hub import Hub
    from dvc_sweep.terminal import Progress, counted, table

    started, about = time.monotonic(), folder.about
    study = _study(folder, writing=True)
    trials = min(about.trials or sys.maxsize, study.largest or sys.maxsize)
    progress = Progress(folder.name, study, trials)
    cache = projects.cache(project) if about.shared else None
    driver = Driver(project, folder.name, Hub(about.hub, about.identity), cache, study, client, progress)
    try:
        driver.run(trials)
    except Stopped as stopped:
        progress.close()
        click.echo(f"{folder.name}: stopped, {counted(study)}; `dvc-sweep resume {folder.name}` goes on")
        sys.exit(stopped.status)
    finally:
        progress.close()
    for line in table(folder.name, study, SHOWN):
        click.echo(line)
    click.echo(f"{folder.name}: {counted(study)}, in {time.monotonic() - started:.1f} s")
    try:
        click.echo(f"page: {_write_page(project, folder, study)}")
    except OSError as error:
        click.echo(f"page: {error.filename}: {error.strerror}", err=True)
    if (best := study.best()) is None:
        sys.exit(1)
    name = f"{folder.name}-{best.number}"
    outputs = "" if about.shared else f"dvc exp pull {about.hub} {name} && "  # in the project's remote
    click.echo(f"best: {outputs}dvc exp apply {name}")


def _write_page(project: "Project", folder: "Folder", study: "Study") -> str:
    from dvc_sweep.page import write

    path = (project.root / folder.about.file).with_name(f"{folder.name}.html")
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, folder.name, study)
    return os.path.relpath(path)


if __name__ == "__main__":
    main(prog_name="dvc-sweep")
