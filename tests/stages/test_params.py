"""params.yaml, in every way it can be wrong: one line that names the file and the key, and nothing written."""

import contextlib
import math
from collections.abc import Iterable
from pathlib import Path

import pytest
from dvc.exceptions import DvcException
from dvc_project import dvc_within
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from small import PARAMETERS, everything, line_of, run, works, write_tiny_raw

from mnistcore.errors import InputError
from stages import batch, evaluate, fetch, plot, preprocess, train
from stages.parameters import STAGES, read_section

SCHEMAS = {
    "fetch": fetch.Fetch,
    "preprocess": preprocess.Preprocess,
    "batch": batch.Batch,
    "train": train.Train,
    "evaluate": evaluate.Evaluate,
    "plot": plot.Plot,
}
TEXTS, VALUES, RUNS = 100, 200, 100  # examples of the properties
MANY = 2000  # of each in the slow part

Cases = list[tuple[str, str, bytes | str, str]]


def cases(table: Cases) -> list:
    """Test parameters (stage, content, line), each a row of docs/faults.md."""
    return [
        pytest.param(
            *(stage, content if isinstance(content, bytes) else content.encode(), line),
            id=done.replace(" ", "-"),
            marks=pytest.mark.fault("params.yaml", done, f"`{stage}: {line}`"),
        )
        for done, stage, content, line in table
    ]


def with_(old: str, new: str) -> str:
    """The parameters with one place changed."""
    assert PARAMETERS.count(old) == 1, old
    return PARAMETERS.replace(old, new)


UNREADABLE = [
    ("empty", "fetch", "", "params.yaml: should be sections of keys and values, one section per stage"),
    ("a list", "fetch", "- 1", "params.yaml: should be sections of keys and values, one section per stage"),
    ("not YAML", "fetch", "fetch: [1, 2", "params.yaml: line 1, column 13: not readable as YAML: expected ',' or ']', "
     "but got '<stream end>'"),
    ("two documents", "fetch", "fetch: {}\n---\nfetch: {}\n", "params.yaml: line 2, column 1: not readable as YAML: "
     "expected a single document in the stream, but found another document"),
    ("a key twice", "batch", with_("  batch_size: 8\n", "  batch_size: 8\n  batch_size: 9\n"), "params.yaml: line 11, column 3: "
     "not readable as YAML: found duplicate key \"batch_size\" with value \"9\" (original value: \"8\")"),
    ("a section twice", "fetch", "fetch: {}\nfetch: {}\n", "params.yaml: line 2, column 1: not readable as YAML: "
     "found duplicate key \"fetch\" with value \"{}\" (original value: \"{}\")"),
    ("a tab", "batch", with_("  batch_size: 8", "\tbatch_size: 8"), "params.yaml: line 10, column 1: not readable as YAML: "
     "found character '\\t' that cannot start any token; indent with spaces"),
    ("a list or mapping as a key", "fetch", "fetch:\n  ? {a: 1}\n  : 2\n", "params.yaml: line 2, column 5: "
     "not readable as YAML: found unhashable key"),
    ("an alias of nothing", "batch", with_("batch_size: 8", "batch_size: *eight"), "params.yaml: line 10, column 15: "
     "not readable as YAML: found undefined alias 'eight'"),
    ("a tag that would run code", "fetch", "fetch: !!python/object/apply:os.getcwd []", "params.yaml: line 1, column 8: "
     "not readable as YAML: could not determine a constructor for the tag "
     "'tag:yaml.org,2002:python/object/apply:os.getcwd'"),
    ("nested a thousand deep", "fetch", "fetch: " + "{a: " * 1000 + "}" * 1000, "params.yaml: nested too deeply"),
    ("saved in another encoding", "fetch", "fetch: {source: Zürich}".encode("latin-1"), "params.yaml: not in UTF-8 "
     "(byte 17); save it in that encoding"),
    ("a control character", "fetch", "fetch: {}\n\0", "params.yaml: line 2: not readable as YAML: character U+0000, "
     "which no YAML file may have"),
    ("a number of 5,000 digits", "batch", with_("batch_size: 8", "batch_size: " + "9" * 5000), "params.yaml: not readable as YAML: "
     "Exceeds the limit (4300 digits) for integer string conversion: value has 5000 digits; use "
     "sys.set_int_max_str_digits() to increase the limit"),
    ("an impossible date", "batch", with_("batch_size: 8", "batch_size: 2020-13-41"), "params.yaml: not readable as YAML: "
     "month must be in 1..12"),
]  # fmt: skip

INVALID = [
    ("a section missing", "plot", PARAMETERS.partition("plot:")[0], "params.yaml: has no section 'plot'"),
    ("a section's name misspelt", "fetch", with_("train:", "trian:"), "params.yaml: unknown section 'trian'; "
     "did you mean 'train'?"),
    ("a section empty", "fetch", "fetch:\n", "params.yaml: fetch: should be keys and values, is null"),
    ("a key missing", "batch", with_("  seed: 0\n", ""), "params.yaml: batch.seed: missing"),
    ("a key unknown", "batch", with_("  seed: 0\n", "  seed: 0\n  colour: red\n"),
     "params.yaml: batch.colour: unknown key"),
    ("a key misspelt", "batch", with_("  seed: 0\n", "  sed: 0\n"),
     "params.yaml: batch.sed: unknown key; did you mean 'seed'?"),
    ("a key misspelt, deep down", "train", with_("learning_rate", "learningrate"), "params.yaml: "
     "train.optimizer.learningrate: unknown key; did you mean 'learning_rate'?"),
    ("a key that is no text", "batch", with_("  seed: 0\n", "  seed: 0\n  [1, 2]: 3\n"), "params.yaml: batch.(1, 2): "
     "Keys should be strings, is (1, 2)"),
    ("text for a number", "batch", with_("batch_size: 8", "batch_size: '8'"), "params.yaml: batch.batch_size: should be a valid integer, "
     "is '8'"),
    ("1e-3 as text", "train", with_("learning_rate: 0.1", "learning_rate: '1e-3'"), "params.yaml: "
     "train.optimizer.learning_rate: should be a valid number, is '1e-3'"),
    ("yes for true", "batch", with_("shuffle: true", "shuffle: yes"), "params.yaml: batch.shuffle: should be a valid "
     "boolean, is 'yes'"),
    ("true for a number", "batch", with_("batch_size: 8", "batch_size: true"), "params.yaml: batch.batch_size: should be a valid integer, "
     "is true"),
    ("true for a number with a fraction", "preprocess", with_("divisor: 16", "divisor: true"),
     "params.yaml: preprocess.divisor: should be a valid number, is true"),
    ("a fraction for a count", "batch", with_("batch_size: 8", "batch_size: 8.5"), "params.yaml: batch.batch_size: should be a valid "
     "integer, is 8.5"),
    ("NaN", "preprocess", with_("divisor: 16", "divisor: .nan"), "params.yaml: preprocess.divisor: should be a finite "
     "number, is nan"),
    ("infinity", "preprocess", with_("divisor: 16", "divisor: .inf"), "params.yaml: preprocess.divisor: should be a "
     "finite number, is inf"),
    ("a number beyond all floats, 1e400", "preprocess", with_("divisor: 16", "divisor: 1e400"),
     "params.yaml: preprocess.divisor: should be a finite number, is inf"),
    ("a negative count", "batch", with_("batch_size: 8", "batch_size: -8"), "params.yaml: batch.batch_size: should be greater than or equal to 1, "
     "is -8"),
    ("zero", "batch", with_("batch_size: 8", "batch_size: 0"), "params.yaml: batch.batch_size: should be greater than or equal to 1, is 0"),
    ("10³⁰", "batch", with_("batch_size: 8", "batch_size: 1" + "0" * 30), "params.yaml: batch.batch_size: too large for an integer "
     "of 64 bits"),
    ("a hexadecimal number of 6,000 digits", "batch", with_("batch_size: 8", "batch_size: 0x" + "f" * 6000), "params.yaml: "
     "batch.batch_size: too large for an integer of 64 bits"),
    ("no choice among the known ones", "fetch", with_("dataset: digits", "dataset: letters"), "params.yaml: "
     "fetch.dataset: should be 'mnist', 'fashion-mnist', 'kmnist' or 'digits', is 'letters'"),
    ("a list of the wrong length", "train", with_("  epochs: 2\n", "  epochs: 2\n  schedule: {name: steps, after: [1, 2], "
     "factors: [0.5]}\n"), "params.yaml: train.schedule.factors: should be one for each of `after`, is [0.5]"),
    ("an empty list", "train", with_("seeds: [0]", "seeds: []"), "params.yaml: train.seeds: should have at least 1 "
     "item, is []"),
    ("4,611,686,018,427,387,904 units", "train", with_("units: 6", "units: 4611686018427387904"), "params.yaml: "
     "train.layers.0.units: should be less than or equal to 1000000, is 4611686018427387904"),
    ("aliases that expand to 9⁸ values", "batch", "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
     f"{to}: &{to} [{','.join(['*' + of] * 9)}]\n" for of, to in zip("abcdefgh", "bcdefghi", strict=True))
     + with_("batch_size: 8", "batch_size: *i"), "params.yaml: batch.batch_size: should be a valid integer, is "
     "[[...], [...], [...], [...], [...], [...], ...]"),
    ("an alias of what is around it", "batch", "batch: &a\n  batch_size: *a\n", "params.yaml: batch.batch_size: should be a valid "
     "integer, is {'batch_size': {...}}"),
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("stage", "content", "line"), cases(UNREADABLE + INVALID))
def test_a_wrong_file_ends_a_stage_with_one_line_and_nothing_written(
    folder: Path, stage: str, content: bytes, line: str
) -> None:
    (folder / "params.yaml").write_bytes(content)
    assert line_of(stage) == f"{stage}: {line}"
    assert list(everything()) == ["params.yaml"]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.fault(
    "params.yaml",
    "missing",
    "`…: params.yaml: not found; run this in a folder that has one`, from every stage",
)
def test_every_stage_says_that_there_is_no_file(folder: Path, stage: str) -> None:
    assert line_of(stage) == f"{stage}: params.yaml: not found; run this in a folder that has one"
    assert not everything()


@pytest.mark.fault("params.yaml", "a folder in its place", "`fetch: params.yaml: is not a file`")
def test_a_folder_is_not_a_file(folder: Path) -> None:
    (folder / "params.yaml").mkdir()
    assert line_of("fetch") == "fetch: params.yaml: is not a file"


@pytest.mark.fault(
    "params.yaml",
    "a byte order mark, anchors and merges, sections of one's own, 1e-3, the same as YAML 1.1",
    "it works",
)
def test_what_yaml_allows_is_read(folder: Path) -> None:
    content = with_("batch_size: 8", "<<: *eight").replace(
        "batch:", "mine: &eight {batch_size: 8}\nraw: ../data\nbatch:"
    )
    (folder / "params.yaml").write_bytes(b"\xef\xbb\xbf" + content.encode())
    assert read_section("batch", batch.Batch).batch_size == 8
    for first in ("", "%YAML 1.1\n---\n"):
        (folder / "params.yaml").write_text(first + with_("learning_rate: 0.1", "learning_rate: 1e-3"))
        assert read_section("train", train.Train).how.optimizer.learning_rate == 1e-3


def reads_or_tells(text: bytes, sections: Iterable[str] = STAGES) -> None:
    """Each section of `text` is either read or refused in one line that names the file."""
    Path("params.yaml").write_bytes(text)
    for name in sections:
        try:
            section = read_section(name, SCHEMAS[name])
        except InputError as error:
            assert str(error).startswith("params.yaml: ") and len(str(error)) < 500
            assert len(str(error).splitlines()) == 1
        else:
            assert isinstance(section, SCHEMAS[name])


def often(examples: int) -> settings:
    return settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """The parameters with some bytes cut out, and others put in their place."""
    text = PARAMETERS.encode()
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        piece = draw(
            st.text("\t\n -?:,[]{}#&*!|>'\"%@`0123456789.eE+_~xob", max_size=6) | st.text(max_size=3)
        )
        text = text[:at] + piece.encode(errors="surrogatepass") + text[at + draw(st.integers(0, 12)) :]
    return text


any_text = given(
    text=damaged()
    | st.binary(max_size=60)
    | st.text(max_size=60).map(lambda text: text.encode(errors="replace"))
)
fault_any_text = pytest.mark.fault(
    "params.yaml", "cut, mixed up, or any bytes at all (Hypothesis)", "it is read, or one line says why not"
)


@fault_any_text
@often(TEXTS)
@any_text
@example(b"batch: !!bool x")
@example(b"batch: !!set [a]")
@example(b"batch: !!omap {a: 1}")
@example(b"batch: !!binary %")
@example(b"%YAML 9.9\n---\n")
@example(b"%TAG ! x\n---\n!a b")
@example(b"batch:\n  batch_size: !!int\n")
@example(b"batch: {<<: 1}")
def test_any_text_is_read_or_refused_in_one_line(folder: Path, text: bytes) -> None:
    reads_or_tells(text)


@pytest.mark.slow
@fault_any_text
@often(MANY)
@any_text
def test_much_text_is_read_or_refused_in_one_line(folder: Path, text: bytes) -> None:
    reads_or_tells(text)


def leaves(value: object, path: tuple = ()) -> list[tuple]:
    """The paths to all values under `value`, containers included."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(leaf for key, item in items for leaf in leaves(item, (*path, key)))]


def replaced(value: object, path: tuple, by: object) -> object:
    if not path:
        return by
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], by)
    return copy


FULL = YAML(typ="safe", pure=True).load(PARAMETERS)
FULL["train"] |= {
    "l2": 0.0, "clip_norm": 1.0, "shuffle": True, "reduction": "mean", "generator": "modern", "shards": 2,
    "schedule": {"name": "steps", "after": [1], "factors": [0.5]},
    "stopping": {"name": "patience", "epochs": 1},
    "averaging": {"decay": 0.9, "steps": 2},
    "augmentation": {"rotation_degrees": 5.0, "scale": 0.1, "elastic_pixels": 0.5, "elastic_smoothness": 1.0},
    "checkpoint_seconds": 5.0,
}  # fmt: skip
FULL["train"]["layers"][0] |= {
    "bias": True,
    "drop_rate": 0.2,
    "frozen": ["biases"],
    "biases": {"name": "zeros"},
}
FULL["train"]["layers"][1] |= {"weights": {"name": "uniform", "low": -0.5, "high": 0.5}}
LEAVES = [path for path in leaves(FULL) if path]

ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=4)
    | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6) | st.integers(), inner, max_size=3)
    ),
    max_leaves=5,
)


any_value = given(path=st.sampled_from(LEAVES), value=ANY)
fault_any_value = pytest.mark.fault(
    "params.yaml", "any value in place of any other (Hypothesis)", "it is read, or one line says why not"
)


def check_any_value(path: tuple, value: object) -> None:
    with open("params.yaml", "wb") as file:
        YAML(typ="safe", pure=True).dump(replaced(FULL, path, value), file)
    reads_or_tells(Path("params.yaml").read_bytes(), path[:1])


@fault_any_value
@often(VALUES)
@any_value
def test_any_value_in_any_place_is_read_or_refused_in_one_line(
    folder: Path, path: tuple, value: object
) -> None:
    check_any_value(path, value)


@pytest.mark.slow
@fault_any_value
@often(MANY)
@any_value
def test_many_values_in_any_place_are_read_or_refused_in_one_line(
    folder: Path, path: tuple, value: object
) -> None:
    check_any_value(path, value)


EDGES = st.sampled_from(
    [None, True, False, 0, 1, 2, 3, -1, 2**31, 2**62, 2**63 - 1, 2**63, 10**30, 0.5, 0.999999, -0.0, 1e-320, 1e-38, 1e38,
     1e300, -1e300, 1e6, math.inf, math.nan, "text", "1e-3", "", [], [1], [2, 1], [0, 0], [0.5, 0.5, 0.5], {}]
)  # fmt: skip
RERUN = ("preprocess", "batch", "train")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each stage that can be run again and again, with what it reads."""
    base = tmp_path_factory.mktemp("tiny")
    before: list[str] = []
    for stage in RERUN:
        (base / stage).mkdir()
        with contextlib.chdir(base / stage):
            Path("params.yaml").write_text(PARAMETERS)
            write_tiny_raw()
            for name in before:
                works(name)
        before.append(stage)
    return base


any_edge = given(path=st.sampled_from([path for path in LEAVES if path[0] in RERUN]), value=EDGES)
fault_any_edge = pytest.mark.fault(
    "params.yaml",
    "an edge value in any place, and the stage run (Hypothesis)",
    "it runs, or one line says why not",
)


def check_any_edge(path: tuple, value: object) -> None:
    assume(
        not (path[-1] == "epochs" and isinstance(value, int) and value > 3)
    )  # valid, and takes as long as it says
    with open("params.yaml", "wb") as file:
        YAML(typ="safe", pure=True).dump(replaced(FULL, path, value), file)
    result = run(path[0])
    assert result.exit_code in (0, 2)
    if result.exit_code == 2:
        assert result.stderr.count("\n") == 1 and len(result.stderr) < 500, result.stderr


@fault_any_edge
@often(RUNS)
@any_edge
@example(path=("train", "augmentation", "elastic_pixels"), value=1e300)
@example(path=("train", "layers", 0, "drop_rate"), value=0.999999)
@example(path=("train", "clip_norm"), value=1e-38)
def test_any_edge_value_runs_or_ends_in_one_line(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, path: tuple, value: object
) -> None:
    monkeypatch.chdir(tiny / path[0])
    check_any_edge(path, value)


@pytest.mark.slow
@fault_any_edge
@often(MANY)
@any_edge
def test_many_edge_values_run_or_end_in_one_line(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, path: tuple, value: object
) -> None:
    monkeypatch.chdir(tiny / path[0])
    check_any_edge(path, value)


DVC = [
    ("a section missing", lambda text: text.replace("batch:", "parts:"), "Parameters 'batch' are missing from 'params.yaml'"),
    ("a tab", lambda text: text.replace("  batch_size:", "\tbatch_size:"), "unable to read: 'params.yaml', YAML file structure is corrupted"),
    ("a list", lambda text: "- 1", "failed to parse 'vars' in 'dvc.yaml': expected a dictionary, got 'list' in file 'params.yaml'"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(
            *(change, words),
            id=done.replace(" ", "-"),
            marks=pytest.mark.fault(
                "params.yaml",
                f"{done}, and `dvc repro`",
                f"DVC's own words, before any stage runs: `ERROR: … {words} …`",
            ),
        )
        for done, change, words in DVC
    ],
)
def test_what_dvc_says_itself(project, change, words) -> None:
    path = project.file("params.yaml")
    path.write_text(change(path.read_text()))
    with pytest.raises(DvcException) as caught, dvc_within(project) as repo:
        repo.reproduce("batch", single_item=True)
    chain, texts = caught.value, []
    while chain is not None:
        texts.append(str(chain))
        chain = chain.__cause__
    assert any(words in text for text in texts), texts
