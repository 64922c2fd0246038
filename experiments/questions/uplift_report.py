"""What a campaign's report says: the effect over all brands and at each, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from experiments.journal import Piece
from experiments.questions.study import Findings, Pieces, Tables
from experiments.questions.uplift import UpliftStudy
from experiments.settings import epsilon_of
from fl.contracts import Floats, Unit
from fl.data.campaign import OBSERVATIONAL, Campaign, stated
from fl.data.dataset import DataSet
from fl.privacy import NoPrivacy
from fl.report.answers import Block, Text
from fl.report.effects import Effect, heterogeneity, mantel_haenszel, pooled, same_shares, small
from fl.report.plots import INK, Plot, canvas, draw, style
from fl.report.rows import Row
from fl.report.table import Table
from fl.seeds import numpy_generator
from fl.tasks.uplift import CELLS, OVERALL, STRATUM, counted

if TYPE_CHECKING:
    from experiments.questions.inquiry import Inquiry

_SHOWN = 60  # brands in a forest plot
_SURELY = 1e-3  # of chance alone


@dataclass(frozen=True, slots=True)
class _Counted:
    """One answer: counts of all customers and in strata, and the noise on each count."""

    all_ao: Floats
    c_sao: Floats
    tau_all: float
    tau_s: float

    @staticmethod
    def of(cells: Floats, std: float) -> _Counted:
        all_ao, c_sao = counted({CELLS: cells})
        return _Counted(all_ao, c_sao, std / OVERALL, std / STRATUM)

    def effects(self, arm: int, *, observational: bool) -> dict[str, Effect]:
        """By estimator, the one to trust first; observational data allow the stratified only."""
        stratified = mantel_haenszel(self.c_sao, arm, self.tau_s)
        if observational:
            return {"stratified": stratified}
        together = pooled(self.all_ao, arm, self.tau_all)
        if self.mixed(arm):  # the first one is the answer
            return {"stratified": stratified, "pooled_counts": together}
        return {"pooled_counts": together, "stratified": stratified}

    def mixed(self, arm: int) -> bool:
        """Whether strata surely treat different shares, so that one count of all mixes them."""
        return same_shares(self.c_sao, arm, self.tau_s) < _SURELY


def findings(
    study: UpliftStudy,
    how: Inquiry,
    data: DataSet,
    tables: Mapping[int, Tables],
    pieces: Pieces,
) -> Findings:
    """Rows of every guarantee and seed; the answer shown is the first guarantee's first seed."""
    campaign, brands = stated(data.schema.campaign), list(tables[how.seeds[0]])
    observed = campaign.design == OBSERVATIONAL
    rows: list[Row] = []
    held: list[tuple[str, ...]] = []
    for label, by_seed in pieces.items():
        rows += _rows(study, how, data, label, by_seed, brands, exact=not rows)
        first = by_seed[how.seeds[0]]
        if how.plans[label].unit is not Unit.NONE and study.draws:
            held += _holds(study, campaign, label, first, observational=observed)
    label = next(iter(pieces))
    piece = pieces[label][how.seeds[0]]
    seen = _Counted.of(np.asarray(piece.arrays[f"model/{CELLS}"]), piece.note["noise_std"])
    blocks: list[Block] = [_reading(study, campaign)]
    for arm, name in enumerate(campaign.arms, 1):
        blocks.append(_overall(seen, arm, name, observational=observed))
        if not observed:
            blocks.append(_forest(seen, arm, name, brands))
    if held:
        header = ("Guarantee, arm, estimate", "Pooled estimate covered", "Truth covered")
        drawn = "each stratum's" if observed else "the"
        note = (
            f"Of {study.draws} repetitions with fresh noise: how often the 95 % interval holds the "
            f"estimate from pooled rows; and with customers drawn anew from {drawn} pooled rates "
            "as truth as well, how often it holds that truth."
        )
        blocks.append(Table("Do the intervals hold?", header, tuple(held), note))
    return Findings(_answer(seen, campaign, brands, observational=observed), rows, blocks)


def _rows(
    study: UpliftStudy,
    how: Inquiry,
    data: DataSet,
    label: str,
    by_seed: Mapping[int, Piece],
    brands: Sequence[str],
    *,
    exact: bool,
) -> list[Row]:
    """Value and interval are those of one release, in the mean over seeds (releases).

    With ``exact``, what pooling all rows gives as well: no guarantee covers that.
    """
    campaign, plan = stated(data.schema.campaign), how.plans[label]
    observed = campaign.design == OBSERVATIONAL
    pieces = list(by_seed.values())
    true = [_Counted.of(np.asarray(p.arrays["exact/cells"]), 0.0) for p in pieces]
    seen = [
        _Counted.of(np.asarray(p.arrays[f"model/{CELLS}"]), p.note["noise_std"]) for p in pieces
    ]
    rows: list[Row] = []

    def note(kind: str, brand: str, metric: str, releases: Sequence[Effect]) -> None:
        known = [e for e in releases if np.isfinite(e.value)] or releases
        value, low, high = (
            float(np.mean([getattr(e, part) for e in known])) for part in ("value", "low", "high")
        )
        told = NoPrivacy() if kind == "pooled" else plan
        rows.append(
            Row(how.experiment, data.name, study.name, "", "counts", told.name,
                epsilon_of(told), kind, brand, metric, value, low, high,
                int(sum(np.isfinite(e.value) for e in releases)))
        )  # fmt: skip

    for arm, name in enumerate(campaign.arms, 1):
        for kind, found in (("federated", seen), *([("pooled", true)] if exact else [])):
            each = [one.effects(arm, observational=observed) for one in found]
            for estimate in each[0]:
                note(kind, "pooled", f"{name}/{estimate}", [e[estimate] for e in each])
        for place, brand in () if observed else enumerate(brands):
            own = [small(one.c_sao[place], arm, one.tau_s) for one in seen]
            note("federated", brand, f"{name}/effect", own)
    return rows


def _holds(
    study: UpliftStudy, campaign: Campaign, label: str, piece: Piece, *, observational: bool
) -> list[tuple[str, ...]]:
    """Fresh noise of the plan's public size on the exact counts, and on counts drawn anew.

    The counts are drawn from an arm's one rate over all strata, so that both estimators are about
    the same truth; from each stratum's own rates where these differ by who was treated. This
    benchmark's own check, with all rows in hand: nothing of it is released by a brand.
    """
    std = float(piece.note["noise_std"])
    exact = np.asarray(piece.arrays["exact/cells"], np.float64)
    truth = _Counted.of(exact, 0.0)
    rng = numpy_generator(0, "do the intervals hold", label)
    n_sa = np.rint(truth.c_sao.sum(2)).astype(int)
    rate_a = truth.all_ao[:, 1] / truth.all_ao.sum(1)
    rate_sa = np.broadcast_to(rate_a, n_sa.shape)
    if observational:
        rate_sa = truth.c_sao[:, :, 1] / np.maximum(truth.c_sao.sum(2), 1.0)
    lines: list[tuple[str, ...]] = []
    for arm, name in enumerate(campaign.arms, 1):
        wanted = truth.effects(arm, observational=observational)
        effect = wanted["stratified"].value if observational else rate_a[arm] - rate_a[0]
        hits = {estimate: np.zeros(2) for estimate in wanted}
        for _ in range(study.draws):
            noise = rng.normal(0, std, exact.shape)
            y = rng.binomial(n_sa, rate_sa)
            again = np.stack([n_sa - y, y], -1).astype(np.float64)
            anew = np.concatenate([OVERALL * again.sum(0, keepdims=True), STRATUM * again])
            for at, cells in enumerate((exact + noise, anew + noise)):
                found = _Counted.of(cells, std).effects(arm, observational=observational)
                for estimate, e in found.items():
                    known = (wanted[estimate].value, effect)[at]
                    hits[estimate][at] += e.low <= known <= e.high
        for estimate, count in hits.items():
            shares = count / study.draws
            told = f"{label}, {name}, {estimate.replace('_', ' ')}"
            lines.append((told, f"{100 * shares[0]:.1f} %", f"{100 * shares[1]:.1f} %"))
    return lines


# ------------------------------------------------------------------------------------------ blocks


def _reading(study: UpliftStudy, campaign: Campaign) -> Text:
    told = (
        "The effect is the share of treated customers with the outcome less that of control "
        "customers, in percentage points. A 95 % interval covers chance in who was treated and, "
        "where a guarantee is in force, the noise."
    )
    if campaign.design == OBSERVATIONAL:
        told = (
            "OBSERVATIONAL DATA: who was treated was not left to chance. The effect below compares "
            f"customers with the same chance of treatment according to {study.propensity_model!r} "
            f"(column {study.propensity}). Whatever that model leaves out is counted as an effect. "
        ) + told
    return Text("How to read this", told)


def _overall(seen: _Counted, arm: int, name: str, *, observational: bool) -> Table:
    words = {"pooled_counts": "All customers counted together", "stratified": "Within strata (MH)"}
    lines = [
        (
            words[k], _points(e.value), f"{_points(e.low)} to {_points(e.high)}",
            f"{100 * e.error:.3f}", f"{100 * e.noise:.3f}",
            f"{100 * e.treated:.2f} %", f"{100 * e.control:.2f} %",
        )
        for k, e in seen.effects(arm, observational=observational).items()
    ]  # fmt: skip
    spread = heterogeneity(seen.c_sao, arm, seen.tau_s)
    header = (
        "Estimate",
        "Effect",
        "95 % interval",
        "Std. error",
        "of it noise",
        "Treated",
        "Control",
    )
    note = (
        f"In percentage points. Strata differ: Q = {spread.q:.1f} on {spread.freedom} degrees, "
        f"p = {spread.p_value:.3f}, I2 = {100 * spread.i_squared:.0f} %."
    )
    if not observational and seen.mixed(arm):
        note += (
            " BRANDS TREAT DIFFERENT SHARES of their customers, so all counted together mixes the "
            "brands' own rates into the effect (Simpson's paradox): read the one within strata."
        )
    return Table(f"What {name} changed", header, tuple(lines), note)


def _forest(seen: _Counted, arm: int, name: str, brands: Sequence[str]) -> Plot:
    found = [(b, small(seen.c_sao[i], arm, seen.tau_s)) for i, b in enumerate(brands)]
    known = sorted((x for x in found if np.isfinite(x[1].value)), key=lambda x: x[1].error)
    shown = known[:_SHOWN][::-1]
    whole = mantel_haenszel(seen.c_sao, arm, seen.tau_s)
    figure, (axes,) = canvas(height=1.4 + 0.2 * len(shown))
    colour, marker = style("federated")
    for at, (_, e) in enumerate(shown):
        axes.plot([100 * e.low, 100 * e.high], [at] * 2, color=colour, linewidth=1.3, alpha=0.6)
        axes.plot([100 * e.value], [at], color=colour, marker=marker, markersize=4)
    axes.axvline(0, color=INK, linewidth=0.9)
    axes.axvspan(100 * whole.low, 100 * whole.high, color=colour, alpha=0.15)
    axes.set_yticks(range(len(shown)), [b[:26] for b, _ in shown], fontsize=8)
    axes.set_xlabel("Effect, percentage points")
    caption = (
        f"{len(shown)} of {len(brands)} brands, the most certain on top; bars are 95 % intervals "
        "(Agresti and Caffo, with the noise). Band: all brands. Brands whose arms are lost in the "
        "noise, or have nobody, are left out."
    )
    return draw(f"forest-{arm}", f"{name}: each brand", caption, figure)


def _answer(
    seen: _Counted, campaign: Campaign, brands: Sequence[str], *, observational: bool
) -> str:
    parts = []
    for arm, name in enumerate(campaign.arms, 1):
        e = next(iter(seen.effects(arm, observational=observational).values()))
        how = " within brands" if seen.mixed(arm) and not observational else ""
        if not np.isfinite(e.value):
            parts.append(f"{name}: too few customers in an arm to say")
            continue
        sure = "" if e.low > 0 or e.high < 0 else ", which may be chance"
        parts.append(
            f"{name}: {_points(e.value)} points{how} ({100 * e.treated:.2f} % against "
            f"{100 * e.control:.2f} %; {_points(e.low)} to {_points(e.high)}){sure}"
        )
    told = "; ".join(parts) + f". {len(brands)} brands counted together."
    return ("Observational, resting on a propensity model: " if observational else "") + told


def _points(value: float) -> str:
    return f"{100 * value:+.3f}"
