"""Getting the files of a data set, from one source after the other.

Every source is asked in turn for the files still missing, and every byte is
verified, so it does not matter which source it came from. A file appears under
its final name only when it is whole and right; whatever goes wrong, the next run
starts cleanly and keeps the files that are already right.
"""

import hashlib
import itertools
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from mnistcore.arguments import check
from mnistcore.data import gzipped
from mnistcore.data.datasets import Dataset, File
from mnistcore.data.sources import SCRATCH, SPARE, Patience, Source, SourceError, sources_of
from mnistcore.errors import InputError
from mnistcore.files import replacing


def fetch(
    dataset: Dataset,
    folder: str | os.PathLike[str],
    named: Sequence[str] = (),
    patience: Patience = Patience(),
    progress: Callable[[int], None] = lambda size: None,
    say: Callable[[str], None] = lambda line: None,
) -> list[str]:
    """Put the files of `dataset` into `folder`, decompressed and verified.

    Parameters
    ----------
    named : folders or base URLs to ask before the public sources
    progress : told how many more bytes are in place (less than 0: an attempt failed and starts again)
    say : told of each source that failed, as it happens

    Returns
    -------
    the names of the sources that gave a file, in order; empty if all files were there already

    Raises
    ------
    InputError : a file could not be had; lists each source asked, and why it failed
    """
    check(Dataset, dataset, "fetch", "dataset")
    named = check(tuple[str, ...], named, "fetch", "named")
    folder = Path(folder)
    for left_behind in folder.glob(f"{SCRATCH}*"):  # by a run that was killed
        shutil.rmtree(left_behind, ignore_errors=True)
    missing = []
    for file in dataset.files:
        if _is_right(folder / file.name, file):
            progress(file.size)
        else:
            missing.append(file)
    gave, failures = [], []
    with ExitStack() as cleanup:
        for source in sources_of(dataset, named, folder, patience, cleanup) if missing else ():
            for file in list(missing):
                try:
                    _get(source, file, folder, patience, progress)
                except SourceError as failure:
                    failures.append(f"{source.name}: {failure}")
                    say(f"{source.name}: {failure}")
                    if failure.hopeless:
                        break
                else:
                    missing.remove(file)
                    if source.name not in gave:
                        gave.append(source.name)
            if not missing:
                break
    if not missing:
        return gave
    names = ", ".join(file.name for file in missing)
    tried = "; ".join(f"({number}) {failure}" for number, failure in enumerate(failures, 1))
    raise InputError(f"{names} of {dataset.description.title} could not be had. Tried: {tried}")


def _get(
    source: Source, file: File, folder: Path, patience: Patience, progress: Callable[[int], None]
) -> None:
    """Write one file from one source, asking again after a failure that may pass."""
    for attempt in range(1, source.attempts + 1):
        written = 0
        try:
            with replacing(folder / file.name) as out:
                for data in _verified(file, source.pieces(file)):
                    out.write(data)
                    written += len(data)
                    progress(len(data))
            return
        except SourceError as failure:
            progress(-written)
            if not failure.passing:
                raise
            if attempt == source.attempts:
                failure.hopeless = attempt > 1  # it did not pass
                raise
            time.sleep(patience.pause * 2 ** (attempt - 1))


def _is_right(path: Path, file: File) -> bool:
    """Whether `path` is already what it should be; never so if only the gzipped file has a checksum."""
    if file.gzipped or not path.is_file() or path.stat().st_size != file.size:
        return False
    with open(path, "rb") as existing:
        return hashlib.file_digest(existing, "sha256").hexdigest() == file.sha256


def _verified(file: File, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Decompress `pieces` if need be; raise a SourceError, at the latest at the end, if not `file`."""
    start = b""
    while len(start) < len(gzipped.MAGIC) and (piece := next(pieces, b"")):
        start += piece
    is_gzipped = start.startswith(gzipped.MAGIC)
    if start.lstrip().startswith(b"<"):
        raise SourceError(f"{file.name}: a web page instead of data")
    if file.gzipped and not is_gzipped:
        raise SourceError(f"{file.name}: not gzipped, and its only published checksum is of the gzipped file")
    digest = hashlib.sha256()
    data = _at_most(file.size + SPARE, itertools.chain([start], pieces), file)
    if file.gzipped:
        data = _hashed(digest, data)
    if is_gzipped:
        data = gzipped.decompress(data, file.size, file.name)
    if not file.gzipped:
        data = _hashed(digest, data)
    size = 0
    try:
        for piece in _at_most(file.size, data, file):
            size += len(piece)
            yield piece
    except gzipped.GzipError as error:
        raise SourceError(str(error), passing=isinstance(error, gzipped.Truncated)) from None
    if size < file.size:
        raise SourceError(f"{file.name}: {size:,} bytes instead of {file.size:,}", passing=True)
    if digest.hexdigest() != file.sha256:
        raise SourceError(
            f"{file.name}: other bytes than were published (SHA-256 {digest.hexdigest()[:12]}…)"
        )


def _at_most(limit: int, pieces: Iterable[bytes], file: File) -> Iterator[bytes]:
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > limit:
            raise SourceError(f"{file.name}: more than the {file.size:,} bytes it should have")
        yield piece


def _hashed(digest: "hashlib._Hash", pieces: Iterable[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        digest.update(piece)
        yield piece
