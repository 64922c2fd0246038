"""Whom to treat, in the report: every line and curve of a run's entry, and nothing without one."""

from __future__ import annotations

from fl.report.html import page
from fl.report.uplift import uplift_plots, uplift_table

POINTS = [[u / 20, u / 200, u / 250, u / 150, 0.01, 0.0, 0.02] for u in range(21)]


def entry(arm: str, campaign: str, privacy: str = "none", **other: object) -> dict[str, object]:
    figures = {"qini": [0.007, 0.005, 0.009], "auuc": [0.03, 0.02, 0.04], "top": [0.01, 0.0, 0.02]}
    return {
        **{"arm": arm, "campaign": campaign, "privacy": privacy, "customers": 42613},
        **figures,
        "curve": POINTS,
        **other,
    }


def run(*arms: dict[str, object], folds: int = 5) -> dict[str, object]:
    return {"uplift": {"learner": "dr", "passes": 2, "folds": folds, "arms": list(arms)}}


MADE = run(
    entry("federated", "mail"),
    entry("federated", "<b>call"),
    entry("federated", "mail", "distributed-1"),
    entry("pooled", "mail"),
)


def test_a_line_for_each_arm_by_campaign() -> None:
    table = uplift_table(MADE)
    assert table is not None
    assert [line[0] for line in table.lines] == [
        "mail: Federated",
        "mail: Federated, distributed, epsilon 1",
        "mail: Pooled",
        "<b>call: Federated",
    ]
    assert table.lines[0][1:3] == ("42,613", "+0.700 [+0.500, +0.900]")
    assert "2 divisions of all customers into 5 folds" in table.note
    without = uplift_table(run(entry("federated", "mail"), folds=0))
    assert without is not None and "first seed" in without.note


def test_curves_are_drawn_with_a_panel_for_each_campaign() -> None:
    order, policy = uplift_plots(MADE)
    for plot in (order, policy):
        assert plot.svg.count("Treated, best first, %") == 2
        assert "Federated, distributed, epsilon 1" in plot.svg and "<b>call" not in plot.svg
    text = page([], MADE)
    assert "Qini curves" in text and "what treating the best customers brings" in text


def test_a_run_without_effects_or_with_broken_ones_shows_nothing() -> None:
    for nothing in ({}, {"uplift": None}, run(entry("federated", "mail", qini=None))):
        assert uplift_table(nothing) is None and uplift_plots(nothing) == []
    missing = run(entry("federated", "mail", qini=[None, None, None]))
    table = uplift_table(missing)
    assert table is not None and "+" not in table.lines[0][2]
