"""Runs a project's programs on a clone of it: with the clone's code, and ended with all their children."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from dvc_checks import imports, watch
from dvc_checks.pipeline import within
from dvc_checks.snapshot import Snapshot

# Loaded by every Python process, from the head of PYTHONPATH; then loads the one it stands in front of.
SITECUSTOMIZE = """
import importlib.machinery, importlib.util, os, sys
import dvc_checks_watch
dvc_checks_watch.start()
_here = os.path.dirname(os.path.abspath(__file__))
_path = [entry for entry in sys.path if os.path.abspath(entry or ".") != _here]
_next = importlib.machinery.PathFinder.find_spec("sitecustomize", _path)
if _next is not None and _next.loader is not None:
    _next.loader.exec_module(importlib.util.module_from_spec(_next))
"""


def environment(home: Path, copy: Snapshot) -> dict[str, str]:
    """Environment variables under which Python imports the project from `copy`, not from the repository `home`.

    An editable install, or a PYTHONPATH, that leads to the workspace would
    otherwise bring its code into the clone.
    """
    hook = copy.scratch / "hook"
    if not hook.exists():
        hook.mkdir(parents=True)
        shutil.copyfile(watch.__file__, hook / "dvc_checks_watch.py")
        (hook / "sitecustomize.py").write_text(SITECUSTOMIZE, encoding="utf-8")
    here, there = os.fspath(home), os.fspath(copy.repository)
    given = [os.path.abspath(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    mapped = [there + entry[len(here) :] if within(entry, here) else entry for entry in given]
    folders = imports.import_roots(copy.root, copy.repository)
    roots = [os.path.normpath(copy.root / folder) for folder in folders]
    return {
        **os.environ,
        "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")]),
        "PYTHONPATH": os.pathsep.join(dict.fromkeys([os.fspath(hook), *roots, *mapped])),
        "PYTHONDONTWRITEBYTECODE": "1",
        "DVC_NO_ANALYTICS": "1",
    }


def stop(process: "subprocess.Popen[Any]") -> None:
    """End a process that leads a session, and all it started: asked first, then made to."""
    for number in (signal.SIGINT, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=3)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
    process.wait()
