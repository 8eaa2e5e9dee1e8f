"""The fetch stage: where it looks and in which order, and that nothing done to it leaves half a data set."""

import json
import os
import shutil
import signal
import subprocess
import time

import pytest
from servers import GZIPPED, NAMES, PLAIN, dataset, right

import stages.fetch
from mnistcore.data.description import read_dataset_description

RAW = {f"data/raw/{name}": data for name, data in PLAIN.items()}


@pytest.fixture
def small(monkeypatch):
    """Make `mnist` the small data set, which no public source has."""
    monkeypatch.setitem(stages.fetch.TABLE, "mnist", dataset())
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def is_complete(workplace) -> bool:
    files = workplace.files()
    description = json.loads(files.pop("data/raw/dataset.json"))
    del files["params.yaml"]
    return files == RAW and description == {"name": "small", "title": "Small", "classes": list("0123456789")}


def in_a_process(workplace, *mirrors: str, **options):
    """Start fetching the small data set in a process of its own."""
    return workplace.start(
        "import stages.fetch, servers\n"
        f"stages.fetch.TABLE['mnist'] = servers.dataset({list(mirrors)!r})\n"
        "stages.fetch.main([], prog_name='fetch')",
        **options,
    )


def test_digits_with_no_network(workplace, monkeypatch):
    monkeypatch.setenv("MNISTCORE_SOURCE", "https://no-such-host.invalid/")
    workplace.set("fetch", dataset="digits")
    line = workplace.done("fetch")
    assert "8×8 digits, 0.1 MB verified (from the installed scikit-learn)" in line
    assert read_dataset_description("data/raw/dataset.json").classes == tuple("0123456789")
    assert sorted(os.listdir("data/raw")) == sorted([*NAMES, "dataset.json"])
    assert "already there" in workplace.done("fetch")


def test_the_environment_comes_before_the_parameter_and_both_before_the_rest(
    workplace, small, monkeypatch, tmp_path
):
    for folder, names in {"first": NAMES[:1], "second": NAMES[:2], "third": NAMES}.items():
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).write_bytes(PLAIN[name])
    workplace.set("fetch", source=str(tmp_path / "second"))
    monkeypatch.setenv("MNISTCORE_SOURCE", str(tmp_path / "first"))
    monkeypatch.setattr(stages.fetch, "TABLE", {"mnist": dataset([(tmp_path / "third").as_uri()])})
    monkeypatch.setattr("mnistcore.data.sources._Server", lambda url, *_, **__: _folder(url))
    result = workplace.run("fetch")
    assert f"(from {tmp_path}/first and {tmp_path}/second and file://{tmp_path}/third)" in result.stdout
    assert is_complete(workplace)


def _folder(url):
    from mnistcore.data.sources import _Folder

    return _Folder(url)


def test_a_source_relative_to_the_current_folder_or_to_the_home_folder(
    workplace, small, monkeypatch, tmp_path
):
    for source in ("copy of data", "~/données"):
        monkeypatch.setenv("HOME", str(tmp_path))
        folder = workplace.folder / source if "~" not in source else tmp_path / "données"
        folder.mkdir()
        for name in NAMES:
            (folder / f"{name}.gz").write_bytes(GZIPPED[name])
        workplace.set("fetch", source=source)
        assert f"(from {source})" in workplace.done("fetch")
        shutil.rmtree(folder)
        assert is_complete(workplace)
        shutil.rmtree("data")


def test_a_failure_says_how_to_give_a_copy(workplace, small):
    workplace.set("fetch", source="nowhere")
    message = workplace.refused("fetch", "(1) nowhere: no such folder", "MNISTCORE_SOURCE=…", "fetch.source")
    assert message.splitlines()[0] == "fetch: nowhere: no such folder"  # as it happens, and again at the end


@pytest.mark.parametrize("source", ["http://example.org/", "ftp://a/b"])
def test_an_unsafe_source_is_refused_before_anything_is_touched(workplace, small, monkeypatch, source):
    workplace.set("fetch", source=source)
    workplace.refused("fetch", "params.yaml: fetch.source: ", "only https, file")
    workplace.set("fetch", source=None)
    monkeypatch.setenv("MNISTCORE_SOURCE", source)
    workplace.refused("fetch", "MNISTCORE_SOURCE: ", "only https, file")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"dataset": "minst"}, "'kmnist' or 'digits', is 'minst'"),
        ({"dataset": None}, "fetch.dataset: "),
        ({"source": 1}, "fetch.source: "),
        ({"sources": None}, "fetch.sources: unknown key; did you mean 'source'?"),
    ],
)
def test_an_impossible_parameter(workplace, values, words):
    workplace.set("fetch", **values)
    workplace.refused("fetch", "params.yaml: ", words)


def test_another_data_set_replaces_the_one_that_was_there(workplace, small, tmp_path):
    workplace.set("fetch", dataset="digits")
    workplace.done("fetch")
    for name in NAMES:
        (tmp_path / name).write_bytes(PLAIN[name])
    workplace.set("fetch", dataset="mnist", source=str(tmp_path))
    workplace.done("fetch")
    assert is_complete(workplace)


class TestInterrupted:
    """A server that stalls half way through the third file, and what is then done to the process."""

    @pytest.fixture
    def half_way(self, serve):
        def answer(handler, name):
            if name != f"{NAMES[2]}.gz":
                right(handler, name)
                return
            handler.head(Content_Length=len(GZIPPED[NAMES[2]]))
            handler.wfile.write(GZIPPED[NAMES[2]][:100])
            handler.wfile.flush()
            handler.server.over.wait(60)

        return serve(answer)

    @staticmethod
    def wait_for(condition):
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    @pytest.mark.fault(
        "Fetch",
        "SIGKILL, SIGTERM or SIGINT while a file arrives",
        "no half file under a final name; `fetch: terminated; run it again to continue` (but for SIGKILL); "
        "the next run keeps what is whole and gets the rest",
    )
    @pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
    def test_the_next_run_recovers(self, workplace, serve, half_way, how):
        (workplace.folder / "data/raw").mkdir(parents=True)
        (workplace.folder / "data/raw/dataset.json").write_text("of an older run")
        process = in_a_process(workplace, half_way.url)
        self.wait_for(lambda: f"{NAMES[2]}.gz" in half_way.asked)
        process.send_signal(how)
        output, errors = process.communicate(timeout=60)
        status = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}[how]
        assert process.returncode == status and output == ""
        if how != signal.SIGKILL:
            word = "terminated" if how == signal.SIGTERM else "interrupted"
            assert errors == f"fetch: {word}; run it again to continue\n"
            assert not [path for path in workplace.files() if "partial" in path]
        # What is there under its final name is whole, and nothing says that the set is complete.
        files = {path: data for path, data in workplace.files().items() if "partial" not in path}
        assert files.pop("params.yaml") and files.items() < RAW.items() and len(files) == 2

        good = serve(right)
        process = in_a_process(workplace, good.url)
        assert process.wait(timeout=60) == 0
        assert is_complete(workplace)
        assert good.asked == [f"{name}.gz" for name in NAMES[2:]]  # the others were kept
        process.communicate()

    def test_npm_is_ended_too(self, workplace, tmp_path, monkeypatch):
        script = tmp_path / "npm"
        script.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/x\nmv {tmp_path}/x {tmp_path}/pid\nsleep 60\n")
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        process = workplace.start(
            "import stages.fetch, servers\n"
            "stages.fetch.TABLE['mnist'] = servers.dataset(npm=('a@1', 'b'))\n"
            "stages.fetch.main([], prog_name='fetch')"
        )
        self.wait_for((tmp_path / "pid").exists)
        process.terminate()
        process.communicate(timeout=60)
        assert process.returncode == 143
        pid = int((tmp_path / "pid").read_text())
        self.wait_for(lambda: not os.path.exists(f"/proc/{pid}") or _is_zombie(pid))
        assert not os.listdir("data/raw")


def _is_zombie(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.fault(
    "Fetch",
    "two fetches at once",
    "`fetch: another run is writing data/raw; waiting for it`; both end well, each file is asked for once",
)
def test_two_at_once(workplace, serve):
    def slowly(handler, name):
        handler.server.over.wait(0.2)
        right(handler, name)

    server = serve(slowly)
    both = [in_a_process(workplace, server.url) for _ in range(2)]
    printed = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], printed
    assert is_complete(workplace)
    assert sorted(server.asked) == sorted(f"{name}.gz" for name in NAMES)  # the second found them all
    waited = [errors for _, errors in printed if errors]
    assert waited in ([], ["fetch: another run is writing data/raw; waiting for it\n"])


class TestFolders:
    """Folders that cannot be written to; for root, only a read-only or full file system is one."""

    @pytest.fixture
    def mount(self):
        mounted = []

        def run(options, folder):
            folder.mkdir(parents=True, exist_ok=True)
            command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
            if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
                pytest.skip("only root may mount a file system")
            if folder not in mounted:
                mounted.append(folder)

        yield run
        for folder in mounted:
            subprocess.run(["umount", str(folder)], check=True)

    @pytest.mark.fault(
        "Fetch", "a read-only folder", "`fetch: data/raw/…: Read-only file system`; the next run recovers"
    )
    def test_read_only_as_anyone_meets_it(self, workplace, mount):
        workplace.set("fetch", dataset="digits")
        folder = workplace.folder / "data/raw"
        mount("size=1m,ro", folder)
        workplace.refused("fetch", "data/raw/", "Read-only file system")
        mount("remount,size=1m,rw", folder)
        workplace.done("fetch")

    def test_read_only_by_its_permissions(self, workplace):
        if os.geteuid() == 0:
            pytest.skip("root may write where permissions forbid it")
        workplace.set("fetch", dataset="digits")
        (workplace.folder / "data/raw").mkdir(parents=True)
        (workplace.folder / "data/raw").chmod(0o555)
        workplace.refused("fetch", "data/raw/", "Permission denied")
        (workplace.folder / "data/raw").chmod(0o755)
        workplace.done("fetch")

    @pytest.mark.fault(
        "Fetch",
        "a full disk",
        "`fetch: data/raw/train-images-idx3-ubyte: No space left on device`; the next run recovers",
    )
    def test_a_full_disk(self, workplace, mount):
        workplace.set("fetch", dataset="digits")
        folder = workplace.folder / "data/raw"
        mount("size=60k", folder)
        result = workplace.run("fetch")
        assert result.exit_code == 2
        assert result.stderr == f"fetch: data/raw/{NAMES[0]}: No space left on device\n"
        assert os.listdir(folder) == []
        mount("remount,size=1m", folder)
        workplace.done("fetch")

    @pytest.mark.fault("Fetch", "a file where the folder should be", "`fetch: data/raw: …`")
    def test_a_file_where_the_folder_should_be(self, workplace):
        (workplace.folder / "data").write_text("not a folder")
        workplace.set("fetch", dataset="digits")
        workplace.refused("fetch", "data")


@pytest.mark.parametrize("stage", ["fetch", "preprocess", "batch"])
def test_a_stage_is_imported_in_less_than_0_7_seconds(workplace, stage):
    code = (
        f"import time; start = time.process_time(); import stages.{stage}; print(time.process_time() - start)"
    )
    seconds = [float(workplace.start(code).communicate(timeout=60)[0]) for _ in range(2)]
    assert min(seconds) < 0.7  # of the processor, so that a busy machine does not count


@pytest.mark.parametrize("stage", ["fetch", "preprocess", "batch"])
def test_a_stage_explains_itself(workplace, stage):
    result = workplace.run(stage, "--help")
    assert result.exit_code == 0 and "data/" in result.stdout and f"{stage}." in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
