"""The line of an InputError."""

import pytest

from mnistcore.errors import LONGEST, InputError


@pytest.mark.parametrize("letters", [LONGEST - 4, LONGEST - 3, 10 * LONGEST])
def test_a_line_is_one_and_has_a_length_that_a_person_reads(letters: int) -> None:
    line = str(InputError(f"a\n{'x' * letters}: z"))
    assert len(line) == min(letters + 5, LONGEST)
    assert line.startswith("a?x") and line.endswith("x: z")
    assert ("x … x" in line) == (letters + 5 > LONGEST)
