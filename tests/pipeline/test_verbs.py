"""Every verb of DVC at the root, and in recipes/, as its manual says: in a real clone, with real remotes.

DVC runs in this process, since starting it for each of these would take minutes. Whatever a verb leaves behind
that Git sees has to be what its manual says it leaves.
"""

import csv
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from dvc.cli import main
from dvc_project import ROOT, Project, yaml

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]

NOT_CODE = r".*\.py$|.*template$|.*per_class|(data|models|reports)/[^:]*$"
"""What `dvc exp show` is told to leave out: the hashes of code and data, and the figures of each class."""

COLUMNS = [
    *("Experiment", "rev", "typ", "Created", "parent"),
    *(
        "train.accuracy",
        "train.error_rate",
        "train.errors",
        "train.examples",
        "reports/metrics.json:train.loss",
    ),
    *("train.macro_f1", "train.expected_calibration_error"),
    *("validation.accuracy", "validation.error_rate", "validation.errors", "validation.examples"),
    *("validation.loss", "validation.macro_f1", "validation.expected_calibration_error"),
    *("test.accuracy", "test.error_rate", "test.errors", "test.examples", "test.loss", "test.macro_f1"),
    "test.expected_calibration_error",
    *("fetch.dataset", "fetch.source"),
    *("preprocess.normalization", "preprocess.divisor", "preprocess.examples", "preprocess.dtype"),
    *("batch.batch_size", "batch.remainder", "batch.validation_examples", "batch.shuffle", "batch.seed"),
    *("train.seeds", "train.precision", "train.layers", "params.yaml:train.loss", "train.epochs"),
    *("train.optimizer.name", "train.optimizer.learning_rate"),
    "evaluate.calibration_bins",
    *("plot.mistakes", "plot.calibration_bins", "plot.dpi"),
]
"""What is left, for a person to read; of the headline recipe it is a dozen parameters of train more."""


class Verbs:
    """DVC's verbs, given one after another in a project or in one of its folders."""

    def __init__(self, project: Project, capture: pytest.CaptureFixture[str] | None = None) -> None:
        self.project, self.capture = project, capture

    def __call__(self, *words: str) -> str:
        """Run `dvc WORDS`, which has to succeed; what it prints on standard output."""
        if self.capture:
            self.capture.readouterr()
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.project.environment.items():
                patch.setenv(name, value)
            patch.setenv("COLUMNS", "160")
            patch.setenv("DVC_TEST", "1")  # or printing JSON puts back a standard output of long ago
            patch.chdir(self.project.path)
            status = main(list(words))
        printed, said = self.capture.readouterr() if self.capture else ("", "")
        assert status == 0, f"dvc {' '.join(words)}: exit status {status}\n{printed}\n{said}"
        return printed

    def within(self, folder: str) -> "Verbs":
        return Verbs(self.project.inside(folder), self.capture)

    def changed(self) -> list[str]:
        """What `git status` lists, of the whole repository."""
        return self.project.git("status", "--porcelain").splitlines()

    def discard(self) -> None:
        """Back to what is committed, the data too."""
        self.project.git("checkout", "--quiet", ".")
        self("checkout")
        assert self.changed() == []


def tiny_recipe(project: Project) -> None:
    """Recipes as they are, of which only a tiny one can be run in seconds."""
    made = shutil.ignore_patterns("data", "models", "reports", "pictures", "cache", "tmp", "dvc.lock")
    shutil.copytree(ROOT / "recipes", project.file("recipes"), ignore=made)
    tiny = project.file("recipes/tiny")
    tiny.mkdir()
    shutil.copy(project.file("params.yaml"), tiny / "params.yaml")
    document = yaml.load(project.file("recipes/dvc.yaml"))
    document["vars"][0]["recipes"] = ["tiny"]
    with open(project.file("recipes/dvc.yaml"), "w", encoding="utf-8") as file:
        yaml.dump(document, file)


@pytest.fixture(scope="module")
def origin(prepared: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What others clone: a bare repository, and the DVC remotes of the root and of recipes/, both pushed to."""
    folder = tmp_path_factory.mktemp("verbs")
    project = prepared.copy_to(folder / "project")
    tiny_recipe(project)
    root = Verbs(project)
    recipes = root.within("recipes")
    for verbs in (root, recipes):
        storage = folder / f"storage of {verbs.project.path.name}"
        verbs("remote", "add", "--default", "storage", str(storage))
    recipes("repro")
    project.commit("Recipes, and remotes")
    project.git("tag", "--annotate", "--message", "First", "digits@v1.0.0")  # as GTO registers a version
    recipes("push")
    root("push")
    project.git("clone", "--quiet", "--bare", ".", str(folder / "origin.git"))
    return folder / "origin.git"


@pytest.fixture(scope="module")
def cloned(origin: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("cloned") / "clone")
    project.path.mkdir()
    project.git("clone", "--quiet", str(origin), ".")
    return project


@pytest.fixture
def dvc(cloned: Project, capfd: pytest.CaptureFixture[str]) -> Iterator[Verbs]:
    """The verbs at the root; recipes/ beside it has no data, since nobody pulled any."""
    verbs = Verbs(cloned, capfd)
    verbs("pull")
    yield verbs
    assert verbs.changed() == []


def test_what_looks_and_what_moves_data_leaves_git_clean(dvc: Verbs) -> None:
    """status, data status, repro, checkout, commit, push, fetch, pull, gc, diff, dag, stage list."""
    assert dvc("status") == "Data and pipelines are up to date.\n"
    assert "No changes" in dvc("data", "status")
    assert dvc("repro").endswith("Data and pipelines are up to date.\n")
    model = dvc.project.file("models/model.npz")
    content = model.read_bytes()
    model.unlink()
    assert "models/model.npz" in dvc("data", "status")
    dvc("checkout")
    assert model.read_bytes() == content
    dvc("commit", "--force")
    assert "Everything is up to date" in dvc("push")
    dvc("gc", "--workspace", "--force")
    shutil.rmtree(dvc.project.file(".dvc/cache"))
    model.unlink()
    dvc("pull")
    assert model.read_bytes() == content
    assert "in sync" in dvc("status", "--cloud")
    assert "Everything is up to date" in dvc("fetch")
    dvc("gc", "--workspace", "--cloud", "--force")
    assert dvc("status", "--cloud") and dvc("diff") == ""
    assert "recipes" not in dvc("dag") + dvc("stage", "list") + dvc("status")


def test_what_compares_shows_the_headline_alone(dvc: Verbs) -> None:
    """params, metrics and plots: show and diff."""
    assert list(json.loads(dvc("metrics", "show", "--json"))[""]["data"]) == ["reports/metrics.json"]
    assert dvc("params", "diff") == "" == dvc("metrics", "diff")
    dvc.project.change("plot.mistakes", 5)
    assert list(json.loads(dvc("params", "diff", "--json"))) == ["params.yaml"]
    dvc.project.git("checkout", "--quiet", ".")
    for words in (("plots", "show"), ("plots", "diff", "HEAD~1")):
        assert "index.html" in dvc(*words)  # in dvc_plots/, which Git ignores
    assert dvc.project.file("dvc_plots/index.html").is_file()


def test_what_others_take_from_the_repository(dvc: Verbs, origin: Path, tmp_path: Path) -> None:
    """list, get, artifacts get and import, by somebody who has nothing but the address."""
    address, model = str(origin), dvc.project.file("models/model.npz").read_bytes()
    listed = dvc("list", address, "--recursive", "--dvc-only").split()
    assert "models/model.npz" in listed and not [name for name in listed if name.startswith("recipes")]
    dvc("get", address, "models/model.npz", "--out", str(tmp_path / "got.npz"))
    assert (tmp_path / "got.npz").read_bytes() == model
    dvc("artifacts", "get", address, "digits", "--out", str(tmp_path / "artifact.npz"))
    assert (tmp_path / "artifact.npz").read_bytes() == model
    dvc("get", address, "recipes/tiny/models/model.npz", "--out", str(tmp_path / "tiny.npz"))
    assert (tmp_path / "tiny.npz").read_bytes() == model  # of the same parameters
    dvc("import", address, "models/model.npz", "--out", "data/imported.npz")
    assert dvc.project.file("data/imported.npz").read_bytes() == model
    assert sorted(path.name for path in dvc.project.file("data").glob("imported*")) == [
        "imported.npz",
        "imported.npz.dvc",
    ]
    for path in (*dvc.project.file("data").glob("imported*"), dvc.project.file("data/.gitignore")):
        path.unlink(missing_ok=True)


def test_experiments_run_are_kept_applied_pushed_and_pulled(dvc: Verbs) -> None:
    """exp run, save, show, list, diff, apply, branch, push, remove, pull; and the queue's verbs."""
    dvc("exp", "run", "--name", "coarse", "--set-param", "evaluate.calibration_bins=5")
    assert {line[3:] for line in dvc.changed()} >= {"params.yaml", "dvc.lock", "reports/metrics.json"}
    assert "evaluate.calibration_bins" in dvc("exp", "diff")
    dvc.discard()
    dvc("exp", "save", "--name", "as-it-is", "--force")

    rows = list(csv.reader(dvc("exp", "show", "--csv", "--drop", NOT_CODE).splitlines()))
    libraries = [line.partition(":")[0] for line in (ROOT / "libraries.yaml").read_text("utf-8").splitlines()]
    assert [name for name in rows[0] if name not in libraries] == COLUMNS and len(COLUMNS) <= 60
    shown = dvc("exp", "show", "--only-changed", "--drop", NOT_CODE, "--no-pager")
    assert "coarse" in shown and "…" not in shown
    assert max(map(len, shown.splitlines())) <= 160
    assert {"coarse", "as-it-is"} == set(re.findall(r"\[(.*?)\]", dvc("exp", "list")))

    dvc("exp", "push", "origin", "coarse")
    dvc("exp", "remove", "coarse")
    dvc("exp", "pull", "origin", "coarse")
    dvc("exp", "apply", "coarse")
    assert "calibration_bins: 5" in dvc.project.file("params.yaml").read_text("utf-8")
    assert dvc("status") == "Data and pipelines are up to date.\n"
    dvc.discard()
    dvc("exp", "branch", "coarse", "coarse-branch")
    dvc.project.git("checkout", "--quiet", "coarse-branch")
    dvc("checkout")
    assert dvc("status") == "Data and pipelines are up to date.\n"
    dvc.project.git("checkout", "--quiet", "main")
    dvc("checkout")

    dvc("exp", "run", "--queue", "--name", "waiting", "--set-param", "evaluate.calibration_bins=4")
    assert "waiting" in dvc("queue", "status")
    dvc("queue", "remove", "--all")
    assert "waiting" not in dvc("queue", "status")
    dvc("exp", "remove", "--all-commits")
    assert dvc("exp", "list") == ""


def test_a_frozen_stage_is_thawed_to_the_very_file(dvc: Verbs) -> None:
    assert [line.split()[-1] for line in dvc.changed()] == []
    dvc("freeze", "train")
    assert [line[3:] for line in dvc.changed()] == ["dvc.yaml"]
    dvc("unfreeze", "train")


def test_in_recipes_the_same_verbs_mean_the_recipes(dvc: Verbs) -> None:
    """With data and cache of their own: what the root collects as garbage is not theirs.

    All but freeze, which DVC refuses for a stage of a matrix ("cannot dump a parametrized stage").
    """
    root, dvc = dvc, dvc.within("recipes")
    model = dvc.project.file("tiny/models/model.npz")
    assert not model.exists()
    dvc("pull")
    assert model.is_file()
    assert dvc("status") == "Data and pipelines are up to date.\n"
    assert "No changes" in dvc("data", "status")
    assert dvc("repro").endswith("Data and pipelines are up to date.\n")
    model.unlink()
    dvc("checkout")
    dvc("commit", "--force")
    assert "Everything is up to date" in dvc("push")
    dvc("gc", "--workspace", "--force")
    assert list(json.loads(dvc("metrics", "show", "--json"))[""]["data"]) == ["tiny/reports/metrics.json"]
    assert dvc("params", "diff") == "" == dvc("metrics", "diff")
    assert {name.split("@")[0] for name in dvc("stage", "list", "--name-only").split()} == {
        *("fetch", "preprocess", "batch", "train", "evaluate", "plot")
    }
    dvc("exp", "run", "--name", "coarse", "--set-param", "tiny/params.yaml:evaluate.calibration_bins=5")
    dvc.discard()
    dvc("exp", "apply", "coarse")
    assert dvc("status") == "Data and pipelines are up to date.\n"
    dvc.discard()
    dvc("exp", "run", "--temp", "--name", "elsewhere", "--set-param", "tiny/params.yaml:plot.mistakes=3")
    assert set(re.findall(r"\[(.*?)\]", dvc("exp", "list"))) == {"coarse", "elsewhere"}
    dvc("exp", "remove", "coarse", "elsewhere")
    dvc("list", ".", "--dvc-only")
    dvc("plots", "show", "--out", "dvc_plots")

    root("gc", "--workspace", "--force")
    model.unlink()
    dvc("checkout")
    assert model.is_file()
