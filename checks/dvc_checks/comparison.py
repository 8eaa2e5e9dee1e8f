"""How a comparison reads: on a terminal, as a comment on a pull request, as JSON."""

from typing import Any

from dvc_checks import differences, output, pictures
from dvc_checks.compare import Comparison, Test
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
    if not any(test.lost or test.gained for test in tested):
        return f"no prediction turned right or wrong {since}; {moved}{tail}"
    if len(tested) == 1:
        test = tested[0]
        where = f" in {test.path}" if len(comparison.tests) > 1 else ""
        return (
            f"accuracy{where} {_percent(test.before)} → {_percent(test.after)} "
            f"({_points(test.change)} points) {since}: {_verdict(test)}{tail}"
        )
    better = [t for t in tested if t.p_holm < LEVEL and t.change > 0]
    worse = [t for t in tested if t.p_holm < LEVEL and t.change < 0]
    return (
        f"of {len(tested)} models whose predictions changed, {len(better)} got better "
        f"and {len(worse)} worse by more than chance "
        f"{since} (Holm's correction){tail}"
    )


def _verdict(test: Test) -> str:
    word = "more than chance" if test.p_holm < LEVEL else "no more than chance"
    return f"{word} ({_p(test.p_holm)})"


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
            _percent(test.before),
            _percent(test.after),
            _points(test.change),
            f"{_points(test.interval[0])} to {_points(test.interval[1])}",
            f"{len(test.lost)}",
            f"{len(test.gained)}",
            _p(test.p).removeprefix("p = ").removeprefix("p "),
            _p(test.p_holm).removeprefix("p = ").removeprefix("p "),
        ]
        for test in tests
    ]


MOVED = ["file", "key", "before", "after", "change"]
TESTED = ["predictions", "before", "after", "points", "95 % interval", "lost", "gained", "p", "p (Holm)"]


def terminal(comparison: Comparison) -> list[str]:
    """Tables for a terminal; only what moved."""
    lines = [f"compare: {headline(comparison)}"]
    for title, moved in (("parameters", comparison.params), ("metrics", comparison.metrics)):
        if moved:
            rows = _moved_rows(moved)
            lines += ["", title]
            lines += [f"  {line}" for line in output.table(MOVED, rows[:ROWS], right=(2, 3, 4))]
            lines += [f"  and {len(rows) - ROWS} more"] if len(rows) > ROWS else []
    tested = [test for test in comparison.tests if test.lost or test.gained]
    if tested:
        lines += ["", "predictions: exact McNemar test, Newcombe's interval of the paired difference"]
        header, rows = TESTED, _test_rows(tested)
        if len(tested) == 1:
            header, rows = header[:-1], [row[:-1] for row in rows]
        lines += [f"  {line}" for line in output.table(header, rows, right=tuple(range(1, 9)))]
        for test in tested:
            for name, indices in (("lost", test.lost), ("gained", test.gained)):
                if indices:
                    shown = "; ".join(
                        _example(comparison, test, index) for index in indices[: pictures.SHOWN]
                    )
                    more = (
                        f"; and {len(indices) - pictures.SHOWN} more" if len(indices) > pictures.SHOWN else ""
                    )
                    lines.append(f"  {name} in {test.path}: {shown}{more}")
    lines += [f"  {test.path} {test.reason}" for test in comparison.tests if test.reason]
    return lines


def _example(comparison: Comparison, test: Test, index: int) -> str:
    old, new = comparison.old.predictions[test.path], comparison.new.predictions[test.path]
    return f"#{index} is {new.actual[index]}: {old.predicted[index]} → {new.predicted[index]}"


def markdown(comparison: Comparison, raw: str) -> list[str]:
    """A comment for a pull request; `raw` is where GitHub serves the repository's files, or ""."""
    lines = [f"**{_capital(headline(comparison))}**"]
    tested = [test for test in comparison.tests if test.lost or test.gained]
    if tested:
        header, rows = TESTED, _test_rows(tested)
        if len(tested) == 1:
            header, rows = header[:-1], [row[:-1] for row in rows]
        lines += ["", *output.markdown_table(header, rows, right=tuple(range(1, 9)))]
        lines += [
            "",
            "<sub>Paired on the same examples: exact McNemar test, Newcombe's interval.</sub>",
        ]
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
        "predictions": [
            {
                "file": test.path,
                "not tested": test.reason or None,
                "examples": test.examples,
                "accuracy before": test.before,
                "accuracy after": test.after,
                "change": test.change,
                "interval 95 %": list(test.interval),
                "lost": test.lost,
                "gained": test.gained,
                "p": test.p,
                "p Holm": test.p_holm,
            }
            for test in comparison.tests
        ],
        "figures": comparison.figures,
    }


def report(comparison: Comparison, level: float | None, raw: str) -> Report:
    """All of it; findings are the models that got worse by more than chance at `level`, if one is given."""
    found = Report("compare", headline(comparison), text=terminal(comparison)[1:])
    for test in comparison.worse(level) if level is not None else ():
        worse = f"got worse by more than chance (p = {test.p_holm:.2g}, below {level:g})"
        found.findings.append(Finding(test.path, test.reason if test.gone else worse, Location(test.path)))
    found.data = as_data(comparison)
    found.markdown = markdown(comparison, raw)
    return found
