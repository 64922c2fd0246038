"""The report and the tables: complete, safe to open, honest about privacy and evaluation."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from collections.abc import Sequence
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from fl.report.html import OFFLINE, page, write_report
from fl.report.metrics import METRICS
from fl.report.plots import STYLE, all_plots
from fl.report.rows import Row, Setting, Values, gains, summarise
from fl.report.table import answer, number, privacy, results, tier_table
from fl.report.terminal import show_run

EVIL = '<script>alert(1)</script> & "Söhne" $x$ | [red]'
BRANDS = ("north", "south", EVIL)
TIERS = {"north": "small", "south": "large", EVIL: "small"}
START = {"alone": 0.69, "federated": 0.73, "finetuned": 0.735, "pooled": 0.731}
NONE = Setting("quickstart", "panel", "conversion", "mlp", "fedavg", "none")


def values(start: dict[str, float], seeds: int = 3) -> Values:
    """Every metric of every arm, a little different for each brand and seed."""
    return {
        arm: {
            metric: {
                brand: [middle + 0.01 * place + 0.001 * seed**2 for seed in range(seeds)]
                for place, brand in enumerate(BRANDS)
            }
            for metric in METRICS
        }
        for arm, middle in start.items()
    }


ROWS = summarise(NONE, values(START), tiers=TIERS)
GAINS = gains(values(START), "auc", tiers=TIERS)
FULL: dict[str, object] = {
    "experiment": "quickstart",
    "question": "Does training together help? " + EVIL,
    "config": {"model": {"name": "mlp"}, "note": EVIL},
    "versions": {"torch": "2.13.0"},
    "commit": "0f3c2ab",
    "seeds": [0, 1, 2],
    "seconds": 3754.2,
    "evaluation": "All test rows were in hand.",
    "privacy": {"name": "none", "unit": "none", "statement": "Exact sums leave the brand."},
    "secure_sum": "plain",
    "data": {
        "title": "A panel " + EVIL,
        "publisher": "A publisher",
        "licence": "CC0",
        "note": "Made up.",
        "brands": {b: {"rows": 30 * n, "customers": 10 * n} for n, b in enumerate(BRANDS, 1)},
        "tiers": TIERS,
    },
    "tuning": {"budget": 2, "arms": {arm: [{"lr": 0.1}, {"lr": 0.2}] for arm in START}},
    "absent": [
        {"seed": 0, "arm": "federated", "round": r, "brand": EVIL, "code": "brand.silent"}
        for r in (3, 5)
    ],
    "history": [
        {"seed": s, "arm": a, "round": r, "metric": "log_loss", "value": 0.5 / r + 0.01 * s}
        for s in range(2)
        for a in ("alone", "federated", EVIL)
        for r in range(1, 5 - s)
    ],
    "calibration": {"alone": [[0.1, 0.12, 5], [0.3, 0.28, 5]], "federated": [[0.1, 0.1, 5]]},
    "additive": {
        "age": {"levels": ["18", "40", "90"], "contribution": [-0.2, 0.1, 0.3], "kind": "number"},
        EVIL: {"levels": ["(other)", EVIL], "contribution": [0.0, 0.4], "kind": "category"},
        "gap": {"levels": ["missing", "1"], "contribution": [0.0, 0.4], "kind": "number"},
    },
    "gains": GAINS,
}


class Reader(HTMLParser):
    """Collects tags and text, and checks that tags close in order."""

    void = frozenset({"meta", "br", "!doctype"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def full() -> str:
    return page(ROWS, FULL)


def test_a_full_run_is_one_file_with_every_section(tmp_path: Path, full: str) -> None:
    path = write_report(tmp_path / "new" / "folder", ROWS, FULL)
    assert path == tmp_path / "new" / "folder" / "report.html"
    assert path.read_text(encoding="utf-8") == full
    reader = Reader(full)
    assert not reader.open
    for expected in (
        "Mean over brands",
        "AUC by brand size",
        "Each brand, in every arm",
        "Who gains from training together",
        "Learning, round by round",
        "Do the probabilities mean what they say?",
        "What the additive model learned",
        "About this run",
        "Resolved configuration",
        "Tuning budget: 2 configurations for each arm",
        "Absent brands (2 brand-rounds)",
        "1 h 2 min 34 s",
        "CC0",
        "0f3c2ab",
        "torch 2.13.0",
        "All test rows were in hand.",
        "The coordinator sees every brand's update.",
    ):
        assert expected in reader.text
    assert full.count("<svg") == 5


@pytest.mark.parametrize("rows", [(), ROWS], ids=["no rows", "rows"])
@pytest.mark.parametrize("run", [{}, dict.fromkeys(FULL)], ids=["missing", "null"])
def test_a_minimal_run_still_says_what_must_be_said(
    rows: Sequence[Row], run: dict[str, object]
) -> None:
    reader = Reader(page(rows, run))
    assert not reader.open
    assert OFFLINE in reader.text
    expected = "plan 'none' chosen by name" if rows else "Privacy: not recorded"
    assert expected in reader.text
    assert "Resolved configuration" not in reader.text
    assert "Absent" not in reader.text


def test_data_is_never_markup(full: str) -> None:
    reader = Reader(full)
    assert EVIL in reader.text
    assert "<script" not in full.lower()
    attributes = {name for _, attrs in reader.tags for name in attrs}
    assert not [name for name in attributes if name.startswith("on")]


def test_nothing_is_fetched(full: str) -> None:
    without_namespaces = re.sub(r'xmlns(:\w+)?="[^"]*"', "", full)
    assert "http://" not in without_namespaces
    assert "https://" not in without_namespaces
    reader = Reader(full)
    tags = {tag for tag, _ in reader.tags}
    assert not tags & {"script", "link", "img", "iframe", "object", "image", "base"}
    links = [v for _, attrs in reader.tags for k, v in attrs.items() if k.endswith("href")]
    assert all(str(link).startswith("#") for link in links)
    assert "@import" not in full
    assert "default-src 'none'" in full


def test_references_inside_the_page_resolve_and_ids_are_unique(full: str) -> None:
    reader = Reader(full)
    ids = [attrs["id"] for _, attrs in reader.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    used = {str(v) for _, a in reader.tags for k, v in a.items() if k.endswith("href")}
    used |= set(re.findall(r"url\((#[^)]+)\)", full))
    assert used <= {f"#{name}" for name in ids}


def test_the_report_says_how_it_was_evaluated_and_that_nothing_is_private(full: str) -> None:
    text = Reader(full).text
    assert OFFLINE in text
    assert "No privacy guarantee: plan 'none' chosen by name" in text
    assert 'class="privacy warn"' in full


def test_a_guarantee_is_named_with_its_unit_and_epsilon() -> None:
    setting = Setting("e", "d", "t", "m", "fedavg", "customer_dp", 8.0)
    rows = summarise(setting, values({"federated": 0.7}))
    found = page(rows, {"privacy": {"name": "customer_dp", "unit": "customer"}})
    assert 'class="privacy ok"' in found
    assert "Privacy: plan 'customer_dp', protects each customer, epsilon 8" in Reader(found).text
    assert results(rows).header[-1] == "Epsilon"


def test_the_same_run_gives_the_same_bytes(full: str) -> None:
    assert page(ROWS, FULL) == full


def test_many_brands_stay_legible() -> None:
    many = {f"brand-{n:03d}": [0.5 + n / 1000] for n in range(200)}
    (plot,) = all_plots(summarise(NONE, {"alone": {"auc": many}}), {})
    assert "60 of 200 brands are shown" in plot.caption
    assert "brand-000" in plot.svg
    assert "brand-199" in plot.svg


def test_arms_keep_their_colours_in_every_plot() -> None:
    for plot in all_plots(ROWS, FULL):
        assert plot.name == "additive" or STYLE["federated"][0] in plot.svg


def test_odd_entries_are_left_out_not_fatal() -> None:
    odd = {name: "text" for name in FULL} | {"calibration": {"alone": [["x"], None]}}
    assert OFFLINE in Reader(page(ROWS, odd | {"history": [None, {"metric": "log_loss"}]})).text


def test_the_answer_has_the_paired_interval() -> None:
    """Gains are the same in each seed, 0.04, so the interval has no width."""
    assert answer(ROWS, GAINS) == (
        "Training together raises the mean brand's AUC from 0.702 to 0.742 (+0.040, 95 % interval "
        "+0.040 to +0.040); tuning the result on at each brand gives 0.747; pooling all records, "
        "which privacy forbids, would give 0.743."
    )


def test_the_answer_does_not_claim_what_may_be_chance() -> None:
    unclear = {"mean": {"metric": "auc", "federated_minus_alone": [0.04, -0.01, 0.09]}}
    assert "moves" in answer(ROWS, unclear)
    assert "may be chance" in answer(ROWS, unclear)
    assert "no interval" in answer(ROWS)
    other = {"mean": {"metric": "brier", "federated_minus_alone": [0.04, 0.03, 0.05]}}
    assert "no interval" in answer(ROWS, other)


def test_the_answer_tells_a_loss() -> None:
    worse = summarise(NONE, values({"alone": 0.7, "federated": 0.6}, seeds=1))
    assert answer(worse).startswith("Training together lowers")
    assert answer(summarise(NONE, values({"alone": 0.7}))) == ""
    assert answer(()) == ""


def test_tables_are_the_same_everywhere() -> None:
    file, run = io.StringIO(), {"gains": GAINS}
    show_run(Console(file=file, width=200), ROWS, run)
    for text in (file.getvalue(), unescape(page(ROWS, run))):
        for cell in ("Federated", "0.742 ± 0.005", "+0.040 [+0.040, +0.040]", "small", "large"):
            assert cell in text
        assert privacy(ROWS)[1] in text


def test_tiers_without_paired_gains_show_the_difference() -> None:
    table = tier_table(ROWS)
    assert table is not None
    assert [line[-1] for line in table.lines] == ["+0.040", "+0.040"]
    assert tier_table(summarise(NONE, values(START))) is None


def test_rows_of_two_runs_are_refused() -> None:
    with pytest.raises(ValueError, match="one run"):
        results([*ROWS, *ROWS])


@pytest.mark.parametrize(
    ("value", "sign", "expected"),
    [(0.5, True, "+0.500"), (-0.0001, True, "+0.000"), (float("nan"), False, "\N{EN DASH}")],
)
def test_numbers_are_plain(value: float, sign: bool, expected: str) -> None:
    assert number(value, sign=sign) == expected


def test_importing_the_report_loads_no_heavy_library() -> None:
    """Start-up time: these are imported where they are used."""
    code = (
        "import sys, fl.report.html; "
        "sys.exit(bool({'matplotlib', 'sklearn', 'scipy', 'rich', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
