"""Every leaf of params.yaml concerns its own stage: editing it makes that stage stale and no other."""

import shutil

import pytest
from dvc_project import ROOT, dvc_within, yaml

pytestmark = pytest.mark.integration

STAGES = ["fetch", "preprocess", "batch", "train", "evaluate", "plot"]


def leaves(value, where=()):
    """Every leaf of nested parameters as (section.key.…, value); an empty list or mapping is a leaf."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    parts = list(parts)
    if not parts:
        yield ".".join(where), value
    for key, part in parts:
        yield from leaves(part, (*where, str(key)))


def another(value):
    """A value other than `value`; whether it makes sense is for the stage to judge, not for DVC."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, str):
        return value + "-changed"
    return "changed"


LEAVES = dict(leaves(yaml.load(ROOT / "params.yaml")))


@pytest.fixture(scope="module")
def up_to_date(prepared, tmp_path_factory):
    """A project with the real params.yaml, and a lock as if it had been run with that."""
    here = prepared.copy_to(tmp_path_factory.mktemp("leaves") / "project")
    shutil.copy(ROOT / "params.yaml", here.path)
    with dvc_within(here) as repo:
        repo.commit(force=True)
        assert repo.status() == {}
        yield here, repo


def test_every_stage_has_a_section_and_every_section_a_stage():
    assert list(yaml.load(ROOT / "params.yaml")) == STAGES
    stages = yaml.load(ROOT / "dvc.yaml")["stages"]
    assert list(stages) == STAGES
    for name, stage in stages.items():
        section, libraries = stage["params"]
        assert section == name and list(libraries) == ["libraries.yaml"]


@pytest.mark.parametrize("where", LEAVES)
def test_a_leaf_makes_its_own_stage_stale_and_no_other(up_to_date, where):
    here, repo = up_to_date
    before = here.file("params.yaml").read_bytes()
    try:
        here.change(where, another(LEAVES[where]))
        changed = repo.status()
    finally:
        here.file("params.yaml").write_bytes(before)
    section = where.split(".")[0]
    assert list(changed) == [section]
    (reason,) = changed[section]
    assert list(reason) == ["changed deps"] and list(reason["changed deps"]) == ["params.yaml"]


def test_a_comment_or_another_order_makes_nothing_stale(up_to_date):
    here, repo = up_to_date
    before = here.file("params.yaml").read_text()
    try:
        document = yaml.load(before)
        with open(here.file("params.yaml"), "w", encoding="utf-8") as file:
            file.write("# another comment\n")
            yaml.dump(
                {name: dict(reversed(list(document[name].items()))) for name in reversed(document)}, file
            )
        assert repo.status() == {}
    finally:
        here.file("params.yaml").write_text(before)
