"""`dvc-checks lock` and real remotes on this machine: only what certainly is not there is a finding."""

import asyncio
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from small_dvc import Project, isolate

from dvc_checks import remote

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

FILES = {
    "make.py": "import pathlib\nout = pathlib.Path('data')\nout.mkdir()\n"
    "[(out / f'{n}').write_text(f'{n}') for n in range(5)]\npathlib.Path('model').write_text('model')\n",
    "dvc.yaml": "stages:\n  make:\n    cmd: python make.py\n    deps: [make.py]\n    outs: [data, model]\n",
}
TRUE = "lock: dvc.lock is true for 1 stage; "
ALL_THERE = TRUE + "the remote was asked for 2 outputs\n"
MODEL = hashlib.md5(b"model", usedforsecurity=False).hexdigest()
PART = hashlib.md5(b"3", usedforsecurity=False).hexdigest()  # data/3


def of(value: str) -> str:
    """Where a remote keeps the file of this hash."""
    return f"files/md5/{value[:2]}/{value[2:]}"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("remotes")
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, folder / "home")
        project = Project(folder / "project").write(FILES)
        project.repro()
        project.commit()
        shutil.copytree(project.root / ".dvc/cache/files", folder / "store/files")
    return project


@pytest.fixture
def store(made: Project, tmp_path: Path) -> Path:
    """All that a remote should hold, in a folder."""
    shutil.copytree(made.root.parent / "store", tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture
def ask(made: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """Ask `lock` of a clone with the remote given; returns the exit status and what it says."""
    isolate(monkeypatch, tmp_path / "home")
    made.git("clone", "--quiet", ".", str(tmp_path / "clone"))
    project = Project(tmp_path / "clone")

    def ask(url: str, **settings: str) -> tuple[int, str]:
        lines = [f"{key} = {value}" for key, value in {"url": url, **settings}.items()]
        project.write({".dvc/config": "[core]\nremote = r\n['remote \"r\"']\n" + "\n".join(lines) + "\n"})
        found = project.check("lock")
        assert not found.stderr.strip()
        return found.exit_code, found.stdout

    return ask


def absent(*lines: str) -> tuple[int, str]:
    first = "lock: dvc.lock is not true for make; the remote was asked for 2 outputs\n"
    return 1, first + "".join(f"  make: output {line}: run `dvc push`\n" for line in lines)


def take_away(delete: Callable[[str], Any], ask: Callable[[], tuple[int, str]]) -> None:
    """All is there; a part of a folder is not; and then a file is not, either."""
    assert ask() == (0, ALL_THERE)
    delete(of(PART))
    part = "data is not in the remote (1 of its 5 files)"
    assert ask() == absent(part)
    delete(of(MODEL))
    assert ask() == absent(part, f"model is not in the remote ({MODEL[:8]})")


def test_a_folder(ask: Any, store: Path) -> None:
    take_away(lambda name: (store / name).unlink(), lambda: ask(str(store)))


def test_a_folder_that_is_not_there_or_not_to_be_read(ask: Any, store: Path, tmp_path: Path) -> None:
    nowhere = tmp_path / "not mounted"
    assert ask(str(nowhere)) == (0, f"{TRUE}what the remote holds is unknown: there is no folder {nowhere}\n")
    if os.geteuid() == 0:
        return  # nothing is forbidden to root
    (store / "files").chmod(0)
    try:
        status, said = ask(str(store))
    finally:
        (store / "files").chmod(0o755)
    assert status == 0 and "what the remote holds is unknown: [Errno 13] Permission denied" in said


class Handler(BaseHTTPRequestHandler):
    """Serves a folder; `server.instead` may answer in its place, and then returns true."""

    protocol_version = "HTTP/1.1"
    server: Any

    def do_GET(self) -> None:
        self.close_connection = True
        if self.server.instead(self):
            return
        file = self.server.folder / self.path.lstrip("/")
        self.answer(200, file.read_bytes()) if file.is_file() else self.answer(404)

    do_HEAD = do_GET

    def answer(self, status: int, body: bytes = b"", promised: int = 0) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(promised or len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(store: Path) -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.folder, server.instead, server.over = store, lambda _: False, threading.Event()
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()


def test_http(ask: Any, store: Path, server: Any) -> None:
    take_away(lambda name: (store / name).unlink(), lambda: ask(server.url))


def test_http_that_says_gone_means_it(ask: Any, server: Any) -> None:
    server.instead = lambda handler: handler.path.endswith(of(MODEL)) and not handler.answer(410)
    assert ask(server.url) == absent(f"model is not in the remote ({MODEL[:8]})")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "401 Unauthorized"),
        (403, "403 Forbidden"),
        (429, "429 Too Many Requests"),
        (500, "500 Internal Server Error"),
        (503, "503 Service Unavailable"),
    ],
)
def test_http_that_does_not_let_in_leaves_it_unknown(ask: Any, server: Any, status: int, words: str) -> None:
    server.instead = lambda handler: not handler.answer(status)
    assert ask(server.url) == (0, f"{TRUE}what the remote holds is unknown: it answers {words}\n")


def test_http_that_refuses_the_connection(ask: Any, server: Any) -> None:
    server.shutdown()
    server.server_close()
    assert ask(server.url) == (0, f"{TRUE}what the remote holds is unknown: it refuses the connection\n")


def test_http_that_answers_for_some_only(ask: Any, server: Any, store: Path) -> None:
    """What is certainly not there stays a finding, beside what is unknown."""
    (store / of(MODEL)).unlink()
    server.instead = lambda handler: handler.path.endswith(of(PART)) and not handler.answer(503)
    status, said = ask(server.url)
    assert status == 1
    assert (
        "; what the remote holds is unknown for 1 of 2 outputs: it answers 503 Service Unavailable\n" in said
    )
    assert said.count("\n") == 2 and f"output model is not in the remote ({MODEL[:8]})" in said


def test_http_that_stalls(ask: Any, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "SECONDS", 1.0)
    server.instead = lambda handler: handler.path.endswith(of(PART)) and server.over.wait(60)
    started = time.monotonic()
    status, said = ask(server.url)
    assert time.monotonic() - started < 10
    assert (status, said.partition("; ")[2]) == (
        0,
        "what the remote holds is unknown for 1 of 2 outputs: no answer within 1 s\n",
    )


@pytest.mark.parametrize("kind", ["before the answer", "in the list of a folder"])
def test_http_that_is_cut_off(ask: Any, server: Any, kind: str) -> None:
    def cut(handler: Handler) -> bool:
        if kind == "before the answer":
            return True  # and the connection closes
        if not handler.path.endswith(".dir") or handler.command == "HEAD":
            return False
        body = (server.folder / handler.path.lstrip("/")).read_bytes()
        handler.answer(200, body[:40], promised=len(body))
        return True

    server.instead = cut
    status, said = ask(server.url)
    some = "" if kind == "before the answer" else " for 1 of 2 outputs"
    assert status == 0 and said.count("\n") == 1
    assert f"; what the remote holds is unknown{some}: " in said


def test_a_password_in_the_address_is_not_shown(ask: Any, server: Any) -> None:
    server.shutdown()
    server.server_close()
    status, said = ask(server.url.replace("//", "//user:secret@"))
    assert status == 0 and "unknown" in said and "secret" not in said


def have(*names: str) -> None:
    """Skip where a library is not installed, but not where CI says that it has to be."""
    for name in names:
        if os.environ.get("REQUIRE_REMOTES"):
            __import__(name)
        pytest.importorskip(name)


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    have("dvc_s3", "moto.server")
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "someone")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        client: Any = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
        client.create_bucket(Bucket="bucket")
        yield client
    server.stop()


def test_s3(ask: Any, store: Path, s3: Any) -> None:
    for file in store.rglob("*"):
        if file.is_file():
            s3.upload_file(str(file), "bucket", f"somewhere/{file.relative_to(store).as_posix()}")
    url = s3.meta.endpoint_url
    take_away(
        lambda name: s3.delete_object(Bucket="bucket", Key=f"somewhere/{name}"),
        lambda: ask("s3://bucket/somewhere", endpointurl=url),
    )
    status, said = ask("s3://no-such-bucket/somewhere", endpointurl=url)
    assert status == 0 and "; what the remote holds is unknown: " in said and "bucket" in said


@pytest.mark.parametrize("status", [403, 503])
def test_s3_that_does_not_let_in_leaves_it_unknown(
    ask: Any, s3: Any, server: Any, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(remote, "SECONDS", 4.0)  # the library tries again and again
    server.instead = lambda handler: not handler.answer(status)
    code, said = ask("s3://bucket/somewhere", endpointurl=server.url)
    assert code == 0 and "; what the remote holds is unknown: " in said and said.count("\n") == 1


@pytest.fixture(scope="module")
def ssh() -> Iterator[Any]:
    """An SFTP server that lets a user in by password."""
    have("dvc_ssh")
    import asyncssh

    class Server(asyncssh.SSHServer):
        def begin_auth(self, username: str) -> bool:
            return True

        def password_auth_supported(self) -> bool:
            return True

        def validate_password(self, username: str, password: str) -> bool:
            return password == "secret"

    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()

    async def listen() -> Any:
        key = asyncssh.generate_private_key("ssh-ed25519")
        return await asyncssh.create_server(
            Server, "127.0.0.1", 0, server_host_keys=[key], sftp_factory=asyncssh.SFTPServer
        )

    listener = asyncio.run_coroutine_threadsafe(listen(), loop).result(10)
    yield listener.get_port()
    asyncio.run_coroutine_threadsafe(asyncio.sleep(0, listener.close()), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)


def test_ssh(ask: Any, store: Path, ssh: int) -> None:
    url = f"ssh://someone@127.0.0.1:{ssh}{store}"
    take_away(lambda name: (store / name).unlink(), lambda: ask(url, password="secret"))


def test_ssh_that_does_not_let_in_leaves_it_unknown(ask: Any, store: Path, ssh: int) -> None:
    status, said = ask(f"ssh://someone@127.0.0.1:{ssh}{store}", password="wrong")
    assert status == 0 and "; what the remote holds is unknown: " in said and said.count("\n") == 1
    status, said = ask(f"ssh://someone@127.0.0.1:1{store}", password="secret")
    assert (status, said) == (0, f"{TRUE}what the remote holds is unknown: it refuses the connection\n")
