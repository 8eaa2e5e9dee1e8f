"""How a comparison reads: on a terminal, as a comment on a pull request, as JSON."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from dvc_checks import differences, output, pictures
from dvc_checks.compare import Comparison, Measure, Test
from dvc_checks.output import count
from dvc_checks.report import Finding, Location, Report

LEVEL = 0.05  # below which a change is called more than chance
ROWS = 40  # of one table on a terminal


def headline(comparison: Comparison) -> str:
    """What was found, in one line."""
    since = f"since {comparison.old.name}"
    if comparison.new.name != "workspace":
        since = f"from {comparison.old.name} to {comparison.new.name}"
    tested = [test for test in comparison.tests if test.changed]
    changed = count(len(comparison.params), "parameter"), count(len(comparison.metrics), "metric value")
    moved = " and ".join(changed) + " moved"
    untested = sum(bool(test.reason) for test in comparison.tests)
    tail = f"; {count(untested, 'prediction file')} not tested" if untested else ""
    if not tested:
        if not comparison.params and not comparison.metrics:
            return f"nothing moved {since}{tail}"
        left = "no prediction changed" if comparison.tests else "there are no predictions to test"
        return f"{moved} {since}{tail or '; ' + left}"
    if all(test.kind == "classification" and not (test.lost or test.gained) for test in tested):
        return f"no prediction turned right or wrong {since}; {moved}{tail}"
    if len(tested) == 1:
        test, measure = tested[0], tested[0].measures[0]
        name = test.path.rpartition(": ")[2] if test.kind == "seeds" else measure.name
        where = f" in {test.path}" if len(comparison.tests) > 1 and test.kind != "seeds" else ""
        unit = " points" if measure.name == "accuracy" else ""
        return (
            f"{name}{where} {_shown(measure, measure.before)} → {_shown(measure, measure.after)} "
            f"({_change(measure, measure.estimate.change)}{unit}) {since}: {_verdict(measure)}{tail}"
        )
    beyond = [m for test in tested for m in test.measures if m.p_holm < LEVEL]
    better, worse = (sum(m.improved * sign > 0 for m in beyond) for sign in (1, -1))
    what = "models" if all(test.kind == "classification" for test in tested) else "comparisons"
    number = len(tested) if what == "models" else sum(len(test.measures) for test in tested)
    whose = " whose predictions changed" if what == "models" else ""
    other = len(beyond) - better - worse
    also = f", {other} moved" if other else ""
    return f"of {number} {what}{whose}, {better} got better and {worse} worse{also} by more than chance " + (
        f"{since} (Holm's correction){tail}"
    )


def _verdict(measure: Measure) -> str:
    word = "more than chance" if measure.p_holm < LEVEL else "no more than chance"
    return f"{word} ({_p(measure.p_holm)})"


def _shown(measure: Measure, value: float) -> str:
    return _percent(value) if measure.name == "accuracy" else f"{value:.5g}"


def _change(measure: Measure, value: float) -> str:
    return _points(value) if measure.name == "accuracy" else f"{value:+.4g}".replace("-", "−")


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _points(change: float) -> str:
    return f"{100 * change:+.2f}".replace("-", "−")


def _p(value: float) -> str:
    return "p < 0.0001" if value < 0.0001 else f"p = {value:.2g}"


def _value(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    text = str(value)
    return text if len(text) <= 60 else text[:59] + "…"


def _delta(old: Any, new: Any) -> str:
    if differences.is_number(old) and differences.is_number(new):
        return f"{new - old:+.6g}".replace("-", "−")
    return ""


def _moved_rows(moved: list[tuple[str, str, Any, Any]]) -> list[list[str]]:
    return [[file, key, _value(old), _value(new), _delta(old, new)] for file, key, old, new in moved]


def _test_rows(tests: list[Test]) -> list[list[str]]:
    return [
        [
            test.path,
            *({"classification": [], "regression": [measure.name], "seeds": [test.pairing]}[test.kind]),
            _shown(measure, measure.before),
            _shown(measure, measure.after),
            _change(measure, measure.estimate.change),
            " to ".join(_change(measure, end) for end in measure.estimate.interval),
            *([f"{len(test.lost)}", f"{len(test.gained)}"] if test.kind == "classification" else []),
            _p(measure.estimate.p).removeprefix("p = ").removeprefix("p "),
            _p(measure.p_holm).removeprefix("p = ").removeprefix("p "),
        ]
        for test in tests
        for measure in test.measures
    ]


# For each kind of test: what was done, its header, and the columns of figures.
KINDS = {
    "classification": (
        "exact McNemar test, Newcombe's interval of the paired difference",
        ["predictions", "before", "after", "points", "95 % interval", "lost", "gained", "p", "p (Holm)"],
        tuple(range(1, 9)),
    ),
    "regression": (
        "paired bootstrap of the examples' errors",
        ["predictions", "measure", "before", "after", "change", "95 % interval", "p", "p (Holm)"],
        tuple(range(2, 8)),
    ),
    "seeds": (
        "several seeds, Student's t",
        ["metric", "sample", "before", "after", "change", "95 % interval", "p", "p (Holm)"],
        tuple(range(2, 8)),
    ),
}


def _tables(comparison: Comparison) -> Iterator[tuple[str, str, list[str], list[list[str]], tuple[int, ...]]]:
    """For each kind: its name, what was done, and the table of what changed."""
    moved = [
        test for test in comparison.tests if test.changed and (test.kind != "classification" or _turned(test))
    ]
    alone = sum(len(test.measures) for test in comparison.tests if test.changed) == 1
    for kind, (how, header, right) in KINDS.items():
        rows = _test_rows([test for test in moved if test.kind == kind])
        if rows and alone:  # there is nothing to correct for
            header, rows = header[:-1], [row[:-1] for row in rows]
        if rows:
            yield kind, how, header, rows, right


def _turned(test: Test) -> bool:
    return bool(test.lost or test.gained)


MOVED = ["file", "key", "before", "after", "change"]


def terminal(comparison: Comparison) -> list[str]:
    """Tables for a terminal; only what moved."""
    lines = [f"compare: {headline(comparison)}"]
    for title, moved in (("parameters", comparison.params), ("metrics", comparison.metrics)):
        if moved:
            rows = _moved_rows(moved)
            lines += ["", title]
            lines += [f"  {line}" for line in output.table(MOVED, rows[:ROWS], right=(2, 3, 4))]
            lines += [f"  and {len(rows) - ROWS} more"] if len(rows) > ROWS else []
    for kind, how, header, rows, right in _tables(comparison):
        lines += ["", f"{'metrics' if kind == 'seeds' else 'predictions'}: {how}"]
        lines += [f"  {line}" for line in output.table(header, rows[:ROWS], right=right)]
        lines += [f"  and {len(rows) - ROWS} more"] if len(rows) > ROWS else []
    for test in comparison.tests:
        for name, indices in (("lost", test.lost), ("gained", test.gained)):
            if indices:
                shown = "; ".join(_example(comparison, test, index) for index in indices[: pictures.SHOWN])
                more = f"; and {len(indices) - pictures.SHOWN} more" if len(indices) > pictures.SHOWN else ""
                lines.append(f"  {name} in {test.path}: {shown}{more}")
    lines += [f"  {test.path} {test.reason}" for test in comparison.tests if test.reason]
    return lines


def _example(comparison: Comparison, test: Test, index: int) -> str:
    old, new = comparison.old.predictions[test.path], comparison.new.predictions[test.path]
    return f"#{index} is {new.actual[index]}: {old.predicted[index]} → {new.predicted[index]}"


def markdown(comparison: Comparison, raw: str) -> list[str]:
    """A comment for a pull request; `raw` is where GitHub serves the repository's files, or ""."""
    lines = [f"**{_capital(headline(comparison))}**"]
    tested = [test for test in comparison.tests if _turned(test)]
    for _, how, header, rows, right in _tables(comparison):
        lines += ["", *output.markdown_table(header, rows, right=right), "", f"<sub>{_capital(how)}.</sub>"]
    lines += [f"\n`{test.path}` {test.reason}." for test in comparison.tests if test.reason]
    if comparison.params:
        lines += ["", "### Parameters", ""]
        lines += output.markdown_table(MOVED, _moved_rows(comparison.params), right=(2, 3, 4))
    if comparison.metrics:
        lines += ["", "### Metrics", ""]
        main = [row for row in comparison.metrics if row[1].count(".") <= 1 and not isinstance(row[3], list)]
        rest = [row for row in comparison.metrics if row not in main]
        if main:
            lines += output.markdown_table(MOVED, _moved_rows(main), right=(2, 3, 4))
        if rest:
            lines += ["", *_details(f"{count(len(rest), 'more metric value')}", rest)]
    for test in tested:
        lines += _examples(comparison, test)
    lines += _figures(comparison, raw)
    return lines


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _details(title: str, moved: list[tuple[str, str, Any, Any]]) -> list[str]:
    body = output.markdown_table(MOVED, _moved_rows(moved), right=(2, 3, 4))
    return [f"<details><summary>{title}</summary>", "", *body, "", "</details>"]


def _examples(comparison: Comparison, test: Test) -> list[str]:
    old, new = comparison.old.predictions[test.path], comparison.new.predictions[test.path]
    lines = [""]
    for name, indices in (("lost", test.lost), ("gained", test.gained)):
        if not indices:
            continue
        shown = indices[: pictures.SHOWN]
        lines += [f"<details><summary>{count(len(indices), 'example')} {name} in {test.path}</summary>", ""]
        if len(shown) < len(indices):
            lines += [f"The first {len(shown)}, in file order.", ""]
        if all(index in test.pictures for index in shown):
            captions = [f"#{i} {new.actual[i]}: {old.predicted[i]}→{new.predicted[i]}" for i in shown]
            blocks = [(test.pictures[index], caption) for index, caption in zip(shown, captions, strict=True)]
            lines += ["```text", *pictures.side_by_side(blocks), "```", ""]
        header = ["example", "actual", "before", "after"]
        rows = [[str(i), new.actual[i], old.predicted[i], new.predicted[i]] for i in shown]
        if old.confidence and new.confidence:
            header += ["confidence before", "confidence after"]
            rows = [[*row, old.confidence[i], new.confidence[i]] for row, i in zip(rows, shown, strict=True)]
        lines += [*output.markdown_table(header, rows, right=(0, 4, 5)), "", "</details>", ""]
    return lines[:-1]


def _figures(comparison: Comparison, raw: str) -> list[str]:
    if not comparison.figures:
        return []
    lines = ["", f"<details><summary>{count(len(comparison.figures), 'figure')} changed</summary>", ""]
    if not raw:
        return [*lines, *(f"- `{path}`" for path in comparison.figures), "", "</details>"]
    rows = []
    for path in comparison.figures:
        sides = [
            f"![{path} {side.name}]({raw}/{side.commit}/{path})" if path in side.figures else "–"
            for side in (comparison.old, comparison.new)
        ]
        rows.append([f"`{path}`", *sides])
    header = ["figure", comparison.old.name, comparison.new.name]
    return [*lines, *output.markdown_table(header, rows), "", "</details>"]


def as_data(comparison: Comparison) -> dict[str, Any]:
    """Everything, for machines."""
    return {
        "old": comparison.old.commit,
        "new": comparison.new.name if comparison.new.name == "workspace" else comparison.new.commit,
        "params": [dict(zip(MOVED, row, strict=False)) for row in comparison.params],
        "metrics": [
            {**dict(zip(MOVED, row, strict=False)), "change": row[3] - row[2] if _delta(*row[2:]) else None}
            for row in comparison.metrics
        ],
        "predictions": [_test_data(test) for test in comparison.tests if test.kind != "seeds"],
        "seeds": [_test_data(test) for test in comparison.tests if test.kind == "seeds"],
        "figures": comparison.figures,
    }


def _test_data(test: Test) -> dict[str, Any]:
    data: dict[str, Any] = {
        "file": test.path,
        "kind": test.kind or None,
        "not tested": test.reason or None,
        "examples": test.examples,
        "measures": [
            {
                "measure": measure.name,
                "before": measure.before,
                "after": measure.after,
                "change": measure.estimate.change,
                "interval 95 %": list(measure.estimate.interval),
                "p": measure.estimate.p,
                "p Holm": measure.p_holm,
            }
            for measure in test.measures
        ],
    }
    if test.kind == "classification":
        data |= {"lost": test.lost, "gained": test.gained}
    if test.kind == "seeds":
        data |= {"metric": data.pop("file"), "sample": test.pairing}
        data["seeds"] = data.pop("examples")
    return data


def ranking(comparisons: list[Comparison], level: float | None) -> Report:
    """Experiments against the commit they started from, the best first; findings are those that got worse."""
    ranks: dict[tuple[str, str], list[tuple[Comparison, Test, Measure]]] = {}
    for found in comparisons:
        for test in found.tests:
            for measure in test.measures:
                ranks.setdefault((test.path, measure.name), []).append((found, test, measure))
    text: list[str] = []
    data = []
    best = ""
    header = ["", "experiment", "before", "after", "change", "95 % interval", "p", "p (Holm)", "parameters"]
    for (path, name), entries in ranks.items():
        sign = entries[0][2].sign
        entries.sort(key=lambda entry: entry[2].estimate.change * (sign or 1), reverse=True)
        rows = []
        for place, (found, test, measure) in enumerate(entries, 1):
            row = _test_rows([replace(test, kind="regression", measures=[measure])])[0]
            moved = ", ".join(f"{key} {_value(old)} → {_value(new)}" for _, key, old, new in found.params[:3])
            moved += ", …" if len(found.params) > 3 else ""
            rows.append([f"{place}", found.new.name, *row[2:], moved])
            data.append(
                {
                    "rank": place,
                    "experiment": found.new.name,
                    "commit": found.new.commit,
                    **{key: value for key, value in _test_data(test).items() if key in ("file", "metric")},
                    **next(m for m in _test_data(test)["measures"] if m["measure"] == name),
                    "params": [dict(zip(MOVED, moved, strict=False)) for moved in found.params],
                }
            )
        what = f"{path}: {name}" if entries[0][1].kind != "seeds" else path
        text += ["", what + ("" if sign else " (whether more is better cannot be told from its name)")]
        text += [f"  {line}" for line in output.table(header, rows, right=tuple(range(2, 8)))]
        if not best:
            top = entries[0]
            best = f"; best by {name}: {top[0].new.name}, {_verdict(top[2])}"
    bare = [found.new.name for found in comparisons if not any(test.measures for test in found.tests)]
    text += [f"  nothing to test in {', '.join(bare)}"] if bare else []
    start = comparisons[0].old
    summary = f"{count(len(comparisons), 'experiment')} against {start.name}{best or ': nothing to test'}"
    found = Report("compare", f"{summary} (Holm's correction)" if best else summary, text=text)
    for one in comparisons:
        found.findings += _worse(one, level, f"{one.new.name}: ")
    found.data = {"baseline": start.commit, "experiments": data}
    return found


def _worse(comparison: Comparison, level: float | None, prefix: str = "") -> list[Finding]:
    """What got worse by more than chance at a level, if one is given."""
    findings = []
    for test, measure in comparison.worse(level) if level is not None else ():
        what = test.reason
        if measure is not None:
            named = "" if measure.name in ("accuracy", "mean") else f" in its {measure.name}"
            what = f"got worse{named} by more than chance (p = {measure.p_holm:.2g}, below {level:g})"
        findings.append(Finding(f"{prefix}{test.path}", what, Location(test.path.partition(": ")[0])))
    return findings


def report(comparison: Comparison, level: float | None, raw: str) -> Report:
    """All of it; findings are the models that got worse by more than chance at `level`, if one is given."""
    found = Report("compare", headline(comparison), text=terminal(comparison)[1:])
    found.findings = _worse(comparison, level)
    found.data = as_data(comparison)
    found.markdown = markdown(comparison, raw)
    return found
