"""`python -m recipes`: run the published experiments, time them, write recipes/README.md and its pictures."""

import mnistcore.reproducible  # noqa: F401  before NumPy

import subprocess
import sys
import time
from collections.abc import Sequence

import click

from mnistcore.errors import InputError
from mnistcore.files import replacing
from recipes import results as reading

# What CI runs in full, together under three minutes; the rest it checks by the lock.
CHEAP = [
    "mnist1000-replay",
    "mnist1000-plain",
    "mnist1000-batch",
    "mnist1000-softmax",
    "digits-relu200",
]


class _Group(click.Group):
    """Ends bad input with one line and exit status 2."""

    def invoke(self, context: click.Context) -> object:
        try:
            return super().invoke(context)
        except InputError as error:
            click.echo(f"recipes: {error}", err=True)
            sys.exit(2)


@click.group(cls=_Group)
def main() -> None:
    """The published experiments: run them, time them, set them beside the originals in a table."""


@main.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
def run(names: tuple[str, ...]) -> None:
    """Run recipes (all of them, unless named) with DVC, saying which and how far; then write the table."""
    _run(_known(names))
    _write_table()


def _known(names: Sequence[str]) -> Sequence[str]:
    """The names, all of them if none is given; none but those in recipes/dvc.yaml."""
    for name in names:
        if name not in reading.names():
            raise InputError(f"no recipe '{name}'; there are {', '.join(reading.names())}")
    return names or reading.names()


def _run(names: Sequence[str]) -> None:
    started = time.monotonic()
    for number, name in enumerate(names, start=1):
        minutes, seconds = divmod(int(time.monotonic() - started), 60)
        click.secho(f"\nrecipe {number} of {len(names)}: {name} ({minutes}:{seconds:02d} so far)", bold=True)
        status = _here(sys.executable, "-m", "dvc", "repro", f"plot@{name}")
        if status:
            raise InputError(f"{name}: dvc repro ended with status {status}")
    click.echo(f"\nrecipes: {len(names)} up to date in {time.monotonic() - started:.0f} s")


def _here(*command: str) -> int:
    """Run a command in recipes/, a DVC project of its own; its exit status."""
    return subprocess.run(command, cwd=reading.HERE).returncode


@main.command()
@click.option("--check", is_flag=True, help="Write nothing; fail if README.md is not what it would be.")
def table(check: bool) -> None:
    """Write recipes/README.md and recipes/pictures/ from what the recipes reached."""
    _write_table(check)


def _write_table(check: bool = False) -> None:
    from recipes.table import readme

    found = [reading.load(name) for name in reading.names()]
    page, target = readme(found), reading.HERE / "README.md"
    if check:
        if not target.exists() or target.read_text(encoding="utf-8") != page:
            raise InputError("recipes/README.md is not up to date; run `python -m recipes table`")
        return
    from mnistcore.report.figures import save
    from recipes import pictures

    for result in found:
        save(pictures.recipe(result), reading.HERE / "pictures" / f"{result.name}.png", dpi=110)
    save(pictures.side_by_side(found), reading.HERE / "pictures" / "all.png", dpi=130)
    with replacing(target, "w") as file:
        file.write(page)
    click.echo(f"recipes: wrote README.md and {len(found) + 1} pictures")


@main.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--repeats", default=5, show_default=True, help="Epochs timed of each; their median counts.")
def timings(names: tuple[str, ...], repeats: int) -> None:
    """Time an epoch of each recipe and of its notebook's loop, by turns; best on a quiet machine."""
    from recipes.timings import measure

    measure(_known(names), repeats, click.echo)
    _write_table()


@main.command()
def check() -> None:
    """What CI asks: run the cheap recipes in full, find what they give in Git, and dvc.lock up to date.

    In a clean clone nothing is cached, so the cheap ones really run; the others are checked by dvc.lock.
    """
    _run(CHEAP)
    _write_table()
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--", "."], cwd=reading.HERE, capture_output=True, text=True
    ).stdout
    if changed:
        raise InputError(f"not what is committed: {', '.join(line[3:] for line in changed.splitlines())}")
    click.echo("recipes: the cheap ones give what is committed")
    if _here(sys.executable, "-m", "dvc_checks", "lock"):
        raise InputError("recipes/dvc.lock is not up to date; run `make recipes` and commit what changes")


if __name__ == "__main__":
    main()
