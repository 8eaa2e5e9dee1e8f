"""`predict` reads pictures with the trained network, and says in a line what it can't read."""

import json
import os

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageDraw
from report_page import any_network

from commands.predict import main
from mnistcore.data.description import DatasetDescription, write_dataset_description
from mnistcore.data.normalization import divide
from mnistcore.network import model
from mnistcore.network.network import Dense
from mnistcore.report.familiarity import nothing_unfamiliar
from mnistcore.report.framing import frame_of
from mnistcore.report.pictures import read_digits


def picture(path, angle=0):
    drawn = Image.new("L", (90, 90), 255)
    ImageDraw.Draw(drawn).line([(20, 15), (70, 15), (40, 75)], 0, 9, "curve")
    drawn.rotate(angle, fillcolor=255).save(path)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a model, and with pictures a.png, b.jpg and what is none."""
    monkeypatch.chdir(tmp_path)
    write_dataset_description(
        tmp_path / "data/processed/dataset.json", DatasetDescription("mnist", "MNIST", tuple("0123456789"))
    )
    divide(255, (28, 28), "float32").save("data/processed/normalizer.npz")
    network = any_network([Dense(10, "softmax")])
    model.save("models/model.npz", [3], [network])
    nothing_unfamiliar(network).save("reports/familiarity.npz")
    (tmp_path / "in").mkdir()
    picture("in/a.png")
    picture("in/b.jpg", 90)
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="predict")


def expected(path):
    seen = read_digits(path, frame_of((28, 28)))[0]
    return model.load("models/model.npz")[1][0].probabilities(seen.reshape(1, -1) / np.float32(255))[0]


def test_it_prints_the_three_likeliest_classes(folder):
    result = run("in/a.png")
    outputs = expected("in/a.png")
    best = np.argsort(-outputs)[:3]
    assert result.exit_code == 0
    assert result.stdout.replace(f"not sure: {best[0]} or {best[1]}:", "").split() == [
        "in/a.png:",
        *(word for c in best for word in (str(c), f"{outputs[c]:.1%}")),
    ]


def test_json_has_an_object_for_each_picture(folder):
    readings = json.loads(run("--json", "in/a.png", "in/b.jpg").stdout)
    assert [reading["picture"] for reading in readings] == ["in/a.png", "in/b.jpg"]
    for reading in readings:
        outputs = expected(reading["picture"])
        assert reading["class"] == str(outputs.argmax())
        probabilities = [one["probability"] for one in reading["digits"][0]["likeliest"]]
        np.testing.assert_allclose(probabilities, np.sort(outputs)[::-1][:3], rtol=1e-6)


def test_show_draws_what_the_network_saw(folder):
    lines = run("--show", "in/a.png").stdout.splitlines()[1:]
    seen = read_digits("in/a.png", frame_of((28, 28)))[0]
    drawn = np.array([[char != " " for char in line.ljust(56)] for line in lines])
    assert drawn.shape == (28, 56)
    np.testing.assert_array_equal(drawn[:, ::2], seen > 0)
    assert json.loads(run("--show", "--json", "in/a.png").stdout)[0]["digits"][0]["saw"] == seen.tolist()


def test_a_folder_stands_for_the_pictures_in_it(folder):
    (folder / "in/notes.txt").write_text("no picture")
    (folder / "in/.hidden.png").write_text("no picture")
    result = run("in")
    assert result.exit_code == 0
    assert [line.split(":")[0] for line in result.stdout.splitlines()] == ["in/a.png", "in/b.jpg"]
    assert result.stderr == "predict: in: 1 of 3 files are no pictures\n"


def test_a_folder_without_pictures_is_an_error(folder):
    (folder / "none").mkdir()
    result = run("none")
    assert (result.exit_code, result.stderr) == (2, "predict: none: a folder without a picture\n")


def test_what_is_no_picture_is_told_in_one_line_and_the_others_are_read(folder):
    (folder / "notes.png").write_text("no picture")
    Image.new("L", (30, 30), 255).save("blank.png")
    result = run("notes.png", "in/a.png", "blank.png", "nowhere.png")
    assert result.exit_code == 2
    assert [line.split(":")[0] for line in result.stdout.splitlines()] == ["in/a.png"]
    lines = result.stderr.splitlines()
    assert len(lines) == 3 and all(line.startswith("predict: ") for line in lines)
    without, with_one = json.loads(run("--json", "notes.png", "in/a.png").stdout)
    assert "not a picture" in without["error"] and "digits" not in without
    assert with_one["picture"] == "in/a.png" and "error" not in with_one


def test_a_picture_after_a_folder_without_one_is_read(folder):
    (folder / "none").mkdir()
    result = run("none", "in/a.png")
    assert result.exit_code == 2 and result.stdout.startswith("in/a.png:")


def test_digits_that_stand_apart_are_read_from_left_to_right(folder):
    wide = Image.new("L", (300, 100), 255)
    for left in (10, 110, 210):
        ImageDraw.Draw(wide).line([(left + 10, 20), (left + 60, 20), (left + 30, 80)], 0, 9, "curve")
    wide.save("wide.png")
    first, *lines = run("wide.png").stdout.splitlines()
    assert first.startswith("wide.png:  3 digits, ")
    assert [line.split(":")[0] for line in lines] == ["wide.png [1]", "wide.png [2]", "wide.png [3]"]
    (reading,) = json.loads(run("--json", "wide.png").stdout)
    assert first.endswith(reading["class"]) and len(reading["digits"]) == 3


def test_an_unsure_reading_says_so(folder, monkeypatch):
    outputs = np.array([[0.05, 0.5, 0.45, 0, 0, 0, 0, 0, 0, 0]])
    monkeypatch.setattr("mnistcore.network.network.Network.probabilities", lambda network, images: outputs)
    assert run("in/a.png").stdout.startswith("in/a.png:  not sure: 1 or 2:  1  50.0%")
    assert json.loads(run("--json", "in/a.png").stdout)[0]["digits"][0]["sure"] is False


def test_what_looks_like_no_digit_is_told(folder):
    network = model.load("models/model.npz")[1][0]
    unfamiliar = nothing_unfamiliar(network)
    unfamiliar.classifier.layers[-1].biases[:] = 1
    unfamiliar.save("reports/familiarity.npz")
    best = expected("in/a.png").argmax()
    assert run("in/a.png").stdout.startswith(f"in/a.png:  does not look like a digit:  {best} ")
    digit = json.loads(run("--json", "in/a.png").stdout)[0]["digits"][0]
    assert (digit["familiar"], digit["class"]) == (False, str(best))


def test_a_familiarity_of_another_network_is_refused(folder):
    nothing_unfamiliar(any_network([Dense(10, "softmax")], seed=1)).save("reports/familiarity.npz")
    result = run("in/a.png")
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert "reports/familiarity.npz: is of another network than models/model.npz" in result.stderr


def test_json_is_a_line_for_each_picture_whatever_is_shown(folder):
    assert len(run("--json", "--show", "in").stdout.splitlines()) == 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_not_waited_for(folder):
    os.mkfifo("in/pipe.png")
    assert "not a file" in run("in/pipe.png").stderr
    assert run("in").exit_code == 0


def test_a_newline_in_a_name_makes_no_second_line(folder):
    (folder / "in/a.png").rename("a\nb.png")
    assert len(run("a\nb.png", "c\nd.png").output.splitlines()) == 2


@pytest.mark.filterwarnings("error")
def test_a_model_that_says_nothing_is_told_in_one_line(folder):
    network = any_network([Dense(10, "softmax")])
    network.parameters[:] = 3e38
    model.save("models/model.npz", [3], [network])
    nothing_unfamiliar(network).save("reports/familiarity.npz")
    assert run("in/a.png").output == (
        "predict: models/model.npz: its outputs are not finite; run the pipeline again\n"
    )


def test_without_a_model_it_says_so(folder):
    (folder / "models/model.npz").unlink()
    result = run("in/a.png")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"predict: {folder}: has no models/model.npz; run predict in the folder")
    assert len(result.stderr.splitlines()) == 1


def test_outside_the_project_it_names_the_folder_and_what_is_not_in_it(folder, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(elsewhere := tmp_path_factory.mktemp("elsewhere"))
    assert run(str(folder / "in/a.png")).stderr == (
        f"predict: {elsewhere}: has no data/processed; run predict in the folder of the project, after the pipeline\n"
    )


def test_a_model_of_other_images_is_refused(folder):
    model.save("models/model.npz", [3], [any_network([Dense(10, "softmax")], 64)])
    assert "do not belong together" in run("in/a.png").stderr
