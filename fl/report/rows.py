"""Rows of ``results.json``: one number per arm, metric and brand (or group), with its interval.

Seeds are the unit of repetition. A group's value is formed within each seed first (the mean over
brands, the worst brand), and only then averaged over seeds; so the interval of a mean is narrower
than those of its brands, as it should be. Comparisons of arms are paired by seed (:func:`gains`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from fl.errors import InputError
from fl.report.files import atomic_write
from fl.report.metrics import METRICS, NAN, interval

MEAN, WORST, POOLED, TIER = "mean", "worst", "pooled", "tier:"

PerSeed = Sequence[float]  # one value per seed, always in the same order; NaN where there is none
PerBrand = Mapping[str, PerSeed]
Values = Mapping[str, Mapping[str, PerBrand]]  # arm -> metric -> brand -> values
PooledValues = Mapping[str, Mapping[str, PerSeed]]  # arm -> metric -> values
Gains = dict[str, dict[str, str | list[float]]]


@dataclass(frozen=True, slots=True)
class Setting:
    """What all rows of a run share; see :class:`Row`."""

    experiment: str
    data: str
    task: str
    model: str
    algorithm: str
    privacy: str
    epsilon: float | None = None

    def __post_init__(self) -> None:
        _require_epsilon(self.epsilon)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of ``results.json``.

    Attributes:
        experiment: name of the experiment's config; the next five likewise.
        epsilon: the guarantee's epsilon, finite and >= 0, or None without a guarantee.
        arm: ``alone``, ``federated``, ``finetuned``, ``pooled``, ...
        brand: a brand id; ``mean`` or ``worst`` over brands; ``pooled``, all test rows at once;
            ``tier:NAME``, the mean over brands of one size tier.
        metric: a name in :data:`fl.report.metrics.METRICS`.
        value: mean over seeds, or NaN.
        low: lower end of the 95 % interval over seeds, or NaN (one seed, no value).
        high: upper end.
        seeds: how many seeds have a value, >= 0.
    """

    experiment: str
    data: str
    task: str
    model: str
    algorithm: str
    privacy: str
    epsilon: float | None
    arm: str
    brand: str
    metric: str
    value: float
    low: float
    high: float
    seeds: int

    def __post_init__(self) -> None:
        _require_epsilon(self.epsilon)
        if self.seeds < 0:
            raise ValueError(f"Expected seeds={self.seeds} >= 0.")


def summarise(
    setting: Setting,
    values: Values,
    *,
    pooled: PooledValues | None = None,
    tiers: Mapping[str, str] | None = None,
) -> list[Row]:
    """The rows of a run: per arm and metric, each brand, then ``mean``, ``worst``, tiers, pooled.

    Args:
        setting: what the run was.
        values: ``values[arm][metric][brand]``, one number per seed, NaN where undefined (one class
            among a brand's test rows). A brand without a value in a seed has no part in that seed's
            mean, worst and tiers.
        pooled: ``pooled[arm][metric]``, from all brands' test rows at once, one number per seed.
        tiers: the size tier of each brand; brands without one are in no tier.

    Raises:
        ValueError: a metric that is not in ``METRICS``, or brands with different numbers of seeds.
        InputError: a brand is named like a group.
    """
    return [
        _row(setting, arm, brand=brand, metric=metric, per_seed=per_seed)
        for arm, metrics in values.items()
        for metric, brands in metrics.items()
        for brand, per_seed in _brands_and_groups(
            brands, metric, tiers=tiers or {}, pooled=(pooled or {}).get(arm, {}).get(metric)
        )
    ]


def gains(values: Values, metric: str, *, tiers: Mapping[str, str] | None = None) -> Gains:
    """``federated`` minus each other arm, paired by seed: per brand, mean and tier.

    The form is that of ``run.json``: ``{brand: {"metric": metric, "federated_minus_alone": [mean,
    low, high], ...}}``. A seed counts where both arms have a value. The sign is that of the
    difference, whatever the direction of ``metric``. Empty if the federated arm is missing.
    """
    if metric not in values.get("federated", {}):
        return {}
    own = _means(values["federated"][metric], tiers or {})
    result: Gains = {brand: {"metric": metric} for brand in own}
    for arm, metrics in values.items():
        if arm == "federated" or metric not in metrics:
            continue
        other = _means(metrics[metric], tiers or {})
        for brand in own.keys() & other.keys():
            pairs = zip(own[brand], other[brand], strict=True)
            result[brand][f"federated_minus_{arm}"] = list(interval([a - b for a, b in pairs]))
    return result


def to_json(path: Path, rows: Sequence[Row]) -> None:
    """Write a flat list, one row per line; NaN becomes null. All of it or nothing is written."""
    lines = [json.dumps(_plain(row), ensure_ascii=False, allow_nan=False) for row in rows]
    body = "[\n" + ",\n".join(lines) + "\n]\n" if lines else "[]\n"
    atomic_write(path, body.encode())


def from_json(path: Path) -> tuple[Row, ...]:
    """Read what :func:`to_json` wrote.

    Raises:
        InputError: the file is not a list of rows with exactly the fields of :class:`Row`.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return tuple(_parsed(entry) for entry in found)
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(
            str(path), "not a list of result rows", "write it again with the run that made it"
        ) from error


def require_brand_ids(brands: Sequence[str]) -> None:
    """Refuse brand ids that mean a group in ``results.json``; worth calling before training.

    >>> require_brand_ids(["north", "mean"])
    Traceback (most recent call last):
    fl.errors.InputError: brand mean: the name means a group of brands. To fix it: rename the brand.
    """
    for brand in brands:
        if brand in {MEAN, WORST, POOLED} or brand.startswith(TIER):
            raise InputError(
                f"brand {brand}", "the name means a group of brands", "rename the brand"
            )


def _require_epsilon(epsilon: float | None) -> None:
    if epsilon is not None and not 0 <= epsilon < math.inf:
        raise ValueError(f"Expected epsilon={epsilon} finite and >= 0, or None for no guarantee.")


def _brands_and_groups(
    brands: PerBrand, metric: str, *, tiers: Mapping[str, str], pooled: PerSeed | None
) -> Iterator[tuple[str, PerSeed]]:
    if metric not in METRICS:
        raise ValueError(f"Expected metric={metric!r} among {', '.join(METRICS)}.")
    require_brand_ids(list(brands))
    yield from brands.items()
    groups = _means(brands, tiers)
    yield MEAN, groups.pop(MEAN)
    worst = min if METRICS[metric].higher_is_better else max
    yield WORST, [worst(kept, default=NAN) for kept in _per_seed(brands)]
    yield from ((name, groups[name]) for name in groups if name.startswith(TIER))
    if pooled is not None:
        yield POOLED, pooled


def _means(brands: PerBrand, tiers: Mapping[str, str]) -> dict[str, PerSeed]:
    """Brands as they are, the mean over all, and the mean over each tier, in the order given."""
    result: dict[str, PerSeed] = dict(brands)
    result[MEAN] = [_mean(kept) for kept in _per_seed(brands)]
    for tier in dict.fromkeys(tiers.values()):
        members = {brand: brands[brand] for brand in brands if tiers.get(brand) == tier}
        if members:
            result[TIER + tier] = [_mean(kept) for kept in _per_seed(members)]
    return result


def _per_seed(brands: PerBrand) -> list[list[float]]:
    """For each seed, the brands' values that are not NaN."""
    if len({len(per_seed) for per_seed in brands.values()}) > 1:
        raise ValueError("Expected as many values as seeds for every brand; NaN where none.")
    columns = zip(*brands.values(), strict=True)
    return [[float(value) for value in column if not math.isnan(value)] for column in columns]


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else NAN


def _row(setting: Setting, arm: str, *, brand: str, metric: str, per_seed: PerSeed) -> Row:
    value, low, high = interval(per_seed)
    return Row(
        **{item.name: getattr(setting, item.name) for item in fields(Setting)},
        arm=arm,
        brand=brand,
        metric=metric,
        value=value,
        low=low,
        high=high,
        seeds=sum(not math.isnan(v) for v in per_seed),
    )


def _plain(row: Row) -> dict[str, str | float | None]:
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in asdict(row).items()
    }


def _parsed(entry: Mapping[str, object]) -> Row:
    numbers = {name: entry[name] for name in ("value", "low", "high") if name in entry}
    known = {name: NAN if value is None else value for name, value in numbers.items()}
    return Row(**{**entry, **known})  # type: ignore[arg-type]
