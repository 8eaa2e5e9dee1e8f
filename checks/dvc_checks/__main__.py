"""The command line: `dvc-checks deps | effects | lock | reproduce | compare | merge | all | mend`."""

import gc
import signal
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

import click

from dvc_checks import output
from dvc_checks.errors import BadInput
from dvc_checks.output import count, say
from dvc_checks.report import Finding, Location, Report, failed, together

if TYPE_CHECKING:
    from dvc_checks.deps import Verdict
    from dvc_checks.libraries import Comparison
    from dvc_checks.pipeline import Pipeline
    from dvc_checks.reproduce import Tolerance

STATUS = """
\b
Exit status: 0 all is well, 1 something was found, 2 bad input or usage.
"""


class Checks(click.Group):
    """Ends an interruption cleaned up, and as a shell expects: 130 after SIGINT, 143 after SIGTERM."""

    def invoke(self, ctx: click.Context) -> Any:
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            sys.exit(130)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise BadInput(f"{error.filename or 'operating system'}: {error.strerror or error}") from None
        except RecursionError:  # what is read here is anybody's
            raise BadInput("something in this project is nested too deeply to be read") from None
        except MemoryError:
            raise BadInput("something in this project is too large for this machine's memory") from None
        finally:
            signal.signal(signal.SIGTERM, before)


@click.group(cls=Checks, epilog="Run `dvc-checks COMMAND --help` for what a command checks and how it ends.")
@click.option(
    "--directory", "-C", default=".", type=click.Path(exists=True, file_okay=False), help="The project."
)
@click.pass_context
def main(context: click.Context, directory: str) -> None:
    """Is this DVC pipeline valid, and did it get better?

    For any DVC project whose stages run Python scripts. Every command says in
    its first line what it found, and ends with 0 when all is well, 1 when
    something was found, 2 when the input could not be judged.
    """
    context.obj = directory
    gc.set_threshold(50_000)  # what is read of a project is there until the end, and need not be gone through


F = TypeVar("F", bound=Callable[..., Any])


def forms(*more: str) -> Callable[[F], F]:
    """The options that say in which form a command shows its report, passed on as `form`.

    A command that cannot judge its input says so in that form, too.
    """

    def decorate(function: F) -> F:
        @wraps(function)
        def run(*arguments: Any, **options: Any) -> Any:
            try:
                return function(*arguments, **options)
            except BadInput as error:
                failed(click.get_current_context().info_name or "", error.message, options["form"])
                raise

        for name in reversed(("json", "github", *more)):
            run = click.option(f"--{name}", "form", flag_value=name, help=FORMS[name])(run)
        return cast("F", run)

    return decorate


FORMS = {
    "json": "Everything, for machines (dvc-checks/1, see the README).",
    "github": "Also annotations, and the summary of the job, for GitHub Actions.",
    "markdown": "For a comment on GitHub.",
}
stage_option = click.option(
    "--stage", "stages", multiple=True, help="Only this stage, or this dvc.yaml; may be repeated."
)


@main.command(short_help="Does every stage list exactly the code it imports?", epilog=STATUS)
@stage_option
@click.option(
    "--fix", is_flag=True, help="Rewrite the code dependencies in dvc.yaml; comments and order stay."
)
@click.option(
    "--libraries", is_flag=True, help="Judge the versions of installed libraries as well: libraries.yaml."
)
@forms()
@click.pass_obj
def deps(directory: str, stages: tuple[str, ...], fix: bool, libraries: bool, form: str | None) -> None:
    """Does every stage list exactly the project files that its script imports?

    Follows the imports from the scripts named in `cmd`, without running them,
    and compares with `deps`. A folder in `deps` covers the files in it. Data
    dependencies are left alone. What only a run can tell (an import by a
    computed name, a shell script) is named and not guessed.

    Missing and needless files are findings; with --fix, only those that could
    not be written into dvc.yaml.

    With --libraries, libraries.yaml has to hold the versions installed here of
    what stages import, and each stage has to declare, as parameters from it,
    what it imports itself: so an upgrade reruns these stages and no others. Run
    it in the environment in which the stages run.
    """
    report = _deps(directory, stages, fix)
    if libraries:
        report.add(_libraries(directory, stages, fix))
    _end(report, form)


def _end(report: Report, form: str | None) -> NoReturn:
    report.show(form)
    sys.exit(report.status)


def _deps(directory: str, names: tuple[str, ...] = (), fix: bool = False) -> Report:
    from dvc_checks import deps, pipeline

    project = pipeline.load(directory, locks=False)
    stages = project.select(names)
    verdicts = deps.compare(project, stages)
    wrong = [verdict for verdict in verdicts if not verdict.right]
    if fix and wrong:
        return _fix(directory, names, project, verdicts)
    notes = sum(len(verdict.notes) for verdict in verdicts)
    tail = f"; {count(notes, 'thing')} only a run can tell" if notes else ""
    if wrong:
        missing = sum(len(verdict.missing) for verdict in wrong)
        needless = sum(len(verdict.needless) for verdict in wrong)
        summary = (
            f"the wrong code is listed by {len(wrong)} of {count(len(stages), 'stage')}: "
            f"{missing} missing, {needless} needless (--fix rewrites them){tail}"
        )
    else:
        summary = f"every stage lists exactly the code it imports ({count(len(stages), 'stage')}){tail}"
    return _add_verdicts(Report("deps", summary), verdicts).locate(project.root)


def _add_verdicts(report: Report, verdicts: "list[Verdict]") -> Report:
    from dvc_checks import deps

    for verdict in verdicts:
        report.findings += deps.findings(verdict)
        report.notes += [Finding(verdict.stage.name, note) for note in verdict.notes]
        report.text += deps.shown(verdict)
    return report


def _fix(directory: str, names: tuple[str, ...], project: "Pipeline", verdicts: "list[Verdict]") -> Report:
    from dvc_checks import deps, edit, pipeline

    added = removed = 0
    by_hand: list[str] = []
    files = dict.fromkeys(verdict.stage.file for verdict in verdicts)
    for file in files:
        edited = edit.fix(project.root / file, [v for v in verdicts if v.stage.file == file])
        added, removed = added + edited.added, removed + edited.removed
        by_hand += [f"{file}: {line}" for line in edited.by_hand]
    again = pipeline.load(directory, locks=False)
    left = [verdict for verdict in deps.compare(again, again.select(names)) if not verdict.right]
    report = Report(
        "deps",
        f"{added} added, {removed} removed in {' '.join(files)}" + (f"; {len(left)} left" if left else ""),
        text=[f"  by hand   {line}" for line in by_hand],
        data={"added": added, "removed": removed, "by hand": by_hand},
    )
    _add_verdicts(report, left)
    if added or removed:
        report.text.append(
            "dvc.lock does not know of it yet: run `dvc repro`, or `dvc commit` if the outputs stay right"
        )
    return report.locate(again.root)


def _libraries(directory: str, names: tuple[str, ...], fix: bool) -> Report:
    from dvc_checks import deps, libraries, pipeline

    by_hand: list[str] = []

    def compare() -> "Comparison":
        project = pipeline.load(directory, locks=False)
        return libraries.compare(project, deps.compare(project, project.select(names)))

    root = pipeline.root_of(directory)
    compared = compare()
    summary = libraries.headline(compared)
    if fix and (compared.wrong or compared.file):
        by_hand = libraries.fix(root, compared)
        compared = compare()
        summary = f"{libraries.FILE} and what the stages declare from it are rewritten"
    report = Report("libraries", summary, libraries.findings(compared))
    report.notes = [Finding(v.stage.name, note) for v in compared.stages for note in v.notes]
    report.text = [*(f"  by hand   {line}" for line in by_hand), *libraries.shown(compared)]
    report.data = {"versions": compared.wanted, "by hand": by_hand}
    return report.locate(root)


@main.command(short_help="Is dvc.lock true for this commit, with no data at hand?", epilog=STATUS)
@click.argument("revision", required=False)
@stage_option
@forms()
@click.pass_obj
def lock(directory: str, revision: str | None, stages: tuple[str, ...], form: str | None) -> None:
    """Is dvc.lock complete and true for this commit, with no data at hand?

    Checks dvc.lock against the commands, parameters, dependencies and outputs
    of dvc.yaml, against the files that Git keeps, and against itself: what one
    stage read has to be, hash for hash, what another wrote. If the project has
    a remote, asks it for every output: what it certainly does not have is a
    finding; a remote that refuses or does not answer is only reported.

    Judges the files as they are; with REVISION, and in a bare repository,
    those of a commit. Every way in which dvc.lock is not true is a finding.
    """
    _end(_lock(directory, revision, stages), form)


def _lock(directory: str, revision: str | None = None, names: tuple[str, ...] = ()) -> Report:
    from dvc_checks import lock, pipeline, remote, snapshot

    if revision is None and snapshot.is_bare(directory):
        revision = "HEAD"
    if revision is not None:
        with snapshot.clone(directory, revision) as copy:
            return _lock(str(copy.root), None, names)
    project = pipeline.load(directory)
    stages = project.select(names)
    verdict = lock.check(project, stages)
    answer = remote.ask(project, stages)
    findings = [*verdict.findings, *answer.absent]
    tail = f"; {answer}" if str(answer) else ""
    if findings:
        stale = list(dict.fromkeys(finding.where for finding in findings))
        named = ", ".join(stale[:6]) + (f" and {len(stale) - 6} more" if len(stale) > 6 else "")
        summary = f"dvc.lock is not true for {named}{tail}"
    else:
        summary = f"dvc.lock is true for {count(len(stages), 'stage')}{tail}"
    report = Report("lock", summary, findings, verdict.notes)
    report.text = [f"  {finding.where}: {finding.what}" for finding in findings]
    report.text += [f"  note: {note.where}: {note.what}" for note in verdict.notes]
    report.data = {
        "remote": {"outputs": answer.outputs, "unknown": answer.unknown, "reason": answer.reason or None}
    }
    return report.locate(project.root)


@main.command(short_help="Which stages does each parameter rerun, truly?", epilog=STATUS)
@stage_option
@click.option("--run", is_flag=True, help="Run the stages, in a scratch clone, and compare what they read.")
@click.option(
    "--leaves", is_flag=True, help="A row for every leaf, also where a whole section does the same."
)
@forms("markdown")
@click.pass_obj
def effects(directory: str, stages: tuple[str, ...], run: bool, leaves: bool, form: str | None) -> None:
    """Which stages does each leaf of each params file rerun, and is that declared truly?

    Findings without a run: a key that reruns no stage, a declared key that does
    not exist, and one with a name that DVC's run cache overlooks (size, nfiles).

    With --run, the stages run for real in a scratch clone of the workspace,
    under an audit hook: a stage that reads a key or opens a file of the project
    that it does not declare is a finding, and so is a declared one that it
    never uses. Where keys cannot be seen (a params file read whole), the stage
    runs once more with only its declared keys in the file and has to write the
    same outputs. Not seen: files outside the project, Python started with -I,
    and undeclared files that only other programs read.
    """
    _end(_effects(directory, stages, run, leaves, form == "markdown"), form)


def _effects(
    directory: str,
    names: tuple[str, ...] = (),
    run: bool = False,
    leaves: bool = False,
    markdown: bool = False,
) -> Report:
    from dvc_checks import effects, pipeline

    project = pipeline.load(directory, locks=run)
    stages = project.select(names)
    found = effects.table(project, stages)
    findings = effects.declared_wrongly(project, stages, found)
    notes: list[Finding] = []
    ran = 0
    if run:
        from dvc_checks import observe

        for observation in observe.observe(project, stages):
            ran += not observation.failed
            stage = observation.stage
            place = Location(stage.file, ("stages", stage.entry))
            findings += [Finding(stage.name, text, place) for text in observation.findings]
            notes += [Finding(stage.name, text) for text in observation.notes]
    parameters = count(len(found), "parameter") if found else "no parameters"
    first = f"{parameters}, {count(len(stages), 'stage')}"
    if run:
        first += f", {ran} of them run and watched"
        well = "what they declare is what they read"
    else:
        well = "each parameter reruns a stage" if found else "commands, code and data alone rerun a stage"
    summary = f"{first}: {count(len(findings), 'finding') if findings else well}"
    report = Report("effects", summary, findings, notes, data={"effects": [vars(effect) for effect in found]})
    report.text = [f"  {finding.where}: {finding.what}" for finding in findings]
    report.text += [f"  note: {note.where}: {note.what}" for note in notes]
    if found:
        rows = [(e.file, e.key, e) for e in found] if leaves or markdown else effects.collapsed(found)
        cells = [[file, key, *effects.in_words(effect)] for file, key, effect in rows]
        header = ["file", "parameter", "reruns", "and then"]
        if markdown:
            cells = [[file, f"`{key}`", direct or "**nothing**", after] for file, key, direct, after in cells]
        report.text += ["", *(output.markdown_table if markdown else output.table)(header, cells)]
    return report.locate(project.root)


class ToleranceType(click.ParamType):
    """`0.002`, or `accuracy=0.002`."""

    name = "[KEY=]NUMBER"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> "Tolerance":
        from dvc_checks.reproduce import Tolerance

        key, _, number = str(value).rpartition("=")
        try:
            size = float(number)
        except ValueError:
            size = -1.0
        if not 0 <= size < float("inf"):
            self.fail(f"'{value}' is not [KEY=]NUMBER with a number of 0 or more", param, ctx)
        return Tolerance(key, size)


@main.command(
    short_help="Does a clean clone give the very hashes in dvc.lock?",
    epilog="""
\b
Exit status: 0 the same, 1 something differs or the pipeline fails, 2 bad input,
             130 or 143 interrupted (nothing is left behind).
""",
)
@click.argument("revision", default="HEAD")
@click.option("--targets", multiple=True, help="A stage or dvc.yaml, with all it needs; may be repeated.")
@click.option(
    "--tolerance",
    "tolerances",
    type=ToleranceType(),
    multiple=True,
    help="Judge metrics, not hashes: each value (whose key ends with KEY) within NUMBER of the old one.",
)
@click.option(
    "--record", is_flag=True, help="When all is the same, write dvc.environment.json beside dvc.lock."
)
@forms()
@click.pass_obj
def reproduce(
    directory: str,
    revision: str,
    targets: tuple[str, ...],
    tolerances: "tuple[Tolerance, ...]",
    record: bool,
    form: str | None,
) -> None:
    """Does a clean clone of this commit, with an empty cache, give the very hashes in dvc.lock?

    Clones the commit into a temporary folder, runs the whole pipeline there
    with this Python environment (data tracked by .dvc files is taken from the
    cache or remote), and compares every output's hash. For each that differs:
    the largest difference of arrays, the metrics' deltas, the first line or
    byte; the original is taken from Git, the workspace, the cache or the
    remote. And how this environment differs from the one recorded in
    dvc.environment.json (--record): Python, libraries, BLAS kernel, processor.

    On machines where the bits cannot agree, --tolerance makes the values of the
    metrics files decide; other outputs that differ are then only shown.
    """
    _end(_reproduce(directory, revision, targets, list(tolerances), record), form)


def _reproduce(
    directory: str,
    revision: str = "HEAD",
    targets: tuple[str, ...] = (),
    tolerances: "Sequence[Tolerance]" = (),
    record: bool = False,
) -> Report:
    from dvc_checks import environment
    from dvc_checks import reproduce as check
    from dvc_checks.pipeline import load

    def progress(line: str) -> None:
        if sys.stderr.isatty():
            click.echo(f"reproduce: {line}", err=True)

    result = check.reproduce(directory, revision, targets, list(tolerances), progress)
    report = check.report(result)
    if record and result.same and not result.differences:
        path = load(directory).root / environment.FILE
        environment.write(path, result.environment)
        report.text.append(f"recorded this environment in {path.name}")
    return report


@main.command(
    short_help="What moved since a commit: more than chance?",
    epilog="""
\b
Exit status: 0 compared, 1 with --fail-if-worse: a model got worse by more than
             chance, or its predictions are gone; 2 bad input.
""",
)
@click.argument("revision", default="HEAD")
@click.argument("revision2", required=False)
@click.option(
    "--all-experiments", "every", is_flag=True, help="Rank the experiments that started from REVISION."
)
@click.option("--actual", metavar="COLUMN", help="The column of what is, in tables of predictions.")
@click.option("--predicted", metavar="COLUMN", help="The column of what was predicted.")
@click.option("--classification", "kind", flag_value="classification", help="Predictions are classes.")
@click.option("--regression", "kind", flag_value="regression", help="Predictions are numbers.")
@click.option(
    "--seeds", metavar="KEY", multiple=True, help="A key of metrics below which there is a value per seed."
)
@click.option(
    "--fail-if-worse",
    "level",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="ALPHA",
    help="End with status 1 if a model got worse and its corrected p-value is below ALPHA.",
)
@forms("markdown")
@click.pass_obj
def compare(
    directory: str,
    revision: str,
    revision2: str | None,
    every: bool,
    actual: str | None,
    predicted: str | None,
    kind: str | None,
    seeds: tuple[str, ...],
    form: str | None,
    level: float | None,
) -> None:
    """What moved since REVISION (up to REVISION2, or the workspace), and is it more than chance?

    A revision is whatever Git knows (a commit, a tag, a branch), an experiment
    by its name or its ref, or the word workspace. REVISION is HEAD if not given.

    Shows the parameters and metrics that moved. Every output that is a table
    (CSV, TSV, JSON records) with a column of what is and one of what was
    predicted, one row an example, is compared example by example. Classes: the
    exact two-sided McNemar test and Newcombe's 95 % interval of the difference
    in accuracy. Numbers: mean absolute and mean squared error, by a paired
    bootstrap. Metrics with a value for each of several seeds are compared as
    samples, paired where the seeds are the same. Holm's correction goes over
    all of it. Tables about different test sets are not tested.
    """
    from dvc_checks import compare as check
    from dvc_checks import comparison

    columns = check.Columns(actual, predicted, kind, seeds)
    if every and (revision2 or form == "markdown"):
        raise click.UsageError("--all-experiments takes one REVISION, and is not shown as --markdown")
    if every:
        report = comparison.ranking(check.experiments(directory, revision, columns), level)
    else:
        found = check.compare(directory, revision, revision2, columns)
        report = comparison.report(found, level, check.base_url(directory))
    report.root = Path(directory)
    if form == "markdown":
        for line in report.markdown or ():
            say(line)
    else:
        report.show(form)
    for finding in report.findings:
        click.echo(f"compare: {finding.where} {finding.what}", err=True)
    sys.exit(report.status)


@main.command(
    short_help="Two branches changed dvc.lock: what is true of both?",
    epilog="""
\b
Exit status: 0 merged, 1 it has to wait for something else that is in conflict, 2 bad input.
""",
)
@click.argument("files", metavar="[BASE OURS THEIRS]", nargs=-1, type=click.Path(exists=True, dir_okay=False))
@click.option("--install", is_flag=True, help="Make Git merge every dvc.lock of this project so.")
@click.option("--lock", "path", default="dvc.lock", help="The dvc.lock that the three files are versions of.")
@click.option("--driver", metavar="PATH", help="How Git calls it for the dvc.lock at PATH.")
@forms()
@click.pass_obj
def merge(
    directory: str, files: tuple[str, ...], install: bool, path: str, driver: str | None, form: str | None
) -> None:
    """Merge dvc.lock by what is true of the merged project, not line by line.

    Without arguments, settles each dvc.lock that `git merge` (or rebase,
    cherry-pick, stash) has left in conflict, and the outputs kept by Git that
    are; with --install, Git calls it by itself from then on, and there is no
    conflict. With three files, OURS becomes the merge, for the project as it
    stands.

    An entry that only one side changed is taken; of two, the one that is true.
    An entry is true if the command, parameters, code and data in it are those of
    the merged project. A stage of which no entry is true is dropped, and so are
    those that read its outputs: `dvc repro` then runs exactly these.
    """
    from dvc_checks import merge as check

    if install:
        done = [*check.install(directory)]
        Report("merge", "; ".join(done), data={"installed": done}).show(form)
        return
    if len(files) not in (0, 3) or (driver and not files):
        raise click.UsageError("give three files, BASE OURS THEIRS, or none")
    outputs: list[str] = []
    if driver:
        merged = [check.drive(driver, *files)]
    elif files:
        base, ours, theirs = files
        merged = [check.files(directory, base, ours, theirs, path)]
    else:
        merged, outputs = check.settle(directory)
    lines = [line for result in merged for line in check.shown(result)] or [
        "merge: no dvc.lock is in conflict"
    ]
    lines += [f"  settled with their stages: {', '.join(outputs)}"] if outputs else []
    report = Report("merge", lines[0].removeprefix("merge: "), text=lines[1:])
    report.data = {
        "merged": [{"file": m.file, "taken": m.taken, "dropped": m.dropped} for m in merged],
        "outputs": outputs,
    }
    report.notes = [Finding(name, f"dropped: {why}") for m in merged for name, why in m.dropped.items()]
    report.root = Path(directory)
    report.show(form)


@main.command(
    short_help="Put right what a killed dvc has left half-written.",
    epilog="""
\b
Exit status: 0 something was put right, 1 there was nothing to mend, 2 it could not be mended.
""",
)
@forms()
@click.pass_obj
def mend(directory: str, form: str | None) -> None:
    """Put right what a killed `dvc` has left half-written, so that the next one can start.

    DVC writes dvc.lock and its table of file locks in place. Where a kill has
    left half of dvc.lock, the one of the last commit comes back, so that the
    next `dvc repro` judges anew what was run since; half a table goes. A table
    that another `dvc` is writing at this moment stays, and so does a dvc.lock
    with conflicts of a merge.
    """
    from dvc_checks.mend import mend

    mended = mend(directory)
    summary = "; ".join(mended) or "nothing here that a killed dvc leaves"
    report = Report("mend", summary, data={"mended": mended}, ends=0 if mended else 1, root=Path(directory))
    if form or not mended:
        report.show(form)
    for line in mended:
        click.echo(f"mend: {line}", err=True)
    sys.exit(report.status)


@main.command(short_help="Run deps, effects and lock; one verdict.", name="all", epilog=STATUS)
@click.option(
    "--reproduce", "reproducing", is_flag=True, help="Reproduce HEAD as well (runs the whole pipeline)."
)
@forms()
@click.pass_obj
def every(directory: str, reproducing: bool, form: str | None) -> None:
    """Run deps, effects (without a run) and lock, and give one verdict."""
    reports = []
    for check in (_deps, _effects, _lock, *([_reproduce] if reproducing else [])):
        reports.append(check(directory))
        if form != "json":
            reports[-1].show(form)
    whole = together(reports)
    if form == "json":
        whole.show(form)
    else:
        say(f"dvc-checks: {whole.summary}")
    sys.exit(whole.status)


if __name__ == "__main__":
    main(prog_name="dvc-checks")
