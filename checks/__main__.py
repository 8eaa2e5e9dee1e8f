"""The command line: `python -m checks deps | effects | lock | reproduce | compare | all`."""

import sys

import click

from checks import output
from checks.output import count, say

STATUS = """
\b
Exit status: 0 all is well, 1 something was found, 2 bad input or usage.
"""


@click.group(epilog="Run `python -m checks COMMAND --help` for what a command checks and how it ends.")
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


@main.command(epilog=STATUS)
@click.option("--stage", "stages", multiple=True, help="Only this stage; may be repeated.")
@click.option(
    "--fix", is_flag=True, help="Rewrite the code dependencies in dvc.yaml; comments and order stay."
)
@click.pass_obj
def deps(directory: str, stages: tuple[str, ...], fix: bool) -> None:
    """Does every stage list exactly the project files that its script imports?

    Follows the imports from the scripts named in `cmd`, without running them,
    and compares with `deps`. A folder in `deps` covers the files in it. Data
    dependencies are left alone. What only a run can tell (an import by a
    computed name, a shell script) is named and not guessed.

    Missing and needless files are findings; with --fix, only those that could
    not be written into dvc.yaml.
    """
    sys.exit(_deps(directory, stages, fix))


def _deps(directory: str, names: tuple[str, ...], fix: bool = False) -> int:
    from checks import deps, pipeline

    project = pipeline.load(directory)
    stages = project.select(names)
    verdicts = deps.judge(project, stages)
    wrong = [verdict for verdict in verdicts if not verdict.right]
    if fix and wrong:
        return _fix(directory, names, project, verdicts)
    notes = sum(len(verdict.notes) for verdict in verdicts)
    tail = f"; {count(notes, 'thing')} only a run can tell" if notes else ""
    if wrong:
        missing = sum(len(verdict.missing) for verdict in wrong)
        needless = sum(len(verdict.needless) for verdict in wrong)
        say(
            f"deps: {len(wrong)} of {count(len(stages), 'stage')} list the wrong code: "
            f"{missing} missing, {needless} needless (--fix rewrites them){tail}"
        )
    else:
        say(
            f"deps: {count(len(stages), 'stage lists', 'stages list')} exactly the project files they import{tail}"
        )
    for verdict in verdicts:
        for line in deps.shown(verdict):
            say(line)
    return 1 if wrong else 0


def _fix(directory: str, names: tuple[str, ...], project: "object", verdicts: "list") -> int:
    from checks import deps, edit, pipeline

    added = removed = 0
    by_hand: list[str] = []
    files = dict.fromkeys(verdict.stage.file for verdict in verdicts)
    for file in files:
        edited = edit.fix(project.root / file, [v for v in verdicts if v.stage.file == file])
        added, removed = added + edited.added, removed + edited.removed
        by_hand += [f"{file}: {line}" for line in edited.by_hand]
    again = pipeline.load(directory)
    left = [verdict for verdict in deps.judge(again, again.select(names)) if not verdict.right]
    say(
        f"deps: {added} added, {removed} removed in {' '.join(files)}"
        + (f"; {len(left)} left" if left else "")
    )
    for line in by_hand:
        say(f"  by hand   {line}")
    for verdict in left:
        for line in deps.shown(verdict):
            say(line)
    if added or removed:
        say(
            "dvc.lock does not know of this yet: run `dvc repro`, or `dvc commit` if the outputs are still right"
        )
    return 1 if left else 0


@main.command(epilog=STATUS)
@click.argument("revision", required=False)
@click.option("--stage", "stages", multiple=True, help="Only this stage; may be repeated.")
@click.pass_obj
def lock(directory: str, revision: str | None, stages: tuple[str, ...]) -> None:
    """Is dvc.lock complete and true for this commit, with no data at hand?

    Checks dvc.lock against the commands, parameters, dependencies and outputs
    of dvc.yaml, against the files that Git keeps, and against itself: what one
    stage read has to be, hash for hash, what another wrote. If the project has
    a remote, asks it for every output; a remote that does not answer is
    reported, and is not a finding.

    Judges the files as they are; with REVISION, and in a bare repository,
    those of a commit. Every way in which dvc.lock is not true is a finding.
    """
    sys.exit(_lock(directory, revision, stages))


def _lock(directory: str, revision: str | None, names: tuple[str, ...]) -> int:
    from checks import lock, pipeline, snapshot

    if revision is None and snapshot.is_bare(directory):
        revision = "HEAD"
    if revision is not None:
        with snapshot.clone(directory, revision) as copy:
            return _lock(str(copy.root), None, names)
    project = pipeline.load(directory)
    stages = project.select(names)
    verdict = lock.judge(project, stages)
    lock.in_remote(project, stages, verdict)
    tail = f"; {verdict.remote}" if verdict.remote else ""
    if verdict.findings:
        stale = dict.fromkeys(stage for stage, _ in verdict.findings)
        say(f"lock: dvc.lock is not true for {count(len(stale), 'stage')}: {', '.join(stale)}{tail}")
    else:
        say(f"lock: dvc.lock is true for {count(len(stages), 'stage')}{tail}")
    for stage, reason in verdict.findings:
        say(f"  {stage}: {reason}")
    for note in verdict.notes:
        say(f"  note: {note}")
    return 1 if verdict.findings else 0


@main.command(epilog=STATUS)
@click.option("--stage", "stages", multiple=True, help="Only this stage; may be repeated.")
@click.option("--run", is_flag=True, help="Run the stages, in a scratch clone, and compare what they read.")
@click.option(
    "--leaves", is_flag=True, help="A row for every leaf, also where a whole section does the same."
)
@click.option("--json", "form", flag_value="json", help="Every leaf, for machines.")
@click.option("--markdown", "form", flag_value="markdown", help="The table for GitHub.")
@click.pass_obj
def effects(directory: str, stages: tuple[str, ...], run: bool, leaves: bool, form: str | None) -> None:
    """Which stages does each leaf of each params file rerun, and is that declared truly?

    Findings without a run: a key that reruns no stage, and a declared key that
    does not exist.

    With --run, the stages run for real in a scratch clone of the workspace,
    under an audit hook: a stage that reads a key or opens a file of the project
    that it does not declare is a finding, and so is a declared one that it
    never uses. Where keys cannot be seen (a params file read whole), the stage
    runs once more with only its declared keys in the file and has to write the
    same outputs. Not seen: files outside the project, Python started with -I,
    and undeclared files that only other programs read.
    """
    sys.exit(_effects(directory, stages, run, leaves, form))


def _effects(
    directory: str, names: tuple[str, ...], run: bool = False, leaves: bool = False, form: str | None = "none"
) -> int:
    from checks import effects, pipeline

    project = pipeline.load(directory)
    stages = project.select(names)
    found = effects.table(project, stages)
    findings = effects.declared_wrongly(project, stages, found)
    notes: list[tuple[str, str]] = []
    ran = 0
    if run:
        from checks import observe

        for observation in observe.observe(project, stages):
            ran += not observation.failed
            findings += [(observation.stage.name, text) for text in observation.findings]
            notes += [(observation.stage.name, text) for text in observation.notes]
    if form == "json":
        say(
            output.as_json(
                {
                    "findings": [{"where": where, "what": what} for where, what in findings],
                    "notes": [{"where": where, "what": what} for where, what in notes],
                    "effects": [vars(effect) for effect in found],
                }
            )
        )
        return 1 if findings else 0
    first = f"effects: {count(len(found), 'parameter')}, {count(len(stages), 'stage')}"
    if run:
        first += f", {ran} of them run and watched"
    say(f"{first}: " + (count(len(findings), "finding") if findings else "what is declared is what is used"))
    for where, text in findings:
        say(f"  {where}: {text}")
    for where, text in notes:
        say(f"  note: {where}: {text}")
    if form == "none":
        return 1 if findings else 0
    rows = [(e.file, e.key, e) for e in found] if leaves or form == "markdown" else effects.collapsed(found)
    cells = [
        [
            file,
            key,
            ", ".join((*effect.direct, *(f"which {group}" for group in effect.shapes))),
            ", ".join(effect.after),
        ]
        for file, key, effect in rows
    ]
    header = ["file", "parameter", "reruns", "and then"]
    if form == "markdown":
        cells = [[file, f"`{key}`", direct or "**nothing**", after] for file, key, direct, after in cells]
    say()
    for line in (output.markdown_table if form == "markdown" else output.table)(header, cells):
        say(line)
    return 1 if findings else 0


if __name__ == "__main__":
    main(prog_name="python -m checks")
