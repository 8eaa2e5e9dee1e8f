"""dvc-checks merge: random pipelines, random changes on both sides, merged by Git itself; and by hand.

What a run of the merged project would write is computed here, apart from the merge: a stage's output is a
small number made from its command, parameters and inputs, so that different inputs often give the same one.
"""

import hashlib
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo
from ruamel.yaml import YAML
from small_dvc import Project, isolate

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc")]

# Does for real what `output` below computes.
STEP = """
import hashlib, sys
from ruamel.yaml import YAML
load = YAML(typ="safe").load
name = sys.argv[1]
stage = load(open("dvc.yaml").read())["stages"][name]
values = load(open("params.yaml").read())
text = stage["cmd"] + repr([values[key] for key in stage["params"]])
text += repr([open(path).read() for path in stage["deps"]])
number = int(hashlib.md5(text.encode()).hexdigest(), 16) % 4
open(f"{name}.out", "w").write(f"{number}\\n")
"""


class World:
    """A random pipeline: what stands in its files, and what a run of it writes."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.stages: dict[str, dict[str, Any]] = {}
        self.params: dict[str, int] = {}
        self.texts = {f"{kind}{i}.txt": self.text() for kind in ("code", "data") for i in range(3)}
        for _ in range(self.random.randint(2, 6)):
            self.add(f"s{len(self.stages)}")

    def text(self) -> str:
        return f"{self.random.randrange(10**9)}\n"

    def add(self, name: str) -> None:
        draw = self.random
        earlier = [f"{other}.out" for other in self.stages]
        deps = draw.sample(sorted(self.texts), draw.randint(1, 2))
        deps += draw.sample(earlier, min(len(earlier), draw.randint(0, 2)))
        self.params[f"p{name}"] = draw.randrange(100)
        self.stages[name] = {
            "cmd": f"python step.py {name}",
            "deps": sorted(deps),
            "params": [f"p{name}"],
            "kept": draw.random() < 0.3,  # by Git, not by DVC
        }

    def change(self, number: int) -> None:
        """One change of one kind; `number` keeps the names of the two sides' new stages apart."""
        draw, name = self.random, self.random.choice(sorted(self.stages))
        match draw.choice(("param", "param", "code", "code", "cmd", "dep", "add", "remove", "data")):
            case "param":
                self.params[f"p{name}"] = draw.randrange(100)
            case "code":
                self.texts[f"code{draw.randrange(3)}.txt"] = self.text()
            case "data":
                self.texts[f"data{draw.randrange(3)}.txt"] = self.text()
            case "cmd":
                self.stages[name]["cmd"] = f"python step.py {name} {draw.randrange(9)}"
            case "dep":
                deps = {*self.stages[name]["deps"], draw.choice(sorted(self.texts))}
                self.stages[name]["deps"] = sorted(deps)
            case "add":
                self.add(f"t{number}{len(self.stages)}")
            case "remove":
                read = {dep for stage in self.stages.values() for dep in stage["deps"]}
                if f"{name}.out" not in read and len(self.stages) > 1:
                    del self.stages[name]

    def write(self, project: Project) -> None:
        """Its files, a few lines of air between what two sides may change."""
        air = "\n#\n#\n#\n"
        params = air.join(f"{key}: {value}" for key, value in self.params.items())
        blocks = []
        for name, stage in self.stages.items():
            kind = f"- {name}.out: {{cache: false}}" if stage["kept"] else f"- {name}.out"
            blocks.append(
                f"  {name}:\n    cmd: {stage['cmd']}\n{air}    deps: [{', '.join(stage['deps'])}]{air}"
                f"    params: [{', '.join(stage['params'])}]\n    outs:\n    {kind}\n"
            )
        project.write(
            {
                "dvc.yaml": "stages:\n" + air.join(blocks),
                "params.yaml": f"{params}\n",
                "step.py": STEP,
                ".gitignore": "".join(f"/{n}.out\n" for n, s in self.stages.items() if not s["kept"]),
                **self.texts,
            }
        )


def read(text: str) -> Any:
    return YAML(typ="safe").load(text)


def file(path: str, content: str) -> dict[str, Any]:
    return {
        "path": path,
        "hash": "md5",
        "md5": hashlib.md5(content.encode()).hexdigest(),
        "size": len(content.encode()),
    }


def run(project: Project) -> tuple[dict[str, Any], dict[str, str]]:
    """The entries of dvc.lock, and the outputs, that a run of the files in this folder gives."""
    stages, params = read(project.read("dvc.yaml"))["stages"], read(project.read("params.yaml"))
    there = {path: project.read(path) for path in project.git("ls-files", "--cached", "--others").split()}
    entries: dict[str, Any] = {}
    outs: dict[str, str] = {}
    made = {f"{name}.out" for name in stages}
    for _ in stages:  # often enough, in whatever order they stand
        for name, stage in stages.items():
            contents = [(outs if dep in made else there).get(dep) for dep in stage["deps"]]
            if None in contents or any(key not in params for key in stage["params"]):
                continue  # it cannot run: two sides put together what does not belong together
            text = stage["cmd"] + repr([params[key] for key in stage["params"]]) + repr(contents)
            outs[f"{name}.out"] = f"{int(hashlib.md5(text.encode()).hexdigest(), 16) % 4}\n"
            entries[name] = {
                "cmd": stage["cmd"],
                "deps": [
                    file(dep, str(content)) for dep, content in zip(stage["deps"], contents, strict=True)
                ],
                "params": {"params.yaml": {key: params[key] for key in stage["params"]}},
                "outs": [file(f"{name}.out", outs[f"{name}.out"])],
            }
    return entries, outs


def run_as_dvc_would(project: Project) -> None:
    entries, outs = run(project)
    with open(project.root / "dvc.lock", "w") as lock:
        YAML().dump({"schema": "2.0", "stages": entries}, lock)
    project.write(outs)


def entries_of(project: Project, revision: str | None = None) -> dict[str, Any]:
    text = project.git("show", f"{revision}:dvc.lock") if revision else project.read("dvc.lock")
    return read(text).get("stages") or {}


def git(project: Project, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["git", *arguments], cwd=project.root, capture_output=True, text=True)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def apart(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    isolate(monkeypatch, home)


def two_branches(folder: Path, seed: int, rerun: Any) -> tuple[Project, random.Random]:
    """A project whose branches `main` and `other` have gone their own ways; not every change was rerun."""
    project = Project(folder / "project")
    world = World(seed)
    draw = world.random
    world.write(project)
    rerun(project)
    project.check("merge", "--install")
    project.commit("base")
    for number, branch in enumerate(("other", "main")):
        if branch == "other":
            project.git("checkout", "-q", "-b", "other")
        else:
            project.git("checkout", "-q", "main")
            world = World(seed)  # the base again
            world.random = draw
        for _ in range(draw.randint(1, 3)):
            world.change(number)
        world.write(project)
        if draw.random() < 0.85:
            rerun(project)
        project.commit(branch)
    return project, draw


def combine(project: Project, draw: random.Random) -> list[str]:
    """Merge, rebase or cherry-pick; settle by hand what is in conflict besides dvc.lock and outputs.

    Returns the revisions whose dvc.lock went into it.
    """
    verb = draw.choice(("merge", "merge", "rebase", "cherry-pick"))
    revisions = [project.git("rev-parse", name) for name in ("main~1", "main", "other")]
    if verb == "rebase":
        project.git("checkout", "-q", "other")
    command = {"merge": ["merge", "--no-edit", "other"], "rebase": ["rebase", "main"]}
    done = git(project, *command.get(verb, ["cherry-pick", "other"]))
    assert "<<<<<<<" not in project.read("dvc.lock"), done.stdout + done.stderr
    if done.returncode:
        assert project.git("ls-files", "-u"), done.stdout + done.stderr
        for path in {line.split("\t")[1] for line in project.git("ls-files", "-u").splitlines()}:
            if not path.endswith((".out", "dvc.lock")):
                side = draw.choice(("--ours", "--theirs"))
                if git(project, "checkout", side, "--", path).returncode:  # that side has removed it
                    project.git("checkout", "--theirs" if side == "--ours" else "--ours", "--", path)
                project.git("add", "--", path)
        found = project.check("merge")
        assert found.exit_code == 0, found.output
        assert not project.git("ls-files", "-u")
        project.git("commit", "-q", "--no-edit", "--allow-empty", "-m", "settled")
    return revisions


def dropped_rightly(project: Project, revisions: list[str]) -> set[str]:
    """Hold the merged dvc.lock to what a run of the merged project gives; return the stages it lacks."""
    true, outs = run(project)
    merged = entries_of(project)
    known = [entries_of(project, revision) for revision in revisions]
    assert set(merged) <= set(true)
    missing = set(read(project.read("dvc.yaml"))["stages"]) - set(merged)
    for name, entry in true.items():
        if name in merged:
            assert merged[name] == entry, name
            continue
        there = any(entries.get(name) == entry for entries in known)
        above = any(dep.removesuffix(".out") in missing for dep in (d["path"] for d in entry["deps"]))
        path = project.root / f"{name}.out"
        kept = f"/{name}.out" not in project.read(".gitignore")
        torn = kept and (not path.exists() or path.read_text() != outs[f"{name}.out"])
        assert not there or above or torn, f"{name} was dropped for nothing"
    return missing


def lock_findings(project: Project) -> dict[str, str]:
    """What `lock` finds, by stage."""
    lines = project.check("lock").output.splitlines()[1:]
    return dict(line.strip().split(": ", 1) for line in lines if ": " in line and "note:" not in line)


def hold(folder: Path, seed: int) -> tuple[int, int]:
    project, draw = two_branches(folder, seed, run_as_dvc_would)
    revisions = combine(project, draw)
    base, *sides = (project.git("rev-parse", f"{revision}:dvc.lock") for revision in revisions)
    if base in sides or sides[0] == sides[1]:  # Git takes the one that changed, and asks nobody
        assert project.git("rev-parse", "HEAD:dvc.lock") in sides
        return 0, 0
    missing = dropped_rightly(project, revisions)
    found = lock_findings(project)
    if entries_of(project):
        assert set(found) == missing
        assert all(reason.startswith("is not in dvc.lock") for reason in found.values()), found
    return len(missing), len(entries_of(project))


@pytest.mark.parametrize("seed", [22, 33])
def test_random_pipelines_keep_what_is_true_and_nothing_else(tmp_path: Path, seed: int) -> None:
    hold(tmp_path, seed)


@pytest.mark.slow
def test_many_random_pipelines(tmp_path: Path) -> None:
    counts = [hold(tmp_path / str(seed), seed) for seed in range(1000, 1060)]
    assert sum(dropped for dropped, _ in counts) > 15  # there was something to decide
    assert sum(kept for _, kept in counts) > 50


@pytest.mark.parametrize("seed", [41])
def test_dvc_itself_reruns_exactly_what_was_dropped(tmp_path: Path, seed: int) -> None:
    project, draw = two_branches(tmp_path, seed, Project.repro)
    revisions = combine(project, draw)
    missing = dropped_rightly(project, revisions)
    assert missing and entries_of(project)  # these seeds drop something, and keep something
    with Repo(str(project.root)) as repo:
        repo.checkout(force=True, allow_missing=True)  # to the outputs of the entries that were kept
    rerun = set(project.repro())
    assert rerun == missing
    assert project.check("lock").exit_code == 0


# By hand, for what chance does not meet.

CHAIN = {
    "step.py": "",
    "params.yaml": "a: 1\n\n\n\nb: 1\n\n\n\nc: 1\n",
    "dvc.yaml": """stages:
  a: {cmd: python step.py a, deps: [step.py], params: [a], outs: [a.out]}
  b: {cmd: python step.py b, deps: [a.out, step.py], params: [b], outs: [b.out]}
  c: {cmd: python step.py c, deps: [step.py], params: [c], metrics: [c.json: {cache: false}]}
""",
}


def entry(project: Project, name: str, read: dict[str, str], wrote: dict[str, str]) -> dict[str, Any]:
    """What dvc.lock says of a stage of CHAIN that read and wrote these texts."""
    params = YAML(typ="safe").load(project.read("params.yaml"))
    return {
        "cmd": f"python step.py {name}",
        "deps": [file(path, text) for path, text in sorted({**read, "step.py": ""}.items())],
        "params": {"params.yaml": {name: params[name]}},
        "outs": [file(path, text) for path, text in wrote.items()],
    }


def ran(project: Project, a: str = "a", b: str = "b", c: str = "c") -> Project:
    """CHAIN after a run in which its stages wrote these texts."""
    stages = {
        "a": entry(project, "a", {}, {"a.out": a}),
        "b": entry(project, "b", {"a.out": a}, {"b.out": b}),
        "c": entry(project, "c", {}, {"c.json": c}),
    }
    with open(project.root / "dvc.lock", "w") as lock:
        YAML().dump({"schema": "2.0", "stages": stages}, lock)
    return project.write({"c.json": c})


@pytest.fixture
def chain(tmp_path: Path) -> Project:
    """CHAIN on the branch `main`, run once and with the driver in place, and a branch `other` at the same commit."""
    project = ran(Project(tmp_path / "project").write(CHAIN))
    assert project.check("merge", "--install").exit_code == 0
    project.commit("base")
    project.git("branch", "other")
    return project


def on(project: Project, branch: str, old: str, new: str, **wrote: str) -> None:
    """On a branch, change params.yaml, run, commit."""
    project.git("checkout", "-q", branch)
    project.replace("params.yaml", old, new)
    ran(project, **wrote).commit(f"{new} on {branch}")


def test_without_the_driver_git_leaves_markers_and_one_command_settles_them(chain: Project) -> None:
    on(chain, "other", "c: 1", "c: 2", c="other")
    on(chain, "main", "c: 1", "c: 3", c="main")
    chain.git("config", "--remove-section", "merge.dvc-lock")
    assert git(chain, "merge", "other").returncode == 1
    assert "<<<<<<<" in chain.read("dvc.lock")
    before = chain.read("dvc.lock")
    found = chain.check("merge")
    assert found.exit_code == 1
    assert "params.yaml: in conflict; settle that first" in found.output
    assert chain.read("dvc.lock") == before  # nothing is lost while it has to wait
    chain.git("checkout", "--theirs", "params.yaml")
    chain.git("add", "params.yaml")
    found = chain.check("merge")
    assert found.output.splitlines() == [
        "merge: dvc.lock: 2 from both, 1 from theirs",
        "  settled with their stages: c.json",
    ]
    assert chain.read("c.json") == "other"
    assert not chain.git("ls-files", "-u")
    assert chain.check("lock").exit_code == 0
    assert chain.check("merge").output == "merge: no dvc.lock is in conflict\n"


def test_the_driver_waits_when_parameters_are_in_conflict(chain: Project) -> None:
    on(chain, "other", "c: 1", "c: 2", c="other")
    on(chain, "main", "c: 1", "c: 3", c="main")
    ours = chain.read("dvc.lock")
    merged = git(chain, "merge", "other")
    assert merged.returncode == 1
    assert "settle that first" in merged.stderr
    assert chain.read("dvc.lock") == ours
    assert "dvc.lock" in chain.git("ls-files", "-u")
    chain.write({"params.yaml": CHAIN["params.yaml"].replace("c: 1", "c: 4")})
    chain.git("add", "params.yaml")
    found = chain.check("merge")
    assert found.exit_code == 0
    assert "dropped   c   parameter c was 3 when the stage ran, is 4 now" in found.output
    assert set(entries_of(chain)) == {"a", "b"}


def test_a_change_above_drops_what_is_below(chain: Project) -> None:
    on(chain, "other", "a: 1", "a: 2", a="A", b="B")
    on(chain, "main", "b: 1", "b: 2", b="beta")
    merged = git(chain, "merge", "--no-edit", "other")
    assert merged.returncode == 0, merged.stderr
    assert "merge: dvc.lock: 1 from both, 1 from theirs; `dvc repro` reruns 1 stage" in merged.stdout
    assert set(entries_of(chain)) == {"a", "c"}
    assert entries_of(chain)["a"]["outs"][0]["md5"] == hashlib.md5(b"A").hexdigest()
    assert list(lock_findings(chain)) == ["b"]


def test_a_change_above_that_changed_no_output_drops_nothing(chain: Project) -> None:
    on(chain, "other", "a: 1", "a: 2")
    on(chain, "main", "b: 1", "b: 2", b="beta")
    assert git(chain, "merge", "--no-edit", "other").returncode == 0
    assert set(entries_of(chain)) == {"a", "b", "c"}
    assert chain.check("lock").exit_code == 0


def test_of_two_runs_that_differ_by_chance_ours_stays_with_what_was_made_of_it(chain: Project) -> None:
    on(chain, "other", "c: 1", "c: 1\n\n\nd: 1", a="by chance", b="from it")
    on(chain, "main", "a: 1", "x: 1\na: 1", a="by another chance", b="from that")
    assert git(chain, "merge", "--no-edit", "other").returncode == 0
    assert entries_of(chain) == entries_of(chain, "main~1")
    assert chain.check("lock").exit_code == 0


@pytest.mark.parametrize("verb", ["revert", "stash", "rebase"])
def test_other_verbs_of_git(chain: Project, verb: str) -> None:
    on(chain, "main", "a: 1", "a: 2", a="A", b="B")
    if verb == "stash":
        on(chain, "main", "b: 1", "b: 2", a="A", b="beta")
        chain.git("reset", "-q", "--soft", "HEAD~1")
        chain.git("stash")
        on(chain, "main", "c: 1", "c: 2", a="A", b="B", c="C")
        done = git(chain, "stash", "pop")
    elif verb == "revert":
        on(chain, "main", "c: 1", "c: 2", a="A", b="B", c="C")
        done = git(chain, "revert", "--no-edit", "HEAD~1")
    else:
        on(chain, "other", "c: 1", "c: 2", c="C")
        done = git(chain, "rebase", "main")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "merge: dvc.lock: " in done.stdout + done.stderr
    assert set(entries_of(chain)) == {"a", "b", "c"}
    chain.git("add", "--all")
    assert chain.check("lock").exit_code == 0


def test_install_says_it_once(chain: Project) -> None:
    chain.write({".gitattributes": "*.png binary"})
    assert ".gitattributes" in chain.check("merge", "--install").output
    assert ".gitattributes" not in chain.check("merge", "--install").output
    assert chain.read(".gitattributes") == "*.png binary\ndvc.lock merge=dvc-lock\n"
    assert chain.git("check-attr", "merge", "recipes/dvc.lock").endswith("merge: dvc-lock")


def test_three_files_by_hand(chain: Project, tmp_path: Path) -> None:
    base = chain.read("dvc.lock")
    on(chain, "other", "a: 1", "a: 2", a="A", b="B")
    theirs = chain.read("dvc.lock")
    for name, text in (("base", base), ("ours", base), ("theirs", theirs), ("torn", "<<<<<<< ours\n")):
        (tmp_path / name).write_text(text)
    names = [str(tmp_path / name) for name in ("base", "ours", "theirs")]
    found = chain.check("merge", *names)
    assert (found.exit_code, found.output) == (0, "merge: dvc.lock: 1 from both, 2 from theirs\n")
    assert read((tmp_path / "ours").read_text()) == read(theirs)
    found = chain.check("merge", names[0], names[1], str(tmp_path / "torn"))
    assert found.exit_code == 2
    assert "torn is not a whole dvc.lock" in found.output
    assert chain.check("merge", *names[:2]).exit_code == 2


def test_the_lock_files_of_several_pipelines_are_merged_together(chain: Project) -> None:
    chain.git("checkout", "-q", "main")
    lower = "stages:\n  d: {cmd: python ../step.py d, deps: [../a.out], outs: [d.out]}\n"
    lower += (
        "  e: {cmd: python ../step.py e, deps: [../step.py], params: [../params.yaml: [c]], outs: [e.out]}\n"
    )
    chain.write({"sub/dvc.yaml": lower})

    def run_below(a: str, c: int, e: str) -> None:
        stages = {
            "d": {
                "cmd": "python ../step.py d",
                "deps": [file("../a.out", a)],
                "outs": [file("d.out", f"d{a}")],
            },
            "e": {
                "cmd": "python ../step.py e",
                "deps": [file("../step.py", "")],
                "params": {"../params.yaml": {"c": c}},
                "outs": [file("e.out", e)],
            },
        }
        with open(chain.root / "sub" / "dvc.lock", "w") as lock:
            YAML().dump({"schema": "2.0", "stages": stages}, lock)

    run_below("a", 1, "e")
    chain.commit("below")
    chain.git("branch", "-f", "other")
    chain.git("checkout", "-q", "other")
    chain.replace("params.yaml", "a: 1", "a: 2")
    run_below("A", 1, "e")
    ran(chain, a="A", b="B").commit("other")
    chain.git("checkout", "-q", "main")
    chain.replace("params.yaml", "c: 1", "c: 5")
    run_below("a", 5, "E")
    ran(chain, c="C").commit("main")
    merged = git(chain, "merge", "--no-edit", "other")
    assert merged.returncode == 0, merged.stderr
    assert "merge: sub/dvc.lock: 1 from ours, 1 from theirs" in merged.stdout
    assert chain.check("lock").exit_code == 0
    assert "d" in read(chain.read("sub/dvc.lock"))["stages"]


FOLDER = """stages:
  a: {cmd: python step.py a, deps: [step.py], params: [a], outs: [data/a]}
  b: {cmd: python step.py b, deps: [step.py], params: [b], outs: [data/b]}
  c: {cmd: python step.py c, deps: [data, step.py], outs: [c.out]}
"""


def test_a_folder_of_several_outputs_is_known_only_from_a_version_that_has_them_all(tmp_path: Path) -> None:
    project = Project(tmp_path / "project").write({**CHAIN, "dvc.yaml": FOLDER})

    def run_folder(a: str, b: str, folder: str) -> None:
        stages = {
            "a": entry(project, "a", {}, {"data/a": a}),
            "b": entry(project, "b", {}, {"data/b": b}),
            "c": {
                "cmd": "python step.py c",
                "deps": [
                    {**file("data", folder), "md5": f"{file('data', folder)['md5']}.dir"},
                    file("step.py", ""),
                ],
                "outs": [file("c.out", folder)],
            },
        }
        with open(project.root / "dvc.lock", "w") as lock:
            YAML().dump({"schema": "2.0", "stages": stages}, lock)

    run_folder("a", "b", "ab")
    project.check("merge", "--install")
    project.commit("base")
    project.git("checkout", "-q", "-b", "other")
    project.replace("params.yaml", "a: 1", "a: 2")
    run_folder("A", "b", "Ab")
    project.commit("other")
    project.git("checkout", "-q", "main")
    project.replace("params.yaml", "b: 1", "b: 2")
    run_folder("a", "b", "ab")  # another parameter, the same output
    project.commit("main")
    assert git(project, "merge", "--no-edit", "other").returncode == 0
    assert (
        entries_of(project)["c"] == entries_of(project, "other")["c"]
    )  # a is theirs, b is the same: so is data
    project.git("reset", "-q", "--hard", "HEAD~1")
    run_folder("a", "B", "aB")
    project.commit("main")
    merged = git(project, "merge", "--no-edit", "other")
    assert set(entries_of(project)) == {"a", "b"}
    assert "dropped   c   dependency data cannot be compared with what a wrote" in merged.stdout
