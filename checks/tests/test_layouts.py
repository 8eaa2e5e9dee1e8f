"""The checks hold on the layouts of public DVC projects: their dvc.yaml's structure, with stub scripts of our own.

iterative/example-get-started: scripts in src/ that take paths as arguments, keys of params.yaml one by one, data
from a .dvc file, metrics and plots kept by Git. iterative/example-get-started-experiments: top-level params,
metrics, plots and artifacts, a section shared by stages, params.yaml turned into an object as a whole, a stage
without Python. And the templating of DVC's documentation: foreach over a dictionary, vars from another file.
"""

import json
import textwrap
from pathlib import Path

import pytest
from dvc.repo import Repo
from small_dvc import Project, isolate

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc")

GET_STARTED = {
    "src/common.py": """
        import yaml
        def section(name):
            with open("params.yaml") as file:
                return yaml.safe_load(file)[name]
        """,
    "src/prepare.py": """
        import pathlib, sys
        from common import section
        mine = section("prepare")
        text = pathlib.Path(sys.argv[1]).read_text()
        cut = int(len(text) * mine["split"])
        out = pathlib.Path("data/prepared")
        out.mkdir(parents=True, exist_ok=True)
        (out / "train.tsv").write_text(text[cut:] + str(mine["seed"]))
        (out / "test.tsv").write_text(text[:cut])
        """,
    "src/featurization.py": """
        import pathlib, sys
        from common import section
        mine = section("featurize")
        width = mine["max_features"] * mine["ngrams"]
        source, out = map(pathlib.Path, sys.argv[1:])
        out.mkdir(parents=True, exist_ok=True)
        for file in source.iterdir():
            (out / (file.stem + ".pkl")).write_text(file.read_text()[:width])
        """,
    "src/train.py": """
        import pathlib, sys
        from common import section
        mine = section("train")
        features = (pathlib.Path(sys.argv[1]) / "train.pkl").read_text()
        pathlib.Path(sys.argv[2]).write_text(f"{features}{mine['seed']}{mine['n_est']}{mine['min_split']}")
        """,
    "src/evaluate.py": """
        import json, pathlib, sys
        model, features = map(pathlib.Path, sys.argv[1:])
        size = len(model.read_text()) + len((features / "test.pkl").read_text())
        live = pathlib.Path("eval/live")
        live.mkdir(parents=True, exist_ok=True)
        (live / "metrics.json").write_text(json.dumps({"avg_prec": {"test": size / 100}}))
        prc = pathlib.Path("eval/prc")
        prc.mkdir(parents=True, exist_ok=True)
        (prc / "test.json").write_text("[]")
        """,
    "params.yaml": """
        prepare:
          split: 0.20
          seed: 20170428
        featurize:
          max_features: 200
          ngrams: 2
        train:
          seed: 20170428
          n_est: 50
          min_split: 0.01
        """,
    "dvc.yaml": """
        artifacts:
          text-classification:
            path: model.pkl
            type: model
        stages:
          prepare:
            cmd: python src/prepare.py data/data.xml
            deps:
            - data/data.xml
            - src/common.py
            - src/prepare.py
            params:
            - prepare.seed
            - prepare.split
            outs:
            - data/prepared
          featurize:
            cmd: python src/featurization.py data/prepared data/features
            deps:
            - data/prepared
            - src/common.py
            - src/featurization.py
            params:
            - featurize.max_features
            - featurize.ngrams
            outs:
            - data/features
          train:
            cmd: python src/train.py data/features model.pkl
            deps:
            - data/features
            - src/common.py
            - src/train.py
            params:
            - train.min_split
            - train.n_est
            - train.seed
            outs:
            - model.pkl
          evaluate:
            cmd: python src/evaluate.py model.pkl data/features
            deps:
            - data/features
            - model.pkl
            - src/evaluate.py
            metrics:
            - eval/live/metrics.json:
                cache: false
            plots:
            - eval/prc:
                cache: false
                x: recall
                y: precision
        """,
}

EXPERIMENTS = {
    "src/box.py": """
        class Box(dict):
            def __init__(self, values):
                super().__init__((k, Box(v) if isinstance(v, dict) else v) for k, v in values.items())
            __getattr__ = dict.__getitem__
        """,
    "src/data_split.py": """
        import pathlib, yaml
        from box import Box
        params = Box(yaml.safe_load(open("params.yaml")))
        rows = sorted(pathlib.Path("data/pool_data").iterdir())
        for name in ("test_data", "train_data"):
            out = pathlib.Path("data", name)
            out.mkdir()
            for row in rows:
                if row.stem.startswith(tuple(params.data_split.test_regions)) == (name == "test_data"):
                    (out / row.name).write_text(row.read_text() + str(params.base.random_seed))
        """,
    "src/train.py": """
        import json, pathlib, yaml
        from box import Box
        params = Box(yaml.safe_load(open("params.yaml")))
        text = "".join(f.read_text() for f in sorted(pathlib.Path("data/train_data").iterdir()))
        pathlib.Path("models").mkdir(exist_ok=True)
        for name in ("model.pkl", "model.pth"):
            pathlib.Path("models", name).write_text(text * params.train.fine_tune_args.epochs)
        results = pathlib.Path("results/train")
        results.mkdir(parents=True)
        (results / "params.yaml").write_text(f"seed: {params.base.random_seed}\\n")
        (results / "metrics.json").write_text(json.dumps({"train": {"loss": 1 / len(text)}}))
        """,
    "src/evaluate.py": """
        import json, pathlib, yaml
        from box import Box
        params = Box(yaml.safe_load(open("params.yaml")))
        model = pathlib.Path("models/model.pkl").read_text()
        test = [f.read_text() for f in sorted(pathlib.Path("data/test_data").iterdir())]
        out = pathlib.Path("results/evaluate")
        out.mkdir(parents=True)
        found = {"dice_multi": len(model) / 1000, "n": test[: params.evaluate.n_samples_to_save]}
        (out / "metrics.json").write_text(json.dumps([found, params.base.random_seed][0]))
        """,
    "params.yaml": """
        base:
          random_seed: 42
        data_split:
          test_regions:
          - REGION_1
        train:
          arch: shufflenet
          fine_tune_args:
            epochs: 8
            base_lr: 0.01
        evaluate:
          n_samples_to_save: 10
        """,
    "sagemaker/code/inference.py": "",
    "dvc.yaml": """
        params:
        - results/train/params.yaml
        metrics:
        - results/train/metrics.json
        - results/evaluate/metrics.json
        plots:
        - results/train/plots/metrics:
            x: step
        - results/evaluate/plots/images
        artifacts:
          pool-segmentation:
            path: models/model.pkl
            type: model
        stages:
          data_split:
            cmd: python src/data_split.py
            deps:
            - data/pool_data
            - src/data_split.py
            params:
            - base
            - data_split
            outs:
            - data/test_data
            - data/train_data
          train:
            cmd: python src/train.py
            deps:
            - data/train_data
            - src/train.py
            params:
            - base
            - train
            outs:
            - models/model.pkl
            - models/model.pth
            - results/train
          evaluate:
            cmd: python src/evaluate.py
            deps:
            - data/test_data
            - models/model.pkl
            - src/evaluate.py
            params:
            - base
            - evaluate
            outs:
            - results/evaluate
          sagemaker:
            cmd: cp models/model.pth sagemaker/code/model.pth && cd sagemaker && tar -cf
              model.tar.gz code/ && cd .. && mv sagemaker/model.tar.gz .  && rm sagemaker/code/model.pth
            deps:
            - models/model.pth
            outs:
            - model.tar.gz
        """,
}


def build(folder: Path, files: dict[str, str]) -> Project:
    project = Project(folder / "project")
    return project.write({name: textwrap.dedent(text).lstrip() for name, text in files.items()})


def add(project: Project, path: str) -> None:
    with Repo(str(project.root)) as repo:
        repo.add([str(project.root / path)])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def apart(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    isolate(monkeypatch, home)


@pytest.fixture(scope="module")
def get_started(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Project:
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, home)
        project = build(tmp_path_factory.mktemp("started"), GET_STARTED)
        project.write({"data/data.xml": "<row/>" * 100})
        add(project, "data/data.xml")
        project.repro()
        project.commit()
    return project


def test_get_started_passes_every_check(get_started: Project) -> None:
    assert get_started.check("deps").exit_code == 0
    assert get_started.check("lock").output == "lock: dvc.lock is true for 4 stages\n"
    found = get_started.check("effects", "--run")
    assert found.exit_code == 0, found.output
    found = get_started.check("all")
    assert found.exit_code == 0
    assert found.output.splitlines()[-1] == "dvc-checks: all is well"


def test_get_started_says_what_each_parameter_reruns(get_started: Project) -> None:
    effects = json.loads(get_started.check("effects", "--json").output)["effects"]
    reruns = {effect["key"]: [*effect["direct"], *effect["after"]] for effect in effects}
    assert reruns["prepare.seed"] == ["prepare", "featurize", "train", "evaluate"]
    assert reruns["featurize.ngrams"] == ["featurize", "train", "evaluate"]
    assert reruns["train.min_split"] == ["train", "evaluate"]
    assert len(reruns) == 7


def test_get_started_with_defects_fails(get_started: Project, tmp_path: Path) -> None:
    get_started.git("clone", "--quiet", ".", str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone")
    text = clone.read("dvc.yaml").replace("    - src/common.py\n", "", 1).replace("    - train.n_est\n", "")
    clone.write({"dvc.yaml": text})
    found = clone.check("all")
    assert found.exit_code == 1
    assert "missing   src/common.py   imported at src/prepare.py:2" in found.output
    assert "params.yaml: train.n_est reruns no stage" in found.output
    assert "prepare: dependency src/common.py is in dvc.lock, but not in dvc.yaml" in found.output
    assert found.output.splitlines()[-1] == "dvc-checks: something was found by deps, effects, lock"


def test_experiments_lists_only_the_scripts_and_fix_adds_what_they_import(tmp_path: Path) -> None:
    project = build(tmp_path, EXPERIMENTS)
    project.write({f"data/pool_data/REGION_{number}.txt": f"pool {number}" for number in range(4)})
    add(project, "data/pool_data")
    project.commit()
    found = project.check("deps")
    assert found.exit_code == 1
    assert found.output.count("missing   src/box.py") == 3
    assert project.check("deps", "--fix").exit_code == 0
    project.repro()
    project.commit()
    assert project.check("deps").exit_code == 0
    assert project.check("lock").exit_code == 0

    found = project.check("effects", "--run", "--stage", "data_split")
    assert found.exit_code == 0, (
        found.output
    )  # params.yaml is read whole, but only the declared sections matter
    project.replace("dvc.yaml", "    - base\n    - data_split\n", "    - data_split\n")
    found = project.check("effects", "--run", "--stage", "data_split")
    assert found.exit_code == 1
    assert (
        "data_split: needs keys of params.yaml that it does not declare; without them: KeyError: 'base'"
        in found.output
    )


def test_templates_of_the_documentation(tmp_path: Path) -> None:
    project = build(
        tmp_path,
        {
            "train.py": "import model, sys\nopen(sys.argv[2], 'w').write(sys.argv[1])\n",
            "model.py": "",
            "params.yaml": "models:\n  us:\n    threshold: 10\n  gb:\n    threshold: 15\n",
            "config/my.json": '{"desc": "text", "sizes": [1, 2]}',
            "dvc.yaml": """
                vars:
                  - config/my.json
                  - folder: out
                stages:
                  build:
                    foreach: ${models}
                    do:
                      desc: ${desc}
                      cmd: python train.py ${item.threshold} ${folder}-${key}.txt
                      deps: [model.py, train.py]
                      outs: ['${folder}-${key}.txt']
                  grid:
                    matrix:
                      size: ${sizes}
                      kind: [a, b]
                    cmd: >-
                      python train.py
                      ${item.size} grid-${item.kind}-${item.size}.txt
                    deps:
                      - train.py
                    outs:
                      - grid-${item.kind}-${item.size}.txt
                """,
        },
    )
    found = project.check("deps")
    assert found.exit_code == 1
    assert (
        found.output.count("missing   model.py") == 4
    )  # grid@1-a and its like; build@us and build@gb are right
    assert project.check("deps", "--fix").exit_code == 0
    effects = json.loads(project.check("effects", "--json").output)["effects"]
    direct = {effect["key"]: effect["direct"] for effect in effects}
    assert direct["models.us.threshold"] == ["build@us"]
    shapes = {effect["key"]: effect["shapes"] for effect in effects}
    assert shapes["sizes"] == ["grid@*"]


INSIDE = {
    "code/shared.py": "def double(text):\n    return text + text\n",
    "code/main.py": """
        import sys
        from pathlib import Path
        sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
        import yaml
        from code_of_ours.names import NAME
        from shared import double
        times = yaml.safe_load(open("params.yaml"))["main"]["times"]
        Path("out.txt").write_text(double(NAME) * times)
        """,
    "code_of_ours/__init__.py": "",
    "code_of_ours/names.py": "NAME = 'x'\n",
    "inner/one/params.yaml": "main: {times: 2}\n",
    "inner/one/.gitignore": "out.txt\n",
    "inner/dvc.yaml": """
        stages:
          main:
            wdir: one
            cmd: python ../../code/main.py
            deps:
              - ../../code/main.py
              - ../../code/shared.py
              - ../../code_of_ours/__init__.py
            params: [main]
            outs: [out.txt]
        """,
    "inner/.dvc/config": "[core]\n    analytics = false\n",
    "inner/.dvc/.gitignore": "/config.local\n/tmp\n/cache\n",
    "inner/.dvcignore": "",
}


def test_a_project_in_a_folder_of_a_repository_runs_the_code_around_it(tmp_path: Path) -> None:
    """As `dvc init --subdir` makes it: the checks follow imports out of the project, within the repository."""
    build(tmp_path, INSIDE)
    inner = Project(tmp_path / "project" / "inner")
    found = inner.check("deps", "--fix")
    assert "1 added" in found.output, found.output
    assert "- ../../code_of_ours/names.py" in inner.read("dvc.yaml")
    assert inner.check("deps").exit_code == 0
    inner.repro()
    inner.commit()
    assert inner.check("lock").exit_code == 0
    assert inner.check("effects", "--run").exit_code == 0
    assert inner.check("reproduce").exit_code == 0

    inner.replace("../code_of_ours/names.py", "'x'", "'y'")
    found = inner.check("lock")
    assert found.exit_code == 1 and "dependency ../code_of_ours/names.py has changed" in found.output
    inner.replace("dvc.yaml", "      - ../../code/shared.py\n", "")
    found = inner.check("effects", "--run")
    assert found.exit_code == 1 and "opens ../code/shared.py, which it declares nowhere" in found.output
