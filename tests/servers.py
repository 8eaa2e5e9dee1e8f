"""Small data in four files, and servers on this machine that give them, or do something else instead."""

import contextlib
import gzip
import hashlib
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from mnistcore.data import idx
from mnistcore.data.datasets import Dataset, File
from mnistcore.data.description import DatasetDescription

NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
SHAPES = ((40, 5, 5), (40,), (20, 5, 5), (20,))
random = np.random.default_rng(0)
PLAIN = {
    name: idx.encode(random.integers(0, 10, shape).astype("uint8"))
    for name, shape in zip(NAMES, SHAPES, strict=True)
}
GZIPPED = {name: gzip.compress(data, mtime=0) for name, data in PLAIN.items()}


def dataset(mirrors=(), npm=None, gzipped=False) -> Dataset:
    """A row of the table for the small data above."""
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in (GZIPPED if gzipped else PLAIN).items()}
    files = tuple(File(name, shape, sums[name], gzipped) for name, shape in zip(NAMES, SHAPES, strict=True))
    return Dataset(DatasetDescription("small", "Small", tuple("0123456789")), files, tuple(mirrors), npm)


def is_complete(folder: Path) -> bool:
    """The four files are there, right, and nothing else is."""
    return {path.name: path.read_bytes() for path in folder.iterdir()} == PLAIN


class Handler(BaseHTTPRequestHandler):
    """Answers as the server's `answer` says; an answer is a function of this handler."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        name = self.path.rsplit("/", 1)[-1]
        self.server.asked.append(name)
        with contextlib.suppress(OSError):  # the client has gone, as it should
            self.server.answer(self, name)
        self.close_connection = True

    def log_message(self, *arguments):
        pass

    def head(self, status=200, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.send_header("Connection", "close")
        self.end_headers()

    def whole(self, data: bytes):
        self.head(Content_Length=len(data))
        self.wfile.write(data)


def right(handler, name):
    data = {f"{name}.gz": content for name, content in GZIPPED.items()}.get(name)
    handler.whole(data) if data else handler.send_error(404)


class Servers:
    """Servers on this machine, all ended by `end`."""

    def __init__(self):
        self._servers = []

    def start(self, answer, certificate=None):
        """Start a server with the given answer; gives it, with its `url` and the names `asked` for."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        server.answer, server.asked, server.over = answer, [], threading.Event()
        scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            scheme = "https"
        server.url = f"{scheme}://127.0.0.1:{server.server_port}/data/"
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        self._servers.append(server)
        return server

    def end(self):
        for server in self._servers:
            server.over.set()
            server.shutdown()
            server.server_close()
