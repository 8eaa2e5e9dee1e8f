"""What a machine does to a run: a full disk, too little memory, a neighbour, odd paths, a poor locale, a wrong clock."""

import contextlib
import errno
import itertools
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dvc_project import Project, dvc_within, ran
from repro import Repro, forget, hashes, leftovers
from small import PARAMETERS, everything, line_of, works, write_tiny_raw

from stages.parameters import STAGES

ROOT = Path(__file__).resolve().parents[2]
QUICK = ("preprocess", "batch", "train", "evaluate")  # plot, too, but matplotlib takes a second each time
OUTPUTS = {"preprocess": "data/processed", "batch": "data/batches", "train": "models", "evaluate": "reports"}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny data set in which every quick stage has run; not to be changed."""
    folder = tmp_path_factory.mktemp("done")
    with contextlib.chdir(folder):
        Path("params.yaml").write_text(PARAMETERS)
        write_tiny_raw(side=16)
        for stage in QUICK:
            works(stage)
    return folder


@pytest.fixture
def folder(done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to be changed at will."""
    shutil.copytree(done, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def partials() -> list[Path]:
    return [path for path in Path().rglob("*") if path.name.endswith(".partial")]


def outputs(stage: str) -> dict[str, bytes]:
    return {name: content for name, content in everything().items() if name.startswith(OUTPUTS[stage])}


@contextlib.contextmanager
def limited(what: int, soft: int) -> Iterator[None]:
    before = resource.getrlimit(what)
    resource.setrlimit(what, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(what, before)


@pytest.mark.fault(
    "The machine",
    "no file may grow beyond 100 bytes (`ulimit -f`), each stage",
    "`…: <file>: File too large`",
)
@pytest.mark.parametrize("stage", QUICK)
def test_a_file_that_may_not_grow_is_named_and_nothing_half_written_left(folder: Path, stage: str) -> None:
    before = outputs(stage)
    with limited(resource.RLIMIT_FSIZE, 100):
        line = line_of(stage)
    assert line.startswith(f"{stage}: ") and line.endswith(f": {os.strerror(errno.EFBIG)}") and "/" in line
    assert not partials()
    assert outputs(stage).items() <= before.items()  # what is still there is whole
    works(stage)
    assert outputs(stage) == before


def mount(*arguments: str) -> None:
    finished = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if finished.returncode:
        pytest.skip(f"nothing can be mounted here: {finished.stderr.strip()}")


@pytest.fixture
def small_disk(done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A disk of two megabytes with the tiny data set on it, all stages run."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount("-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk))
    try:
        shutil.copytree(done, disk, dirs_exist_ok=True)
        monkeypatch.chdir(disk)
        yield disk
    finally:
        monkeypatch.undo()
        subprocess.run(["umount", "--lazy", str(disk)], check=True)  # arrays may still be mapped


def fill(disk: Path) -> None:
    with open(disk / "ballast", "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


@pytest.mark.fault(
    "The machine",
    "a full disk, each stage",
    "`…: <file>: No space left on device`; with space again, the next run is right",
)
def test_a_full_disk_is_said_to_be_full(small_disk: Path) -> None:
    for stage in QUICK:
        before = outputs(stage)
        fill(small_disk)
        line = line_of(stage)
        assert line.startswith(f"{stage}: ") and line.endswith(f": {os.strerror(errno.ENOSPC)}"), line
        assert not partials()
        assert outputs(stage).items() <= before.items()
        (small_disk / "ballast").unlink()
        works(stage)
        assert outputs(stage) == before


@pytest.mark.fault(
    "The machine",
    "a folder that may only be read, each stage",
    "`…: <file>: Read-only file system`, or `Permission denied`",
)
def test_a_read_only_folder_is_named(folder: Path) -> None:
    for stage in QUICK:
        before = everything()
        target = Path(OUTPUTS[stage])
        if os.getuid() == 0:  # whom modes do not stop
            mount("--bind", str(target), str(target))
            mount("-o", "remount,ro,bind", str(target))
        else:
            target.chmod(0o555)
        try:
            line = line_of(stage)
        finally:
            if os.getuid() == 0:
                subprocess.run(["umount", str(target)], check=True)
            else:
                target.chmod(0o755)
        assert any(line.endswith(os.strerror(number)) for number in (errno.EROFS, errno.EACCES)), line
        assert str(target) in line
        shutil.rmtree("checkpoints", ignore_errors=True)
        assert everything().items() >= {name: before[name] for name in outputs(stage)}.items()


def script(stage: str, cwd: Path, **options) -> subprocess.CompletedProcess:
    """Run a stage in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | options.pop("env", {})
    return subprocess.run(
        [sys.executable, ROOT / "stages" / f"{stage}.py"],
        cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False, **options,
    )  # fmt: skip


@pytest.mark.fault("The machine", "too little memory (`ulimit -v`) for the network asked for", "`train: params.yaml: train.layers: "
                   "260,000,003 parameters do not fit in memory`")  # fmt: skip
def test_too_little_memory(folder: Path) -> None:
    model = Path("models/model.npz").read_bytes()
    Path("params.yaml").write_text(PARAMETERS.replace("units: 6,", "units: 1000000, drop_rate: 0.5,"))
    gigabyte = 1 << 30
    finished = script(
        "train", folder, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (gigabyte, gigabyte))
    )
    assert (
        finished.stderr == "train: params.yaml: train.layers: 260,000,003 parameters do not fit in memory\n"
    )
    assert finished.returncode == 2
    assert Path("models/model.npz").read_bytes() == model
    assert not partials()


@pytest.mark.fault(
    "The machine",
    "two copies of one stage at once, each stage",
    "`…: another run is writing …; waiting for it`, then both end well",
)
@pytest.mark.parametrize(
    "stage",
    [
        "batch",
        "train",
        *(pytest.param(stage, marks=pytest.mark.slow) for stage in ("preprocess", "evaluate", "plot")),
    ],
)
def test_two_copies_of_a_stage_do_not_disturb_each_other(folder: Path, stage: str) -> None:
    assert script(stage, folder).returncode == 0
    before = everything()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, ROOT / "stages" / f"{stage}.py"]
    both = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in "12"
    ]
    for process in both:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert "Traceback" not in err
    assert everything() == before


@pytest.mark.fault("The machine", "two `dvc repro` at once", "DVC's own words: `ERROR: failed to reproduce 'batch': '…/data/batches' is busy, it is "
                   "being blocked by: (PID …)`; exit status 255, the first goes on")  # fmt: skip
@pytest.mark.fault("Killed", "Ctrl-C (SIGINT) while `dvc repro` trains", "`train: interrupted; run it again to continue`, and DVC's `ERROR: failed to reproduce "
                   "'train': failed to run: python stages/train.py, exited with 130` (or -2); the next run continues from the checkpoint")  # fmt: skip
def test_two_repros_at_once_and_an_interrupt(project: Project) -> None:
    wanted = hashes(project)
    project.change("train.epochs", 100_000)
    project.change("train.checkpoint_seconds", 0.1)
    first = Repro(project)
    first.wait_for("train")
    second = project.dvc("repro", status=255)
    assert "is busy, it is being blocked by:" in second and f"(PID {first.process.pid})" in second
    deadline = time.monotonic() + 60
    while not project.file("checkpoints/seed-0.npz").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert first.end(signal.SIGINT)
    assert "train: interrupted; run it again to continue\n" in first.printed
    assert re.search(
        r"failed to run: python stages/train.py, exited with (130|-2)\n", first.printed
    )  # -2: the shell
    assert "Traceback" not in first.printed
    project.git("checkout", "--quiet", "params.yaml")
    project.dvc("repro")
    assert hashes(project) == wanted
    assert not leftovers(project)


@pytest.mark.fault("The machine", "a project in `Großer Ordner (1) 数字 'x'`, reached through a link, every stage run by `dvc repro`",
                   "it works, to the same hashes")  # fmt: skip
def test_odd_paths_and_links_change_nothing(prepared: Project, tmp_path: Path) -> None:
    odd = prepared.copy_to(tmp_path / "Großer Ordner (1) 数字 'x'")
    wanted = hashes(odd)
    forget(odd, STAGES)
    link = tmp_path / "a link"
    link.symlink_to(odd.path)
    through = Project(link)
    assert ran(through.dvc("repro")) == list(STAGES)
    assert hashes(odd) == wanted


@pytest.mark.fault("The machine", "a stage in the locale C without UTF-8, in a folder with letters beyond ASCII",
                   "it works, to the same bytes. (DVC itself does not, there: `'utf-8' codec can't encode characters`)")  # fmt: skip
def test_a_poor_locale(folder: Path) -> None:
    before = outputs("batch")
    odd = folder.rename(folder.with_name("Großer Ordner 数字"))
    finished = script("batch", odd, env={"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"})
    assert finished.returncode == 0, finished.stderr
    os.chdir(odd)
    assert outputs("batch") == before


@pytest.mark.fault(
    "The machine",
    "a terminal that knows Latin-1 or ASCII only",
    "it works; `?` for a letter that it does not know",
)
@pytest.mark.parametrize("encoding", ["latin-1", pytest.param("ascii", marks=pytest.mark.slow)])
def test_a_poor_terminal(folder: Path, encoding: str) -> None:
    finished = script(
        "train",
        folder,
        env={"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
        encoding="utf-8",
        errors="replace",
    )
    assert finished.returncode == 0, finished.stderr


@pytest.mark.fault(
    "The machine",
    "files from 2040 and from 1970, as after a clock set back",
    "it works, to the same bytes, and nothing is rerun",
)
def test_a_clock_set_back(project: Project, folder: Path) -> None:
    before = everything()
    for number, name in enumerate(before):
        os.utime(name, (2_208_988_800, 2_208_988_800) if number % 2 else (0, 0))
    for stage in QUICK:
        works(stage)
    assert {
        name: content for name, content in everything().items() if "curves" not in name
    }.items() <= before.items()
    for number, path in enumerate(
        path for path in project.path.rglob("*") if path.is_file() and ".git" not in path.parts
    ):
        os.utime(path, (2_208_988_800, 2_208_988_800) if number % 2 else (0, 0))
    with dvc_within(project) as repo:
        assert repo.status() == {}


@pytest.mark.fault(
    "The machine",
    "a stage run by its path from another folder",
    "it works on the params.yaml and the data there",
)
def test_another_current_folder(folder: Path, tmp_path: Path) -> None:
    before = outputs("batch")
    shutil.rmtree("data/batches")
    finished = script("batch", folder)
    assert finished.returncode == 0, finished.stderr
    assert outputs("batch") == before
    finished = script("batch", tmp_path)
    assert finished.returncode == 2
    assert finished.stderr == "batch: params.yaml: not found; run this in a folder that has one\n"


def error_line(finished: subprocess.CompletedProcess, stage: str) -> str:
    """The one line of a stage that has ended with status 2."""
    lines = [line for line in finished.stderr.splitlines() if " examples; epoch " not in line]
    assert finished.returncode == 2 and len(lines) == 1 and lines[0].startswith(f"{stage}: "), finished.stderr
    return lines[0]


@pytest.mark.fault(
    "The machine",
    "standard output, error, or all streams closed, each stage",
    "it works; nothing is printed into a file that is opened next",
)
@pytest.mark.parametrize(
    "closed",
    [">&- 2>&-", *(pytest.param(c, marks=pytest.mark.slow) for c in (">&-", "2>&-", "<&- >&- 2>&-"))],
)
@pytest.mark.parametrize(
    "stage", ["train", *(pytest.param(s, marks=pytest.mark.slow) for s in STAGES[1:] if s != "train")]
)
def test_closed_streams(folder: Path, stage: str, closed: str) -> None:
    if stage != "plot":
        before = outputs(stage)
        for name in before:
            if "curves" not in name:
                Path(name).unlink()
    finished = subprocess.run(
        ["bash", "-c", f'exec "$0" "$1" {closed}', sys.executable, ROOT / "stages" / f"{stage}.py"],
        cwd=folder, timeout=120, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert finished.returncode == 0
    assert Path("reports/index.html").exists() if stage == "plot" else outputs(stage) == before


@pytest.mark.fault(
    "The machine", "a full disk behind standard output and error", "it works, and ends with status 2"
)
def test_streams_that_are_full(folder: Path) -> None:
    before = outputs("batch")
    shutil.rmtree(OUTPUTS["batch"])
    with open("/dev/full", "w") as full:
        finished = subprocess.run(
            [sys.executable, ROOT / "stages/batch.py"],
            cwd=folder,
            timeout=60,
            check=False,
            stdout=full,
            stderr=full,
        )
    assert finished.returncode == 2
    assert outputs("batch") == before


@pytest.mark.fault(
    "The machine",
    "45 to 300 MB of memory (`ulimit -v`), train and plot",
    "it works, or `…: out of memory; nothing under a final name was changed`, or `…: Cannot allocate memory`",
)
@pytest.mark.parametrize(
    ("stage", "megabytes"),
    [
        *itertools.product(("train", "plot"), (45, 80)),
        *(
            pytest.param(*pair, marks=pytest.mark.slow)
            for pair in itertools.product(("train", "plot"), (120, 160, 210, 250, 300))
        ),
    ],
)
def test_little_memory(folder: Path, stage: str, megabytes: int) -> None:
    before = everything()
    limit = megabytes << 20
    finished = script(
        stage, folder, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    )
    if finished.returncode or megabytes < 200:
        assert finished.returncode == 2
        # A library that finds no memory for itself may warn before.
        *warnings, last = finished.stderr.splitlines()
        assert last in (
            f"{stage}: out of memory; nothing under a final name was changed",
            f"{stage}: operating system: Cannot allocate memory",
        )
        assert not any("Traceback" in line for line in warnings)
        assert before.items() <= everything().items()
    assert not partials()


@pytest.mark.fault(
    "The machine",
    "ten open files (`ulimit -n`), train and evaluate",
    "it works, or `…: …: Too many open files`; the next run is right",
)
@pytest.mark.parametrize("stage", ["evaluate", pytest.param("train", marks=pytest.mark.slow)])
def test_few_open_files(folder: Path, stage: str) -> None:
    before = outputs(stage)
    finished = script(stage, folder, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (10, 10)))
    if finished.returncode:
        assert error_line(finished, stage).endswith(os.strerror(errno.EMFILE))
    assert not partials()
    works(stage)
    assert outputs(stage) == before


@pytest.mark.fault("The machine", "no process or thread beyond the first (`ulimit -u 1`), train", "it works")
def test_no_second_process_or_thread(folder: Path) -> None:
    if os.getuid() or not shutil.which("setpriv"):
        pytest.skip("needs root, who is not limited, and setpriv, with which it becomes somebody else")
    before = outputs("train")
    shutil.rmtree("models")
    for path in (folder, *folder.rglob("*")):
        os.chown(path, 65534, -1)
    reads = ["--inh-caps", "+dac_override", "--ambient-caps", "+dac_override"]  # the code, wherever it is
    finished = subprocess.run(
        ["setpriv", "--reuid", "65534", *reads, "bash", "-c", 'ulimit -u 1; exec "$0" "$1" --workers 2', sys.executable, ROOT / "stages/train.py"],
        cwd=folder, env=os.environ | {"HOME": str(folder)}, timeout=60, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    assert outputs("train") == before


@pytest.mark.fault("The machine", "`MPLBACKEND=nonsense`", "it works")
@pytest.mark.slow
def test_a_backend_that_does_not_exist(folder: Path) -> None:
    finished = script("plot", folder, env={"MPLBACKEND": "nonsense"})
    assert finished.returncode == 0, finished.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, a network is trained by one process")
@pytest.mark.fault(
    "The machine",
    "the images cut short while train reads them, with one process and with two",
    "`train: a file became shorter while it was read; run the stages before again`, or `train: training: a worker ended: …`",
)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_images_cut_short_while_they_are_read(folder: Path, workers: str) -> None:
    model = Path("models/model.npz").read_bytes()
    Path("params.yaml").write_text(PARAMETERS.replace("epochs: 2", "epochs: 100000\n  checkpoint_seconds: 0"))
    process = subprocess.Popen(
        [sys.executable, ROOT / "stages/train.py", "--workers", workers],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not Path("checkpoints/seed-0.npz").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.truncate("data/batches/train/images.npy", 0)
    _, err = process.communicate(timeout=60)
    line = error_line(subprocess.CompletedProcess([], process.returncode, "", err), "train")
    assert "a file became shorter while it was read" in line or "a file may have become shorter" in line
    assert Path("models/model.npz").read_bytes() == model


@pytest.mark.fault(
    "The machine",
    "links that lead elsewhere, and a pipe, in the places of the curves that DVCLive writes",
    "they are replaced; the files elsewhere are not touched",
)
def test_links_in_the_places_of_the_curves(folder: Path, tmp_path: Path) -> None:
    before = {name: content for name, content in everything().items() if name.startswith("reports/curves")}
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine").write_bytes(b"mine")
    for name in ("metrics.json", "params.yaml", "plots/metrics/train/loss.tsv"):
        Path("reports/curves", name).unlink()
    Path("reports/curves/metrics.json").symlink_to(outside / "mine")
    os.link(outside / "mine", "reports/curves/params.yaml")
    os.mkfifo("reports/curves/plots/metrics/train/loss.tsv")
    works("train")
    shutil.rmtree("reports/curves")
    Path("reports/curves").symlink_to(outside)
    os.makedirs("checkpoints")
    Path("checkpoints/curves").symlink_to(outside)
    works("train")
    assert [path.read_bytes() for path in outside.iterdir()] == [b"mine"]
    assert before == {
        name: content for name, content in everything().items() if name.startswith("reports/curves")
    }
