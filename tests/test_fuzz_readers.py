"""The readers of what other stages wrote, given anything: they read it, or refuse it in one line."""

import pytest
from fuzz_readers import CORPUS, READERS, answer, fuzz, workshop

INPUTS, SECONDS = 1_000_000, 240  # of each, whichever comes first


def row(done: str, times: int) -> pytest.MarkDecorator:
    return pytest.mark.fault("Between the stages", done, "it is read, or one line says why not", times=times)


@pytest.mark.parametrize("name", READERS)
@row("inputs kept from fuzzing the reader of each file", sum(1 for _ in CORPUS.glob("*/*")) // len(READERS))
def test_kept_inputs_are_read_or_refused_in_one_line(name: str) -> None:
    kept = sorted((CORPUS / name.replace("/", "-")).iterdir())
    with workshop():
        for data in READERS[name].valid():
            assert answer(READERS[name], data) == "read"
        kinds = {answer(READERS[name], path.read_bytes()) for path in kept}
    assert len(kinds) > 1


@pytest.mark.parametrize("name", READERS)
@row("valid files of each kind changed at random, a million or as many as four minutes hold", 1)
@pytest.mark.slow
def test_changed_files_are_read_or_refused_in_one_line(name: str) -> None:
    number, kinds = fuzz(name, INPUTS, SECONDS)
    print(f"{name}: {number:,} inputs, {len(kinds)} kinds of answers")
    assert number > 1000 and len(kinds) > 1
