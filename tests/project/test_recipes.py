"""The recipes: what is committed, the core beside the notebooks' loops, and a new recipe by the real DVC."""

import functools
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dvc_project import ROOT, Project, ran
from ruamel.yaml import YAML

from mnistcore.errors import InputError
from mnistcore.network.network import Network
from mnistcore.training import run
from mnistcore.training.settings import Examples
from recipes import notebook_loops, results, table
from stages.parameters import read_section
from stages.train_section import Train

RECIPES = ROOT / "recipes"
PUBLISHED = {  # each experiment, and from what mean test accuracy on it counts as reproduced
    "mnist1000-replay": 0.718,
    "mnist1000-plain": 0.83,
    "mnist1000-dropout": 0.84,
    "mnist1000-batch": 0.87,
    "mnist1000-softmax": 0.862,
    "mnist-relu256": 0.981,
    "mnist-sigmoid100": 0.958,
    "mnist-sigmoid100-scaled": 0.978,
    "digits-relu200": 0.972,
    "mnist-sigmoid20": 0.938,
    "mnist-sigmoid20-frozen": 0.59,
}


def read_yaml(path: Path):
    return YAML(typ="safe").load(path)


# What is committed

with_results = pytest.mark.skipif(
    not (RECIPES / "dvc.lock").exists(),
    reason="no results of the recipes are committed; `make recipes` makes them",
)


def test_every_published_experiment_is_a_recipe_and_every_folder_is_listed():
    assert set(results.names()) == set(PUBLISHED)
    assert set(results.names()) == {path.parent.name for path in RECIPES.glob("*/params.yaml")}


@with_results
@pytest.mark.parametrize("name", PUBLISHED)
def test_reaches_its_figure_as_a_mean_over_its_seeds(name):
    found = results.load(name)
    trained = read_yaml(RECIPES / name / "params.yaml")["train"]["seeds"]
    assert trained == ([1] if name == "mnist1000-replay" else [0, 1, 2])
    assert len(found.accuracies) == len(trained)
    assert np.mean(found.accuracies) >= PUBLISHED[name]
    assert found.reached
    if name == "mnist-sigmoid20-frozen":
        assert np.mean(found.accuracies) <= 0.63


@with_results
def test_the_replay_is_the_printed_table_digit_for_digit():
    assert table.replay(results.load("mnist1000-replay")) == {
        "error": ["0.722", "0.204", "0.167", "0.145", "0.130", "0.120", "0.113", "0.614"],
        "accuracy": ["0.537", "0.966", "0.984", "0.991", "0.998", "0.999", "0.999", "0.718"],
    }


@with_results
def test_readme_is_what_the_committed_figures_make_it():
    page = (RECIPES / "README.md").read_text(encoding="utf-8")
    assert page == table.readme([results.load(name) for name in results.names()])
    pictures = {path.stem for path in (RECIPES / "pictures").glob("*.png")}
    assert pictures == {*results.names(), "all"}
    assert all(f"(pictures/{picture}.png)" in page for picture in pictures)


def test_stages_are_those_of_the_root_pipeline_and_depend_on_the_same_code():
    root, here = (read_yaml(folder / "dvc.yaml")["stages"] for folder in (ROOT, RECIPES))
    assert list(here) == list(root)
    for name, stage in here.items():
        code = ("mnistcore/", "stages/")
        assert set(stage["deps"]) == {
            f"../../{dep}" if dep.startswith(code) else dep for dep in root[name]["deps"]
        }
        assert stage["cmd"] == root[name]["cmd"].replace("stages/", "../../stages/")
        assert [
            {"libraries.yaml": one["../libraries.yaml"]} if isinstance(one, dict) else one
            for one in stage["params"]
        ] == root[name]["params"]


# The core beside the notebooks' loops


class Scripted:
    """In place of RandomState: gives the loops these weights, in the order they ask, and shuffles nothing."""

    def __init__(self, weights):
        self.weights = list(weights)

    def normal(self, *_):
        return self.weights.pop(0).copy()

    def standard_normal(self, *_):
        return self.weights.pop(0).copy()

    def uniform(self, *_):
        return self.weights.pop(0).copy()

    def random_sample(self, shape):
        return np.zeros(shape)

    def permutation(self, count):
        return np.arange(count)


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
@pytest.mark.parametrize(
    "name",
    ["digits-relu200", "mnist-sigmoid20", "mnist-sigmoid20-frozen", "mnist-sigmoid100", "mnist-relu256"],
)
def test_the_core_takes_the_steps_of_the_notebooks_loop(name, monkeypatch):
    """Three epochs from the same weights in the same order end in the same outputs, to float64 rounding."""
    monkeypatch.chdir(RECIPES / name)
    section = read_section("train", Train)
    random = np.random.default_rng(0)
    images, labels = random.random((200, 64)) * (random.random((200, 64)) < 0.3), random.integers(0, 10, 200)
    layers = [replace(layer, drop_rate=0.0) for layer in section.layers]
    network = Network(64, layers, section.loss, "float64").initialize(np.random.default_rng(1))
    weights = [layer.weights.copy() for layer in network.layers]
    biases = [layer.biases[None].copy() for layer in network.layers if layer.biases is not None]
    size = read_yaml(Path("params.yaml"))["batch"]["batch_size"]

    how = replace(section.how, epochs=3, shuffle=False, stopping=None)
    section = replace(section, how=how, precision="float64")
    history = run.train(network, Examples(images, labels), section.settings(size, "keep", (8, 8)), workers=1)
    loop = notebook_loops.LOOPS[name]
    if name == "mnist-relu256":  # the core draws its masks from a stream of its own
        loop = functools.partial(loop, keep=1.0)
    loop = loop(images, np.eye(10)[labels], Scripted([*weights, *biases]))
    for epoch in history:
        _, accuracy, predict = next(loop)
        if name != "mnist-relu256":  # its loop tells the accuracy after the epoch, without dropout
            assert accuracy == epoch.train_accuracy
    np.testing.assert_allclose(network.probabilities(images), predict(images), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["mnist1000-replay", "mnist1000-plain"])
def test_the_core_replays_a_randomstate(name, monkeypatch):
    """From the same RandomState the core's weights are the loop's, and so is every epoch that follows."""
    monkeypatch.chdir(RECIPES / name)
    section = read_section("train", Train)
    random = np.random.default_rng(0)
    images, labels = (
        random.random((100, 784)) * (random.random((100, 784)) < 0.2),
        random.integers(0, 10, 100),
    )
    section = replace(section, how=replace(section.how, epochs=3), precision="float64")
    network = Network(784, section.layers, section.loss, "float64").initialize(np.random.RandomState(1))
    history = run.train(network, Examples(images, labels), section.settings(1, "keep", (28, 28)), workers=1)
    loop = notebook_loops.LOOPS[name](images, np.eye(10)[labels], np.random.RandomState(1))
    for epoch, (error, accuracy, _) in zip(history, loop, strict=False):
        assert 2 * epoch.train_loss == pytest.approx(error, rel=1e-12)
        assert epoch.train_accuracy == accuracy


# What comes with a recipe of a stranger's


@pytest.fixture
def story(tmp_path, monkeypatch):
    """Write a recipe's about.yaml into a copy of its folder, and make the page's story of it."""
    shutil.copytree(RECIPES / "mnist1000-plain", tmp_path / "mnist1000-plain")
    monkeypatch.setattr(results, "HERE", tmp_path)

    def write(about: str) -> str:
        (tmp_path / "mnist1000-plain" / "about.yaml").write_text(about, "utf-8")
        result = results.load("mnist1000-plain")
        return table.readme([result])

    return write


@pytest.mark.fault(
    "Security",
    "a recipe's about.yaml with `{NAME.__class__…}`, `{0, 1}`, or other braces that `str.format` would heed",
    "they stand on the page as they were written",
)
@pytest.mark.parametrize(
    "text",
    [
        "{mnist1000-plain.__class__.__init__.__globals__[os].environ[SECRET]}",
        "{mnist1000-plain.result.__init__}",
        "{mnist1000-plain!r}",
        "{mnist1000-plain:>9}",
        "labels in {0, 1}, {} and {0}",
        "an open { brace",
    ],
)
def test_a_story_is_text_and_no_format_string(story, monkeypatch, text):
    monkeypatch.setenv("SECRET", "swordfish")
    page = story(f"what: '{text}'\n")
    assert f"**What it is.** {text}\n" in page and "swordfish" not in page


def test_a_story_names_the_figures_of_recipes(story):
    result = results.load("mnist1000-plain")
    page = story("right: 'tests at {mnist1000-plain} after {mnist1000-plain:epochs} epochs'\n")
    assert f"tests at {100 * result.mean:.1f} % after 300 epochs" in page


@pytest.mark.fault(
    "params.yaml",
    "a recipe's about.yaml that is no YAML, or not what it should be",
    "one line, such as `recipes: …/about.yaml: published: should be a valid number, is 'much'`",
)
@pytest.mark.parametrize(
    ("about", "line"),
    [
        ("right: 'at {mnist1000-plane}'", "{mnist1000-plane}: there is no recipe 'mnist1000-plane'"),
        ("published: much", "published: should be a valid number, is 'much'"),
        ("waht: x", "waht: unknown key; did you mean 'what'?"),
        ("what: [1]", "what: should be a valid string, is [1]"),
        ("between: [1]", "between: should have 2 items, is [1]"),
        ("printed: {passes: [0]}", "printed.error: missing"),
        ("- a list", "should be keys and values, is ['a list']"),
        ("what: 'open", "not readable as YAML"),
        ("what: \0", "not readable as YAML"),
    ],
)
def test_an_about_that_is_none_is_refused_in_one_line(story, about, line):
    with pytest.raises(InputError) as caught:
        story(about)
    assert "mnist1000-plain/about.yaml: " in str(caught.value) and line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_command_of_a_stage_takes_anything_from_a_recipe():
    """A recipe's params.yaml is data; dvc.yaml, which DVC hands to a shell, takes no value from it."""
    for stage in read_yaml(RECIPES / "dvc.yaml")["stages"].values():
        assert "$" not in stage["cmd"] and "vars" not in stage


# A new recipe, by the real DVC


def add_line(path: Path, after: str, line: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(after) == 1
    path.write_text(text.replace(after, after + line), encoding="utf-8")


@pytest.fixture
def with_recipes(project: Project) -> Project:
    """The small project with two of the recipes in it; its root pipeline fetched the digits."""
    # Without what was run here: a known result in DVC's cache would be taken instead of a run.
    results_here = shutil.ignore_patterns("data", "models", "dvc.lock", "*.png", "cache", "tmp")
    shutil.copytree(RECIPES, project.file("recipes"), ignore=results_here)
    document = project.file("recipes/dvc.yaml").read_text(encoding="utf-8")
    for name in results.names():
        if name not in ("digits-relu200", "mnist1000-plain"):
            document = document.replace(f"  - {name}\n", "")
            shutil.rmtree(project.file(f"recipes/{name}"))
    project.file("recipes/dvc.yaml").write_text(document, encoding="utf-8")
    project.commit("Recipes")
    return project


@pytest.mark.slow  # .ci/run runs it
@with_results
def test_a_new_recipe_is_a_folder_and_a_name_and_a_change_in_the_core_moves_its_row(with_recipes):
    tiny = with_recipes.file("recipes/tiny")
    tiny.mkdir()
    (tiny / "params.yaml").write_text(
        "fetch: {dataset: digits, source: null}\n"
        "preprocess: {normalization: divide, divisor: 16, examples: 200, dtype: float32}\n"
        "batch: {batch_size: 10, remainder: keep, validation_examples: 0, shuffle: false, seed: 0}\n"
        "train:\n"
        "  seeds: [0]\n"
        "  precision: float32\n"
        "  layers: [{units: 12, activation: relu}, {units: 10, activation: softmax}]\n"
        "  loss: cross-entropy\n"
        "  epochs: 2\n"
        "  optimizer: {name: sgd, learning_rate: 0.1}\n"
        "evaluate: {calibration_bins: 5}\n"
        "plot: {mistakes: 3, calibration_bins: 5, dpi: 50}\n",
        encoding="utf-8",
    )
    add_line(with_recipes.file("recipes/dvc.yaml"), after="  - mnist1000-plain\n", line="  - tiny\n")

    output = with_recipes.run("python", "-m", "recipes", "run", "tiny")
    stages = ("fetch", "preprocess", "batch", "train", "evaluate", "plot")
    assert ran(output) == [f"{stage}@tiny" for stage in stages]
    assert "recipe 1 of 1: tiny" in output
    metrics = json.loads((tiny / "reports/metrics.json").read_text())
    page = with_recipes.file("recipes/README.md").read_text("utf-8")
    (row,) = (line for line in page.splitlines() if "[`tiny`]" in line)
    assert f"{100 * metrics['test']['accuracy']:.2f} %" in row
    status = with_recipes.git("status", "--porcelain", "--untracked-files=all", "--", "recipes/tiny")
    kept = [line[3:] for line in status.splitlines()]
    assert {"params.yaml", "metrics.json", "predictions.csv"} <= {os.path.basename(name) for name in kept}
    for part in ("/data/", "/models/", "/figures/", "index.html"):
        assert not any(part in name for name in kept)
    with_recipes.commit("A new recipe")

    he = with_recipes.file("mnistcore/network/initializers.py")
    he.write_text(
        he.read_text("utf-8").replace("math.sqrt(2.0 / fan_in)", "math.sqrt(1.9 / fan_in)"), "utf-8"
    )
    recipes = with_recipes.inside("recipes")
    recipes.dvc("repro", "evaluate@tiny")
    moved = json.loads(recipes.dvc("metrics", "diff", "--json"))
    assert list(moved) == ["tiny/reports/metrics.json"]
    assert moved["tiny/reports/metrics.json"]["test.loss"]["diff"] != 0


def test_an_unknown_recipe_is_refused_in_one_line(with_recipes):
    output = with_recipes.run("python", "-m", "recipes", "run", "mnist1000-plane", status=2)
    assert output.startswith("recipes: no recipe 'mnist1000-plane'") and output.count("\n") == 1
