"""Does the remote have every output that dvc.lock speaks of? Absent is only what certainly is not there.

A server that refuses, wants a password or is overloaded says nothing about what
it holds: that is unknown, with the reason, and never a finding.
"""

import errno
import re
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, TypeVar

from dvc_checks import internals
from dvc_checks.output import count
from dvc_checks.pipeline import Pipeline
from dvc_checks.report import Finding, Location
from dvc_checks.stages import Hash, Output, Source, Stage

SECONDS = 20.0  # for all remotes together
THREADS = 16
MANY = 500  # files from which on it is faster to go through a remote's lists first
GIVE_UP = 16  # failures without a single answer, after which no more is asked

Item = TypeVar("Item", str, Hash)
_Wanted = tuple[Stage | Source, Output, Hash]


@dataclass
class Answer:
    """What was established about the remotes."""

    outputs: int = 0  # asked for
    absent: list[Finding] = field(default_factory=list)
    unknown: int = 0  # outputs of which it could not be told whether all is there
    reason: str = ""  # why

    def __str__(self) -> str:
        if not self.unknown:
            return f"the remote was asked for {count(self.outputs, 'output')}" if self.outputs else ""
        some = (
            "" if self.unknown == self.outputs else f" for {self.unknown} of {count(self.outputs, 'output')}"
        )
        return f"what the remote holds is unknown{some}: {self.reason}"


def ask(pipeline: Pipeline, stages: list[Stage]) -> Answer:
    """Ask the remotes for every output of these stages, and of the `.dvc` files; nothing is downloaded but
    the lists of files of folders."""
    answer = Answer()
    if not internals.has_remote(pipeline.dvc):
        return answer
    wanted: dict[tuple[str | None, str], list[_Wanted]] = {}
    for maker in (*stages, *pipeline.sources):
        for out in maker.outs:
            if out.pushed and out.hash:
                wanted.setdefault((out.remote, out.hash.name), []).append((maker, out, out.hash))
    until = time.monotonic() + SECONDS
    reasons: Counter[str] = Counter()
    for (remote, hash_name), outs in wanted.items():
        answer.outputs += len(outs)
        _ask_one(pipeline, remote, hash_name, outs, until, answer, reasons)
    if reasons:
        answer.reason = reasons.most_common(1)[0][0]
    return answer


def _ask_one(
    pipeline: Pipeline,
    name: str | None,
    hash_name: str,
    outs: list[_Wanted],
    until: float,
    answer: Answer,
    reasons: Counter[str],
) -> None:
    def unknown(outs: int, error: BaseException) -> None:
        answer.unknown += outs
        reasons[_in_words(error)] += outs

    opened = _each(lambda _: _open(pipeline, name, hash_name), [hash_name], until)[hash_name]
    if isinstance(opened, BaseException):
        unknown(len(outs), opened)
        return
    there = _each(lambda value: internals.is_stored(opened, value), {of.value for _, _, of in outs}, until)
    folders = {of for _, _, of in outs if of.is_folder and there[of.value] is True}
    lists = _each(lambda of: set(internals.folder_list(opened, of).values()), folders, until)
    files = {value for found in lists.values() if isinstance(found, set) for value in found}
    known: Any = set()
    if len(files) > MANY:
        known = _each(lambda _: internals.listed(opened, [*files]), [hash_name], until)[hash_name]
    if isinstance(known, set):
        files -= known
    there |= _each(lambda value: internals.is_stored(opened, value), files, until)

    for maker, out, of in outs:
        parts = lists.get(of, set())
        if there[of.value] is False:
            gone = of.value[:8]
        elif isinstance(parts, set) and (missing := sum(there.get(value) is False for value in parts)):
            gone = f"{missing} of its {count(len(parts), 'file')}"
        else:
            failed = [there[of.value], parts, *(there.get(value) for value in _set(parts))]
            if errors := [error for error in failed if isinstance(error, BaseException)]:
                unknown(1, errors[0])
            continue
        reason = f"output {out.path} is not in the remote ({gone}): run `dvc push`"
        answer.absent.append(_finding(maker, out, reason))


def _finding(maker: Stage | Source, out: Output, reason: str) -> Finding:
    if isinstance(maker, Source):
        return Finding(maker.file, reason, Location(maker.file))
    keys = "stages", maker.entry, f"{out.kind}s", out.written
    return Finding(maker.name, reason, Location(maker.file, keys))


def _set(found: Any) -> set[str]:
    return found if isinstance(found, set) else set()


def _open(pipeline: Pipeline, name: str | None, hash_name: str) -> internals.Store:
    store = internals.remote(pipeline.dvc, name, hash_name)
    folder = internals.folder_of(store)
    if folder is not None and not store.fs.isdir(folder):
        raise OSError(f"there is no folder {folder}")
    return store


def _each(question: Callable[[Item], Any], items: Iterable[Item], until: float) -> dict[Item, Any]:
    """What the question gives for each item, asked by several threads at once. An error is an answer as well.

    The threads are not waited for beyond `until`, nor when the program ends: what hangs in a library of some
    cloud hangs there.
    """
    everything = list(items)
    waiting = deque(everything)
    answers: dict[Item, Any] = {}
    failed: list[BaseException] = []

    def work() -> None:
        while True:
            try:
                item = waiting.popleft()
            except IndexError:
                return
            try:
                answers[item] = question(item)
            except Exception as error:  # whatever a cloud's library raises
                answers[item] = error
                failed.append(error)
                if len(failed) == len(answers) >= GIVE_UP:
                    waiting.clear()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(THREADS, len(everything)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    waiting.clear()
    late = TimeoutError(f"no answer within {SECONDS:g} s")
    given = failed[0] if len(failed) == len(answers) >= GIVE_UP else late
    return {item: answers.get(item, given) for item in everything}


def _in_words(error: BaseException) -> str:
    """Why a remote could not be asked, in a few words, without the password an address may hold."""
    chain = [error]
    while (below := chain[-1].__cause__ or chain[-1].__context__) and below not in chain:
        chain.append(below)
    for one in chain:
        status = getattr(one, "status", None)
        if isinstance(status, int) and 300 <= status < 600:
            name = HTTPStatus(status).phrase if status in {*HTTPStatus} else ""
            return f"it answers {status} {name}".rstrip()
        if getattr(one, "errno", None) == errno.ECONNREFUSED:
            return "it refuses the connection"
    text = " ".join(str(error).split()) or type(error).__name__
    text = re.sub(r"(?<=://)[^/@\s]*@", "", text)
    return text if len(text) <= 200 else text[:199] + "…"
