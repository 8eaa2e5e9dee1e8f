"""dvc-checks deps --libraries: an upgrade reruns the stages that import the library, by the real DVC.

The libraries are small ones made here: a folder on sys.path with modules and the metadata that an installer writes.
"""

import textwrap
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from small_dvc import Project, isolate

from dvc_checks import imports, libraries
from dvc_checks.commands import Program

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc")


class Site:
    """A folder in which distributions are installed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()

    def install(self, name: str, version: str, *modules: str, script: str = "", top: str = "") -> None:
        """Install a distribution, or another version of it in its place."""
        for old in self.path.glob(f"{name.replace('-', '_')}-*.dist-info"):
            for file in old.iterdir():
                file.unlink()
            old.rmdir()
        info = self.path / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        for module in modules:
            (self.path / module).parent.mkdir(parents=True, exist_ok=True)
            (self.path / module).write_text(f"version = {version!r}\n")
        (info / "RECORD").write_text(
            "".join(f"{module},sha256=x,1\n" for module in (*modules, f"{info.name}/RECORD"))
        )
        if top:
            (info / "top_level.txt").write_text(f"{top}\n")
        if script:
            (info / "entry_points.txt").write_text(f"[console_scripts]\n{script} = {top or name}:main\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A site on sys.path, and on that of the stages; with what the tests import."""
    isolate(monkeypatch, tmp_path / "home")
    site = Site(tmp_path / "site")
    monkeypatch.syspath_prepend(str(site.path))
    monkeypatch.setenv("PYTHONPATH", str(site.path))
    site.install("Alpha", "1.10", "alpha/__init__.py")
    site.install("beta.lib", "2.0", "beta.py")
    site.install("gamma", "3.0", "gamma/__init__.py")
    site.install("unused-here", "4.0", "unused/__init__.py")
    return site


STAGES = {
    "common.py": "import alpha\n",
    "prepare.py": "import common\nopen('prepared', 'w').write('p')\n",
    "plot.py": """\
        def draw():
            import beta
        draw()
        open("plot", "w").write(open("prepared").read() + open("params.yaml").read())
        """,
    "plain.py": "import json, os\nopen('plain', 'w').write('x')\n",
    "params.yaml": "plot: {dpi: 50}\n",
    "dvc.yaml": """\
        # the pipeline
        stages:
          prepare:
            cmd: python prepare.py  # the first
            deps:
              - common.py
              - prepare.py
            outs: [prepared]
          plot:
            cmd: python plot.py
            deps: [plot.py, prepared]
            params: [plot.dpi]
            outs:
              - plot

          # the last
          plain:
            cmd: python plain.py
            deps:
              - plain.py
            outs: [plain]
        """,
}


def build(folder: Path, files: dict[str, str]) -> Project:
    return Project(folder / "project").write({name: textwrap.dedent(text) for name, text in files.items()})


def test_an_upgrade_reruns_the_stages_that_import_the_library(site: Site, tmp_path: Path) -> None:
    project = build(tmp_path, STAGES)
    found = project.check("deps", "--libraries")
    assert found.exit_code == 1
    assert "libraries: the wrong ones are declared by 2 of 3 stages: 2 missing, 0 needless" in found.output
    assert "  missing   alpha   imported at common.py:1" in found.output
    assert "  missing   beta-lib   imported at plot.py:2" in found.output

    assert project.check("deps", "--libraries", "--fix").exit_code == 0
    assert YAML(typ="safe").load(project.read("libraries.yaml")) == {"alpha": "1.10", "beta-lib": "2.0"}
    stages = YAML(typ="safe").load(project.read("dvc.yaml"))["stages"]
    assert stages["prepare"]["params"] == [{"libraries.yaml": ["alpha"]}]
    assert stages["plot"]["params"] == ["plot.dpi", {"libraries.yaml": ["beta-lib"]}]
    assert "params" not in stages["plain"]
    kept = [line for line in project.read("dvc.yaml").splitlines() if "#" in line]
    assert kept == ["# the pipeline", "    cmd: python prepare.py  # the first", "  # the last"]
    assert project.check("deps", "--libraries").exit_code == 0
    assert project.check("effects").exit_code == 0

    assert project.repro() == ["prepare", "plot", "plain"]
    project.commit()
    assert project.check("lock").exit_code == 0
    found = project.check("effects", "--run")
    assert found.exit_code == 0, found.output

    for name, version, module, reran in (
        ("beta.lib", "2.1", "beta.py", ["plot"]),
        (
            "Alpha",
            "1.11",
            "alpha/__init__.py",
            ["prepare"],
        ),  # its output stays the same, so plot does not follow
        ("gamma", "9", "gamma/__init__.py", []),
    ):
        site.install(name, version, module)
        found = project.check("deps", "--libraries")
        assert found.exit_code == (1 if reran else 0)
        if reran:
            assert (
                f"{libraries.normal(name)} is " in found.output and f"there, {version} here" in found.output
            )
        assert project.check("deps", "--libraries", "--fix").exit_code == 0
        found = project.check("lock")
        assert found.exit_code == (1 if reran else 0)
        if reran:
            assert f"{reran[0]}: library {libraries.normal(name)} was " in found.output
        assert project.repro() == reran
        project.commit()
        assert project.check("lock").exit_code == 0


def test_too_many_too_few_and_what_is_not_installed(site: Site, tmp_path: Path) -> None:
    project = build(tmp_path, STAGES)
    project.check("deps", "--libraries", "--fix")
    project.replace("dvc.yaml", "- alpha", "- gamma")
    project.write({"libraries.yaml": "alpha: '1.10'\nbeta-lib: 2.0\ngamma: '3.0'\nnowhere: '1'\n"})
    found = project.check("deps", "--libraries")
    assert found.exit_code == 1
    assert "  missing   alpha   imported at common.py:1" in found.output
    assert "  needless  gamma   nothing the stage runs imports it" in found.output
    assert "  nowhere is listed, and no stage imports it" in found.output
    assert "  gamma is listed, and no stage imports it" in found.output
    assert "  beta-lib is 2.0 there, as a number: write '2.0'" in found.output
    assert project.check("deps", "--libraries", "--fix").exit_code == 0
    assert YAML(typ="safe").load(project.read("libraries.yaml")) == {"alpha": "1.10", "beta-lib": "2.0"}

    project.write({"plain.py": "import delta\n"})
    found = project.check("deps", "--libraries")
    assert found.exit_code == 0
    assert "  note      plain.py:1: imports delta, which nothing installed here brings" in found.output
    project.write({"plain.py": "", "prepare.py": "import common\nimport delta\n", "common.py": ""})
    found = project.check("deps", "--libraries", "--fix")  # delta may be what alpha is declared for
    assert "alpha" in project.read("libraries.yaml") and "alpha: no import of it is seen" in found.output


def test_a_file_that_is_not_one_is_told_in_one_line(site: Site, tmp_path: Path) -> None:
    project = build(tmp_path, STAGES)
    for text in ("alpha: [1, 2]\n", "- alpha\n", "alpha: '1\n"):
        project.write({"libraries.yaml": text})
        found = project.check("deps", "--libraries")
        assert found.exit_code == 2
        assert found.stderr.startswith("dvc-checks: libraries.yaml: ")
        assert found.stderr.count("\n") == 1


def needed(site: Site, tmp_path: Path, source: str, **files: str) -> set[str]:
    """The distributions that a script of this text needs."""
    (tmp_path / "root").mkdir(exist_ok=True)
    project = {"main.py": source, **{name.replace("__", "/") + ".py": text for name, text in files.items()}}
    for name, text in project.items():
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_text(textwrap.dedent(text))
    root = tmp_path / "root"
    walked = imports.walk(Program("script", "main.py", "."), imports.Code(root, root))
    environment = libraries.Environment()
    return {name for dotted in walked.foreign for name in environment.owners(dotted)}


def test_imports_of_every_kind(site: Site, tmp_path: Path) -> None:
    source = """
        from __future__ import annotations
        import os.path, sys as system, xml.etree.ElementTree
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            import gamma
        try:
            import beta as fast
        except ImportError:
            fast = None
        import helper
        def lazy():
            from alpha import anything
        """
    assert needed(site, tmp_path, source, helper="import json") == {"alpha", "beta-lib"}
    assert needed(site, tmp_path, "import importlib\nimportlib.import_module('gamma.part')") == {"gamma"}
    assert needed(site, tmp_path, "import gamma", gamma="") == set()  # the project's own file goes first


def test_a_folder_of_the_project_with_the_name_of_a_library_does_not_hide_it(
    site: Site, tmp_path: Path
) -> None:
    (tmp_path / "root" / "gamma").mkdir(parents=True)  # where a library keeps its runs, say
    assert needed(site, tmp_path, "import gamma") == {"gamma"}
    (tmp_path / "root" / "notes").mkdir()
    assert needed(site, tmp_path, "import notes") == set()


def test_namespace_packages_are_told_apart_by_what_is_imported_from_them(site: Site, tmp_path: Path) -> None:
    site.install(
        "vendor-storage", "1.0", "vendor/cloud/storage/__init__.py", "vendor/cloud/storage/client.py"
    )
    site.install("vendor-query", "1.0", "vendor/cloud/query.py")
    site.install(
        "vendor-core", "1.0", "vendor/core/__init__.py", "vendor/core/_fast.cpython-311-x86_64-linux-gnu.so"
    )
    for source, wanted in {
        "import vendor.cloud.storage": {"vendor-storage"},
        "from vendor.cloud import query": {"vendor-query"},
        "from vendor.cloud import query, storage": {"vendor-query", "vendor-storage"},
        "from vendor.cloud.storage.client import Client": {"vendor-storage"},
        "from vendor.core import _fast": {"vendor-core"},
        "from vendor.core import anything": {"vendor-core"},
        "import vendor": set(),
    }.items():
        assert needed(site, tmp_path, source) == wanted, source


def test_names_that_are_not_those_of_the_distribution(site: Site, tmp_path: Path) -> None:
    site.install("Image.Tools", "1", "PIX/__init__.py")
    site.install("single-extension", "1", "_single.cpython-311-x86_64-linux-gnu.so")
    site.install("editable", "1", "__editable__.editable-1.pth", top="developed")
    site.install("one-of-two", "1", "shared/__init__.py")
    site.install("two-of-two", "1", "shared/__init__.py")
    assert needed(site, tmp_path, "import PIX, _single, developed") == {
        "image-tools",
        "single-extension",
        "editable",
    }
    assert needed(site, tmp_path, "import shared") == {"one-of-two", "two-of-two"}


def test_real_libraries_of_this_environment() -> None:
    environment = libraries.Environment()
    assert environment.owners("ruamel.yaml.YAML") == {"ruamel-yaml"}
    assert environment.owners("yaml") | environment.owners("click.testing") >= {"click"}
    assert environment.owners("dvc.repo.Repo") == {"dvc"}
    assert environment.owners("_pytest.fixtures") == {"pytest"}
    assert environment.versions["pytest"] == pytest.__version__


def test_programs_of_libraries_count(site: Site, tmp_path: Path) -> None:
    site.install("runner", "1", "runner/__init__.py", "runner/__main__.py", script="run-it", top="runner")
    project = build(
        tmp_path,
        {
            "dvc.yaml": """\
                stages:
                  module: {cmd: python -m runner --fast, outs: [a]}
                  script: {cmd: X=1 run-it notebook.txt, outs: [b]}
                """
        },
    )
    found = project.check("deps", "--libraries", "--fix")
    assert found.exit_code == 0, found.output
    stages = YAML(typ="safe").load(project.read("dvc.yaml"))["stages"]
    assert [stage["params"] for stage in stages.values()] == [[{"libraries.yaml": ["runner"]}]] * 2


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "    cmd: python a.py\n",
            "    cmd: python a.py\n    params:\n      - libraries.yaml:\n          - alpha\n",
        ),
        (
            "    cmd: python a.py\n    params: [x, other.yaml: [y]]\n",
            "    cmd: python a.py\n    params: [x, other.yaml: [y], {libraries.yaml: [alpha]}]\n",
        ),
        (
            "    cmd: python a.py\n    params:\n    - x  # why\n    # and\n    outs: [o]\n",
            "    cmd: python a.py\n    params:\n    - x  # why\n    - libraries.yaml:\n        - alpha\n"
            "    # and\n    outs: [o]\n",
        ),
        (
            "    cmd: python a.py\n    params:\n    - libraries.yaml:\n      - alpha\n      - gamma\n    - x\n",
            "    cmd: python a.py\n    params:\n    - libraries.yaml:\n        - alpha\n    - x\n",
        ),
        (
            "    cmd: python a.py\n    params:\n    - libraries.yaml:\n",
            "    cmd: python a.py\n    params:\n    - libraries.yaml:\n        - alpha\n",
        ),
        (
            "    foreach: [1, 2]\n    do:\n      cmd: python a.py ${item}\n",
            "    foreach: [1, 2]\n    do:\n      cmd: python a.py ${item}\n      params:\n"
            "        - libraries.yaml:\n            - alpha\n",
        ),
        (
            "    wdir: sub\n    cmd: >-\n      python\n      ../a.py\n    outs: [o]\n",
            "    wdir: sub\n    cmd: >-\n      python\n      ../a.py\n    params:\n      - ../libraries.yaml:\n"
            "          - alpha\n    outs: [o]\n",
        ),
    ],
)
def test_dvc_yaml_is_edited_where_it_has_to_be(site: Site, tmp_path: Path, before: str, after: str) -> None:
    files = {"a.py": "import alpha\n", "params.yaml": "x: 1\n", "other.yaml": "y: 1\n", "sub/b.py": ""}
    project = Project(tmp_path / "project").write(
        {**files, "libraries.yaml": "alpha: '1.10'\ngamma: '3.0'\n"}
    )
    project.write({"dvc.yaml": f"stages:\n  a:\n{before}"})
    found = project.check("deps", "--libraries", "--fix")
    assert "libraries: libraries.yaml" in found.output
    text = (
        project.read("dvc.yaml")
        .replace("    deps:\n      - a.py\n", "")
        .replace("      deps:\n        - a.py\n", "")
    )
    assert text.replace("    deps:\n      - ../a.py\n", "") == f"stages:\n  a:\n{after}"


def test_nothing_more_to_declare_leaves_a_list_without_items(site: Site, tmp_path: Path) -> None:
    project = Project(tmp_path / "project").write(
        {
            "a.py": "",
            "libraries.yaml": "alpha: '1.10'\n",
            "dvc.yaml": "stages:\n  a:\n    cmd: python a.py\n    deps: [a.py]\n"
            "    params:\n    - libraries.yaml:\n      - alpha\n    outs: [o]\n",
        }
    )
    assert project.check("deps", "--libraries", "--fix").exit_code == 0
    assert "    params: []\n    outs: [o]\n" in project.read("dvc.yaml")


def test_stages_of_one_entry_that_import_different_things_are_left_to_their_author(
    site: Site, tmp_path: Path
) -> None:
    project = Project(tmp_path / "project").write(
        {
            "a.py": "import alpha\n",
            "b.py": "import beta\n",
            "dvc.yaml": "stages:\n  both:\n    foreach: [a, b]\n    do:\n      cmd: python ${item}.py\n"
            "      deps: ['${item}.py']\n",
        }
    )
    found = project.check("deps", "--libraries", "--fix")
    assert found.exit_code == 1
    assert "by hand   dvc.yaml: both: the stages expanded from it import different libraries" in found.output
