"""The page of a sweep: what it leaves alone, and what it does without."""

import subprocess
import sys
from pathlib import Path

from dvc_sweep.page import may_be_written


def test_a_page_overwrites_no_file_but_a_page(tmp_path: Path) -> None:
    page = tmp_path / "index.html"
    assert may_be_written(page)
    page.write_text("<!doctype html><title>my notes</title>")
    assert not may_be_written(page)
    page.write_text('<!doctype html>\n<meta name="generator" content="dvc-sweep">\n')
    assert may_be_written(page) and not may_be_written(tmp_path)


def test_scikit_learn_is_not_loaded_until_there_are_importances() -> None:
    code = "import sys, dvc_sweep.page, dvc_sweep.driver; print('sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
