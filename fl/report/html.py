"""``report.html``: one file that needs nothing else and fetches nothing.

All that comes from a run is escaped. A content security policy forbids scripts and any address, so
that even a mistake here could not make the page call home. Sections without data are left out; the
privacy line and the sentence on offline evaluation never are.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from fl.report.files import atomic_write
from fl.report.metrics import METRICS
from fl.report.plots import Plot, all_plots, style
from fl.report.rows import Row
from fl.report.table import (
    ARMS,
    Table,
    answer,
    arm_label,
    arms,
    main_rows,
    privacy,
    results,
    tier_table,
)
from fl.report.tasks import task_plots, task_tables
from fl.report.utility import all_statements, utility_plot, utility_table
from fl.report.values import mapping, real, runtime, sequence

Run = Mapping[str, object]

OFFLINE = (
    "Offline benchmark: every number here was computed with all test rows of all brands in hand. "
    "No participant of a federation could see that."
)
SEEN = "The coordinator sees every brand's update."
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
CSS = """
:root { color-scheme: light dark; --page: #fff; --ink: #1b1f24; --soft: #59636e; --rule: #d5dae0;
  --panel: #f5f7f9; --warn: #8a3b00; --warn-bg: #fff1e0; --ok: #0b5a44; --ok-bg: #e3f5ee; }
@media (prefers-color-scheme: dark) { :root { --page: #14171b; --ink: #e8eaed; --soft: #a0a9b4;
  --rule: #3a424c; --panel: #1c2127; --warn: #ffc078; --warn-bg: #3a2608; --ok: #7fdcb9;
  --ok-bg: #0e3328; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1.25rem 4rem; max-width: 60rem; background: var(--page);
  color: var(--ink); overflow-wrap: anywhere;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .3rem; }
h2 { font-size: 1.15rem; margin: 2.6rem 0 .6rem; }
.question, .note, figcaption { color: var(--soft); }
.question { margin: 0; font-size: 1.05rem; }
.note, figcaption { font-size: .88rem; margin: .5rem 0 0; }
.answer { font-size: 1.25rem; line-height: 1.45; margin: 1.4rem 0; }
.privacy { border-left: 5px solid; border-radius: 6px; padding: .7rem 1rem; }
.privacy strong { display: block; font-size: 1.05rem; }
.privacy p { margin: .25rem 0 0; color: var(--ink); font-size: .93rem; }
.warn { color: var(--warn); background: var(--warn-bg); border-color: var(--warn); }
.ok { color: var(--ok); background: var(--ok-bg); border-color: var(--ok); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums;
  font-size: .92rem; overflow-wrap: normal; }
th, td { padding: .42rem .7rem; border-bottom: 1px solid var(--rule); text-align: right; }
th { font-weight: 600; vertical-align: bottom; }
td { white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
.dot { display: inline-block; width: .7em; height: .7em; border-radius: 50%; margin-right: .5em; }
figure { margin: 0; }
svg { display: block; max-width: 100%; min-width: 30rem; height: auto; }
dl { display: grid; grid-template-columns: minmax(7rem, 12rem) 1fr; gap: .35rem 1.2rem;
  font-size: .93rem; }
dt { color: var(--soft); } dd { margin: 0; }
details { margin: .8rem 0; } summary { cursor: pointer; }
pre { background: var(--panel); border: 1px solid var(--rule); border-radius: 6px; padding: .8rem;
  font-size: .82rem; line-height: 1.4; white-space: pre-wrap; }
@media (max-width: 34rem) { dl { grid-template-columns: 1fr; } dd { margin-bottom: .5rem; } }
@media print { :root { color-scheme: light; --page: #fff; --ink: #000; --soft: #444; --rule: #ccc; }
  body { padding: 0; max-width: none; font-size: 11pt; } figure, tr { break-inside: avoid; }
  h2 { break-after: avoid; } td { white-space: normal; }
  .scroll { overflow: visible; } svg { min-width: 0; }
  details::details-content { content-visibility: visible; height: auto; } }
"""


def write_report(out: Path, rows: Sequence[Row], run: Mapping[str, object]) -> Path:
    """Write ``out/report.html`` and return its path.

    Args:
        out: a folder; it is made if it is not there.
        rows: of one run.
        run: the content of ``run.json``; any entry may be missing or null.

    Raises:
        ValueError: ``rows`` of more than one run.
        OSError: the folder cannot be written; an older report is then still whole.
    """
    out.mkdir(parents=True, exist_ok=True)
    path = out / "report.html"
    atomic_write(path, page(rows, run).encode())
    return path


def page(rows: Sequence[Row], run: Mapping[str, object]) -> str:
    """The report as text; the same arguments give the same text."""
    title = _text(run.get("experiment")) or next((row.experiment for row in rows), "Report")
    every, rows = rows, main_rows(rows, run)
    sections = (
        _header(title, rows, run),
        _tables(rows, run),
        *(section_table(found, {}) for found in task_tables(run)),
        _utility(every, run),
        *map(section_figure, (*task_plots(run), *all_plots(rows, run))),
        about(run),
    )
    return document(title, sections)


def document(title: str, sections: Iterable[str]) -> str:
    """A whole page from its sections; empty ones are left out."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n"
        + "\n".join(section for section in sections if section)
        + "\n</body>\n</html>\n"
    )


def _header(title: str, rows: Sequence[Row], run: Run) -> str:
    question, found = _text(run.get("question")), answer(rows, run.get("gains"))
    return "\n".join(
        (
            f"<header><h1>{escape(title)}</h1>",
            f'<p class="question">{escape(question)}</p>' if question else "",
            f'<p class="answer">{escape(found)}</p>' if found else "",
            privacy_box(rows, run),
            f'<p class="note">{escape(OFFLINE)}</p></header>',
        )
    )


def privacy_box(rows: Sequence[Row], run: Run) -> str:
    """The guarantee, or in so many words that there is none."""
    plan, sums = mapping(run.get("privacy")), _text(run.get("secure_sum"))
    guaranteed, headline = privacy(rows, plan)
    secure = f"Sum of updates: {sums}. {SEEN if sums == 'plain' else ''}" if sums else ""
    notes = (_text(plan.get("statement")), secure)
    body = "".join(f"<p>{escape(text)}</p>" for text in notes if text)
    kind = "ok" if guaranteed else "warn"
    return f'<div class="privacy {kind}"><strong>{escape(headline)}</strong>{body}</div>'


def _tables(rows: Sequence[Row], run: Run) -> str:
    if not rows:
        return ""
    shown = arms(rows)
    colour = {arm_label(arm): style(arm)[0] for arm in shown}
    meanings = [(arm_label(arm), ARMS[arm][1]) for arm in shown if arm in ARMS]
    meanings += [
        (m.label, m.meaning) for n, m in METRICS.items() if any(r.metric == n for r in rows)
    ]
    tiers = tier_table(rows, run.get("gains"))
    return (
        section_table(results(rows), colour)
        + details("All metrics", section_table(results(rows, tuple(METRICS)), colour))
        + details("What the arms and metrics mean", _facts(meanings))
        + (section_table(tiers, {}) if tiers else "")
    )


def _utility(every: Sequence[Row], run: Run) -> str:
    """What privacy costs, and what exactly was promised."""
    table, plot = utility_table(every, run), utility_plot(every)
    statements = "".join(
        details(f"Privacy statement: {key}", f"<pre>{escape(chr(10).join(lines))}</pre>")
        for key, lines in all_statements(run).items()
    )
    return (
        (section_table(table, {}) if table else "")
        + (section_figure(plot) if plot else "")
        + statements
    )


def section_table(table: Table, colour: Mapping[str, str]) -> str:
    """A table with its heading and note; ``colour`` gives a dot to lines that begin so."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.header)
    body = []
    for first, *others in table.lines:
        dot = (
            f'<span class="dot" style="background:{colour[first]}"></span>'
            if first in colour
            else ""
        )
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in others)
        body.append(f"<tr><td>{dot}{escape(first)}</td>{cells}</tr>")
    return (
        f'<section><h2>{escape(table.title)}</h2><div class="scroll"><table><thead><tr>{head}</tr>'
        f"</thead><tbody>{''.join(body)}</tbody></table></div>"
        f'<p class="note">{escape(table.note)}</p></section>'
    )


def section_figure(plot: Plot) -> str:
    """A plot with its heading and caption."""
    title = escape(plot.title)
    return (
        f'<section><h2>{title}</h2><figure role="group" aria-label="{title}">'
        f'<div class="scroll">{plot.svg}</div>'
        f"<figcaption>{escape(plot.caption)}</figcaption></figure></section>"
    )


def about(run: Run) -> str:
    """How the run came about: evaluation, seeds, versions, data, configuration."""
    seconds = real(run.get("seconds"))
    versions = [f"{name} {_text(v)}" for name, v in mapping(run.get("versions")).items()]
    data = mapping(run.get("data"))
    facts = [
        ("Evaluation", _text(run.get("evaluation")) or OFFLINE),
        ("Seeds", ", ".join(map(_text, sequence(run.get("seeds"))))),
        ("Time", _duration(seconds) if math.isfinite(seconds) else ""),
        ("Commit", _text(run.get("commit"))),
        ("Versions", ", ".join(versions)),
        ("Runtime", runtime(run)),
        *(
            (f"Data: {key}", _text(data.get(key)))
            for key in ("title", "publisher", "licence", "note")
        ),
        ("Brands", str(len(mapping(data.get("brands"))) or "")),
    ]
    config = mapping(run.get("config"))
    return (
        "<section><h2>About this run</h2>"
        + _facts(facts)
        + _tuning(mapping(run.get("tuning")))
        + _absent(run.get("absent"))
        + (details("Resolved configuration", _code(config)) if config else "")
        + "</section>"
    )


def _tuning(tuning: Run) -> str:
    if not tuning:
        return ""
    budget, tried = _text(tuning.get("budget")), mapping(tuning.get("arms"))
    ordered = [a for a in ARMS if a in tried] + sorted(a for a in tried if a not in ARMS)
    facts = [(arm_label(arm), f"{len(sequence(tried[arm]))} tried") for arm in ordered]
    title = "Tuning budget" + (f": {budget} configurations for each arm" if budget else "")
    return details(title, _facts(facts) + (_code(tried) if tried else ""))


def _absent(absent: object) -> str:
    """Who was absent, why, and in which rounds; that nobody was is said as well."""
    if not isinstance(absent, list | tuple):
        return ""
    if not absent:
        return '<p class="note">No brand was absent in any round.</p>'
    rounds: dict[tuple[str, ...], list[str]] = {}
    for entry in map(mapping, absent):
        arm, seed, brand, code = (_text(entry.get(k)) for k in ("arm", "seed", "brand", "code"))
        rounds.setdefault((brand, arm_label(arm), seed, code), []).append(_text(entry.get("round")))
    lines = tuple((*key, ", ".join(numbers)) for key, numbers in sorted(rounds.items()))
    header = ("Brand", "Arm", "Seed", "Reason", "Rounds")
    note = "An absent brand has no part in that round's update."
    return details(
        f"Absent brands ({len(absent)} brand-rounds)",
        section_table(Table("Absent brands", header, lines, note), {}),
    )


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    found = [f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts if text]
    return f"<dl>{''.join(found)}</dl>" if found else ""


def details(summary: str, body: str) -> str:
    """Markup that opens on a click."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


def _code(value: object) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2, ensure_ascii=False, default=str))}</pre>"


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "min"), (rest, "s")]
    return " ".join(f"{count} {unit}" for count, unit in parts if count) or "under 1 s"
