"""docs/faults.md says what the tests do."""

from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "faults.md"


def test_the_page_of_faults_is_up_to_date(collected_page: str) -> None:
    command = "python -m pytest --faults-page=docs/faults.md"
    assert PAGE.read_text(encoding="utf-8") == collected_page, f"make it anew: {command}"
