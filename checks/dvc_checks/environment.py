"""What the bits of a result can depend on besides the project: Python, libraries, BLAS, the processor."""

import json
import platform
import re
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

FILE = "dvc.environment.json"  # stands beside dvc.lock: where its hashes are known to come out


def describe(packages: Iterable[str], observed: Iterable[dict[str, list[str]]]) -> dict[str, Any]:
    """Describe this environment.

    Parameters
    ----------
    packages : the top-level names that the stages import
    observed : what `watch` saw inside the stages' processes (BLAS kernels, SIMD)
    """
    described: dict[str, Any] = {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": " ".join([platform.system(), platform.machine(), *platform.libc_ver()]).strip(),
        "processor": _processor(),
        "libraries": _libraries(packages),
    }
    for found in observed:
        for key, values in found.items():
            described[key] = sorted({*described.get(key, []), *values})
    return described


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor()
    named = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return " ".join(named.group(1).split()) if named else platform.processor()


def _libraries(packages: Iterable[str]) -> dict[str, str]:
    """The versions of the distributions of these packages, and of all that those require."""
    from packaging.requirements import InvalidRequirement, Requirement

    owners = metadata.packages_distributions()
    waiting = {name for package in packages for name in owners.get(package, ())}
    versions: dict[str, str] = {}
    seen = set()
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        versions[name] = found.version
        for text in found.requires or ():
            try:
                requirement = Requirement(text)
            except InvalidRequirement:
                continue
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.add(requirement.name)
    return dict(sorted(versions.items()))


def differences(recorded: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """What is not the same, one line each."""
    lines = []
    for key in dict.fromkeys([*recorded, *here]):
        old, new = recorded.get(key), here.get(key)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            lines += [
                f"{name} {old.get(name, 'absent')} there, {new.get(name, 'absent')} here"
                for name in sorted({*old, *new})
                if old.get(name) != new.get(name)
            ]
        elif isinstance(old, list) and isinstance(new, list):
            lines.append(
                f"{key}: only there {', '.join(sorted({*old} - {*new})) or 'nothing'}; "
                f"only here {', '.join(sorted({*new} - {*old})) or 'nothing'}"
            )
        else:
            lines.append(f"{key} {old or 'not recorded'} there, {new or 'not known'} here")
    return lines


def write(path: Path, described: dict[str, Any]) -> None:
    """Record an environment, in a form that diffs well."""
    path.write_text(json.dumps(described, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read(path: Path) -> dict[str, Any] | None:
    """A recorded environment; None if there is none that can be read."""
    try:
        recorded = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return recorded if isinstance(recorded, dict) else None
