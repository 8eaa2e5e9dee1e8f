"""`dvc-checks effects`: what each parameter reruns, and, with --run, what the stages really read."""

import json
import os
import textwrap
from pathlib import Path

import pytest
from small_dvc import Project, isolate

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc")

FILES = {
    "make.py": """
        import yaml
        section = yaml.safe_load(open("params.yaml"))["make"]
        open("a.txt", "w").write("x" * section["n"])
        """,
    "use.py": """
        from pathlib import Path
        from ruamel.yaml import YAML
        section = YAML(typ="safe").load(Path("params.yaml").read_text())["use"]
        Path("b.txt").write_text(Path("a.txt").read_text() * section.get("times", 1))
        """,
    "params.yaml": "make:\n  n: 3\nuse:\n  times: 2\nother:\n  deep: {x: 1, y: 2}\n",
    "dvc.yaml": """
        stages:
          make:
            cmd: python make.py
            deps: [make.py]
            params: [make]
            outs: [a.txt]
          use:
            cmd: python use.py
            deps: [a.txt, use.py]
            params: [use.times]
            outs: [b.txt]
          other:
            cmd: echo ${other.deep.x} ${other.deep.y} > c.txt
            params: [other.deep.y]
            outs: [c.txt]
        """,
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    isolate(monkeypatch, tmp_path / "home")
    project = Project(tmp_path / "project")
    project.write({name: textwrap.dedent(text).lstrip() for name, text in FILES.items()})
    project.commit()
    return project


def script(project: Project, name: str, text: str) -> None:
    project.write({name: textwrap.dedent(text).lstrip()})


def test_every_leaf_names_the_stages_it_reruns_and_those_after(project: Project) -> None:
    found = project.check("effects", "--json")
    assert found.exit_code == 0
    effects = {effect["key"]: effect for effect in json.loads(found.output)["effects"]}
    assert list(effects) == ["make.n", "use.times", "other.deep.x", "other.deep.y"]
    assert (effects["make.n"]["direct"], effects["make.n"]["after"]) == (["make"], ["use"])
    assert (effects["use.times"]["direct"], effects["use.times"]["after"]) == (["use"], [])
    assert effects["other.deep.x"]["direct"] == ["other"]  # it stands in the command


def test_a_project_without_parameters_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    isolate(monkeypatch, tmp_path / "home")
    project = Project(tmp_path / "project").write({"dvc.yaml": "stages:\n  a:\n    cmd: echo\n"})
    project.commit()
    found = project.check("effects")
    assert found.output == "effects: no parameters, 1 stage: commands, code and data alone rerun a stage\n"
    assert found.exit_code == 0


def test_the_table_joins_leaves_that_do_the_same(project: Project) -> None:
    rows = [line.split() for line in project.check("effects").output.splitlines()]
    assert ["params.yaml", "make.n", "make", "use"] in rows
    assert ["params.yaml", "other.*", "(2)", "other"] in rows
    rows = [line.split() for line in project.check("effects", "--leaves").output.splitlines()]
    assert ["params.yaml", "other.deep.x", "other"] in rows
    markdown = project.check("effects", "--markdown").output
    assert "| params.yaml | `make.n` | make | use |" in markdown


def test_dvc_agrees_on_what_reruns(project: Project) -> None:
    project.repro()
    effects = json.loads(project.check("effects", "--json").output)["effects"]
    original = project.read("params.yaml")
    for effect, old, new in zip(
        effects, ("n: 3", "times: 2", "x: 1", "y: 2"), ("n: 4", "times: 3", "x: 5", "y: 6"), strict=True
    ):
        project.write({"params.yaml": original.replace(old, new)})
        assert reran(project) == {*effect["direct"], *effect["after"]}, effect
        project.write({"params.yaml": original})
        project.repro()


def reran(project: Project) -> set[str]:
    before = {name: (project.root / name).stat().st_mtime_ns for name in ("a.txt", "b.txt", "c.txt")}
    project.repro()
    makers = {"a.txt": "make", "b.txt": "use", "c.txt": "other"}
    return {makers[name] for name, time in before.items() if (project.root / name).stat().st_mtime_ns != time}


def test_a_key_that_reruns_nothing_and_one_that_does_not_exist_are_found(project: Project) -> None:
    project.replace("params.yaml", "  times: 2", "  tiems: 2")
    found = project.check("effects")
    assert found.exit_code == 1
    assert "params.yaml: use.tiems reruns no stage" in found.output
    assert "use: declares use.times, which params.yaml does not have" in found.output


@pytest.mark.parametrize(
    ("params", "declared", "key"),
    [
        ("make: {n: 3, size: 4}", "make", "make.size"),
        ("make: {n: 3, deep: {nfiles: 4}}", "make", "make.deep.nfiles"),
        ("make: {n: 3, layers: [{size: 4}]}", "make", "make.layers"),
        ("make: {n: 3}\nsize: 4", "make, size", "size"),
    ],
)
def test_a_key_that_dvcs_run_cache_overlooks_is_found_and_is_overlooked(
    project: Project, params, declared, key
) -> None:
    project.write(
        {
            "params.yaml": params + "\n",
            "dvc.yaml": f"""
                stages:
                  make:
                    cmd: cp params.yaml a.txt
                    deps: [make.py]
                    params: [{declared}]
                    outs: [a.txt]
                """,
        }
    )
    found = project.check("effects")
    assert found.exit_code == 1
    assert f"make: {key}: DVC's run cache overlooks a key called '" in found.output
    project.repro()
    project.replace("params.yaml", " 4", " 5")
    project.repro()
    assert " 4" in project.read("a.txt")  # when DVC has mended this, the finding can go


def test_a_dotted_key_that_ends_in_such_a_name_is_not_overlooked(project: Project) -> None:
    project.replace("params.yaml", "times: 2", "size: 2")
    project.replace("dvc.yaml", "use.times", "use.size")
    assert "overlooks" not in project.check("effects").output


def test_keys_that_shape_a_matrix_are_told(project: Project) -> None:
    project.write(
        {
            "params.yaml": "names: [a, b]\n",
            "dvc.yaml": "stages:\n  s:\n    foreach: ${names}\n    do:\n      cmd: echo ${item} > ${item}\n"
            "      outs: ['${item}']\n",
        }
    )
    found = project.check("effects")
    assert found.exit_code == 0
    assert "the members of s@*" in found.output


def test_stages_that_read_what_they_declare_pass(project: Project) -> None:
    found = project.check("effects", "--run")
    assert found.exit_code == 0, found.output
    assert found.output.splitlines()[0] == (
        "effects: 4 parameters, 3 stages, 3 of them run and watched: what they declare is what they read"
    )
    assert "note: other" not in found.output or "other.deep.y" in found.output
    assert not (project.root / "a.txt").exists()  # the workspace is not touched


# Each way to read a key that is not declared: the script of `make`, which declares `make` alone.
READS = {
    "PyYAML": "import yaml\np = yaml.safe_load(open('params.yaml'))\nn = p['make']['n'] + p['use']['times']",
    "ruamel.yaml": "from ruamel.yaml import YAML\np = YAML(typ='safe').load(open('params.yaml'))\n"
    "n = p.get('make').get('n') + p.get('use').get('times')",
    "ruamel.yaml, keeping comments": "from ruamel.yaml import YAML\np = YAML().load(open('params.yaml'))\n"
    "n = p['make']['n'] + p['use']['times']",
    "all taken over at once": "import yaml\nfrom types import SimpleNamespace as N\n"
    "p = N(**yaml.safe_load(open('params.yaml')))\nn = p.make['n'] + p.use['times']",
    "a parser of its own": "text = open('params.yaml').read()\nn = 3 + int(text.partition('times: ')[2][0])",
    "in a child process": "import subprocess, sys\nn = int(subprocess.check_output([sys.executable, '-c', "
    "\"import yaml; p = yaml.safe_load(open('params.yaml')); print(p['make']['n'] + p['use']['times'])\"]))",
}


@pytest.mark.parametrize("way", READS)
def test_an_undeclared_parameter_is_caught_however_it_is_read(project: Project, way: str) -> None:
    script(project, "make.py", READS[way] + "\nopen('a.txt', 'w').write('x' * n)\n")
    found = project.check("effects", "--run", "--stage", "make")
    assert found.exit_code == 1
    assert (
        "make: reads use.times of params.yaml, which it does not declare" in found.output
        or "make: needs keys of params.yaml that it does not declare" in found.output
    ), found.output


def test_reading_the_whole_file_is_fine_when_only_the_declared_keys_matter(project: Project) -> None:
    script(
        project,
        "make.py",
        """
        import yaml
        everything = dict(yaml.safe_load(open("params.yaml")).items())
        flat = {f"{s}.{k}": v for s, section in everything.items() for k, v in section.items()}
        open("a.txt", "w").write("x" * flat["make.n"])
        """,
    )
    found = project.check("effects", "--run", "--stage", "make")
    assert found.exit_code == 0, found.output


def test_an_undeclared_key_with_a_default_is_caught_by_the_outputs(project: Project) -> None:
    script(
        project,
        "make.py",
        """
        text = open("params.yaml").read()
        times = text.partition("times: ")[2][:1]
        open("a.txt", "w").write(times or "none")
        """,
    )
    found = project.check("effects", "--run", "--stage", "make")
    assert found.exit_code == 1
    assert (
        "make: writes a different a.txt when the keys of params.yaml that it does not declare are taken away"
        in found.output
    )


def test_a_declared_parameter_that_is_never_read_is_caught(project: Project) -> None:
    project.replace("dvc.yaml", "params: [make]", "params: [make, other.deep]")
    found = project.check("effects", "--run", "--stage", "make")
    assert found.exit_code == 1
    assert "make: never reads other.deep of params.yaml, which it declares" in found.output


def test_a_params_file_that_is_never_opened_is_caught(project: Project) -> None:
    script(project, "make.py", "open('a.txt', 'w').write('x')")
    found = project.check("effects", "--run", "--stage", "make")
    assert found.exit_code == 1
    assert "make: never opens params.yaml, parameters of which it declares: make" in found.output


def test_undeclared_files_are_caught_and_unused_ones_too(project: Project) -> None:
    project.write(
        {"rows.csv": "1", "unused.csv": "2", "secret.csv": "3", ".gitignore": "secret.csv\n__pycache__/\n"}
    )
    project.write({"linked.csv": "4", "shelled.csv": "5"})
    project.replace("dvc.yaml", "deps: [make.py]", "deps: [make.py, unused.csv, shelled.csv]")
    project.replace("dvc.yaml", "cmd: python make.py", "cmd: cat shelled.csv > /dev/null && python make.py")
    script(
        project,
        "make.py",
        FILES["make.py"].replace("        ", "")
        + "open('rows.csv').read()\nopen('left.txt', 'w').write('x')\nopen('linked.csv', 'a').write('x')\n"
        + "try:\n  open('secret.csv')\nexcept OSError:\n  pass\n",
    )
    found = project.check("effects", "--run", "--stage", "make")
    assert found.exit_code == 1
    lines = {line.strip() for line in found.output.splitlines()}
    assert {
        "make: opens rows.csv, which it declares nowhere",
        "make: looks for secret.csv, which it declares nowhere and Git does not keep",
        "make: leaves behind left.txt, which it declares nowhere",
        "make: changes linked.csv, which it declares nowhere",
        "make: never opens unused.csv, which it declares",
    } <= lines
    if keeps_access_times(project.root):
        assert not any("shelled.csv" in line for line in lines)  # `cat` read it


def keeps_access_times(folder: Path) -> bool:
    probe = folder / "params.yaml"
    os.utime(probe, (0, probe.stat().st_mtime))
    probe.read_text()
    return probe.stat().st_atime > 0


def test_an_absolute_path_into_the_workspace_is_caught(project: Project) -> None:
    project.write({"rows.csv": "1"})
    project.replace("dvc.yaml", "deps: [make.py]", "deps: [make.py, rows.csv]")
    script(
        project,
        "make.py",
        FILES["make.py"].replace("        ", "") + f"open({str(project.root / 'rows.csv')!r})\n",
    )
    found = project.check("effects", "--run", "--stage", "make")
    assert "make: opens rows.csv by its absolute path: no clone will have it there" in found.output


def test_a_dynamic_import_shows_when_the_stage_runs(project: Project) -> None:
    project.write({"plugin.py": ""})
    script(project, "make.py", FILES["make.py"].replace("        ", "") + "__import__('plug' + 'in')\n")
    found = project.check("effects", "--run", "--stage", "make")
    assert found.exit_code == 1
    assert "make: opens plugin.py, which it declares nowhere" in found.output


def test_a_stage_that_fails_is_a_finding_with_its_last_words(project: Project) -> None:
    script(project, "make.py", "raise SystemExit('no such thing')")
    found = project.check("effects", "--run")
    assert found.exit_code == 1
    assert "make: fails in a clean copy of the project: no such thing" in found.output
    assert "note: use: not run: a.txt" in found.output


def test_inputs_of_a_single_stage_come_from_the_cache(project: Project) -> None:
    project.repro()
    (project.root / "a.txt").unlink()
    found = project.check("effects", "--run", "--stage", "use")
    assert found.exit_code == 0, found.output
    assert "1 of them run and watched" in found.output
