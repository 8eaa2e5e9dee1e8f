"""On a project of 500 stages and 2,000 Python files no check makes anybody wait, and none takes much memory."""

import hashlib
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from small_dvc import Project, isolate

STAGES, MODULES = 500, 1500  # and a script for each stage
PARAMS = 4  # of each stage


def md5(content: str) -> str:
    return hashlib.md5(content.encode()).hexdigest()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Stage n runs its script, which imports three modules, which import others of their package in turn."""
    folder = tmp_path_factory.mktemp("speed")
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, folder / "home")
        project = Project(folder / "project")
        files = {f"lib/p{p}/__init__.py": "" for p in range(MODULES // 10)} | {"lib/__init__.py": ""}
        for number in range(MODULES):
            package, module = divmod(number, 10)
            below = (
                f"from lib.p{package}.m{module + 1} import value\n" if module % 3 != 2 and module < 9 else ""
            )
            body = "".join(f"def f{i}(x):\n    return [x * {i} for _ in range({i})]\n\n" for i in range(20))
            files[f"lib/p{package}/m{module}.py"] = f"import json\nimport os\n{below}value = {number}\n{body}"
        stages, locked = ["stages:\n"], ["schema: '2.0'\nstages:\n"]
        params = []
        for n in range(STAGES):
            packages = [(n + step) % (MODULES // 10) for step in range(3)]
            files[f"scripts/s{n}.py"] = "".join(f"import lib.p{p}.m{3 * k}\n" for k, p in enumerate(packages))
            code = [f"scripts/s{n}.py", "lib/__init__.py"]
            code += [f"lib/p{p}/__init__.py" for p in packages]
            code += [f"lib/p{p}/m{3 * k + d}.py" for k, p in enumerate(packages) for d in range(3)]
            deps = sorted(code) + ([f"out/{n - 1}"] if n % 20 else [])
            params.append(f"s{n}:\n" + "".join(f"  k{i}: {i}\n" for i in range(PARAMS)))
            stages.append(
                f"  s{n}:\n    cmd: python scripts/s{n}.py\n    deps:\n"
                + "".join(f"      - {dep}\n" for dep in deps)
                + f"    params:\n      - s{n}\n    outs:\n      - out/{n}\n"
            )
            locked.append(f"  s{n}:\n    cmd: python scripts/s{n}.py\n    deps:\n")
            for dep in deps:
                content = files.get(dep, f"out {n - 1}")
                locked.append(
                    f"    - path: {dep}\n      hash: md5\n      md5: {md5(content)}\n      size: {len(content)}\n"
                )
            locked.append(
                f"    params:\n      params.yaml:\n        s{n}:\n"
                + "".join(f"          k{i}: {i}\n" for i in range(PARAMS))
            )
            locked.append(
                f"    outs:\n    - path: out/{n}\n      hash: md5\n      md5: {md5(f'out {n}')}\n      size: 5\n"
            )
        project.write(files)
        project.write(
            {"dvc.yaml": "".join(stages), "dvc.lock": "".join(locked), "params.yaml": "".join(params)}
        )
        project.commit()
    return project


def processor_seconds() -> float:
    """What the children that have ended took."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(project: Project, *arguments: str) -> tuple[str, float, float]:
    """Run a command; what it says, its seconds of processor time, and its peak of memory in MB."""
    code = (
        "import resource, sys\nfrom dvc_checks.__main__ import main\n"
        "try:\n    main(sys.argv[1:], prog_name='dvc-checks')\n"
        "finally:\n    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)\n"
    )
    before = processor_seconds()
    done = subprocess.run(
        [sys.executable, "-c", code, "-C", str(project.root), *arguments], capture_output=True, text=True
    )
    seconds = processor_seconds() - before
    assert done.returncode == 0, done.stdout[:500] + done.stderr
    return done.stdout, seconds, int(done.stderr.split()[-1]) / 1024


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "said", "limit"),
    [
        ("deps", "deps: every stage lists exactly the code it imports (500 stages)\n", 5),
        ("effects", "effects: 2,000 parameters, 500 stages: each parameter reruns a stage\n", 5),
        ("lock", "lock: dvc.lock is true for 500 stages\n", 10),
    ],
)
def test_a_large_project_is_quick(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str, said: str, limit: float
) -> None:
    isolate(monkeypatch, tmp_path / "home")
    output, seconds, megabytes = run(project, command)  # a first run, in a clone without any of DVC's caches
    print(f"\n{command}: {seconds:.1f} s, {megabytes:.0f} MB")
    assert output.startswith(said)
    assert seconds < limit
    assert megabytes < 400


def test_help_is_there_at_once() -> None:
    """Processor time, and the best of five: on a busy machine both may be more, but never less."""
    best = 60.0
    for _ in range(5):
        before = processor_seconds()
        done = subprocess.run([sys.executable, "-m", "dvc_checks", "--help"], capture_output=True, text=True)
        best = min(best, processor_seconds() - before)
    assert done.stdout.startswith("Usage: dvc-checks")
    assert best < 0.3
