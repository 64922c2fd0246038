"""Brand-level differential privacy with a trusted coordinator: for simulations of many brands.

The unit is a brand with all of its customers; neighbouring federations differ by one brand (add or
remove). McMahan, Ramage, Talwar, Zhang, "Learning Differentially Private Recurrent Language
Models", ICLR 2018, Algorithm 1 with a fixed denominator: every update is clipped, the sum is
noised, and the mean is taken with a public constant. So neither unequal sizes nor brands that drop
out change the guarantee.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from torch import Tensor, nn

from fl import arrays
from fl.arrays import Arrays
from fl.contracts import Ints, Limits, NodeId, R, Task, Unit, Update
from fl.doors import Ask, Statistic, Training
from fl.events import Composed, Gaussian, PrivacyEvent, Sampled
from fl.privacy import parameters, statistics
from fl.privacy.calibration import affordable
from fl.privacy.noise import noised
from fl.privacy.none import NoPrivacy

_EXACT = NoPrivacy(weighting="equal")  # inside a brand nothing is hidden from the brand


@dataclass(frozen=True, slots=True)
class BrandPrivacy:
    """Central noise on the sum of clipped updates.

    Attributes:
        epsilon: of a whole run, for a brand; None where ``noise_multiplier`` is given instead.
        delta: in [1e-9, 1).
        noise_multiplier: standard deviation of the noise over ``clip_norm``.
        clip_norm: L2 bound of one brand's update.
        sampling_rate: probability with which a brand takes part in a round of training.
        query_noise_multiplier: of one query, in which all brands take part.
        accountant: whose figure keeps ``epsilon``: ``pld``, ``prv`` or ``rdp``.
        noise_source: ``secure``; any other name is for tests, and brands refuse it.
        brands: how many brands are enrolled; public, set when a run starts.
        sigma: the noise multiplier in force; set when a run starts (:meth:`calibrated`).
    """

    name: str = "brand"
    epsilon: float | None = 8.0
    delta: float = 1e-3
    noise_multiplier: float | None = None
    clip_norm: float = 1.0
    sampling_rate: float = 1.0
    query_noise_multiplier: float = 10.0
    accountant: str = "pld"
    noise_source: str = "secure"
    brands: int = field(default=0, metadata=parameters.RUN_STATE)
    sigma: float = field(default=0.0, metadata=parameters.RUN_STATE)

    def __post_init__(self) -> None:
        parameters.check(
            self,
            positive={"query_noise_multiplier": self.query_noise_multiplier},
            whole={"brands": self.brands, "sigma": self.sigma},
        )

    @property
    def unit(self) -> Unit:
        """A brand, with all of its customers."""
        return Unit.BRAND

    @property
    def trust(self) -> str:
        """Who is trusted with what, in a sentence. Guarantee: what the figures assume."""
        return "The coordinator sees every clipped update and adds the noise: it is trusted."

    @property
    def needs_hidden_updates(self) -> bool:
        """The coordinator is trusted with them. Guarantee: what ``trust`` says."""
        return False

    # --- before a run ---------------------------------------------------------------------------

    def enrolled(self, brands: int) -> BrandPrivacy:
        """The plan for so many brands. Guarantee: only the public denominator changes."""
        return replace(self, brands=brands)

    @property
    def needs_headcount(self) -> bool:
        """Sizes play no part. Guarantee: no count leaves a brand."""
        return False

    def sized(self, customers: float) -> BrandPrivacy:
        """Nothing depends on it. Guarantee: unchanged."""
        return self

    def calibrated(self, cost: Callable[[BrandPrivacy], PrivacyEvent]) -> BrandPrivacy:
        """As ``CustomerPrivacy.calibrated``. Guarantee: the run costs at most ``epsilon``."""
        if self.epsilon is None:
            return replace(self, sigma=self.noise_multiplier or 0.0)
        found = affordable(
            lambda s: cost(replace(self, sigma=s)), self.epsilon, self.delta, self.accountant
        )
        return replace(self, sigma=found)

    # --- what it costs --------------------------------------------------------------------------

    def event(self, ask: Ask, training: Training) -> PrivacyEvent:
        """Brands pay at the coordinator. Guarantee: nothing is promised to a customer."""
        return Composed()

    def round_event(self, limits: Limits | None) -> PrivacyEvent:
        """The price of one sum. Guarantee: covers all that the coordinator learns and passes on."""
        if limits == {}:
            return Composed()  # nothing is sent
        if limits is not None:
            return Gaussian(self.query_noise_multiplier)
        return Sampled(self.sampling_rate, Gaussian(parameters.known(self.sigma)))

    # --- at a brand -----------------------------------------------------------------------------

    def gradients(
        self, task: Task[R], model: nn.Module, examples: R, training: Training, seed: int
    ) -> Iterator[list[Tensor]]:
        """Exact steps. Guarantee: none to customers; :meth:`bound` limits the brand."""
        return _EXACT.gradients(task, model, examples, training, seed)

    def gradient(
        self, task: Task[R], model: nn.Module, examples: R, seed: int
    ) -> tuple[list[Tensor], float]:
        """The brand's mean gradient, weight 1. Guarantee: none yet; see :meth:`bound`."""
        total, examples_counted = _EXACT.gradient(task, model, examples, seed)
        return [g / max(1.0, examples_counted) for g in total], 1.0

    def release(
        self, chunks: Iterable[tuple[Arrays, Ints]], asked: Statistic, limits: Limits, seed: int
    ) -> tuple[Arrays, float]:
        """The brand's mean statistics, weight 1. Guarantee: none yet; see :meth:`bound`."""
        sums, examples = _EXACT.release(chunks, asked, limits, seed)
        return arrays.scale(sums, 1 / max(1.0, examples)) if sums else sums, 1.0

    def weight(self, examples: int) -> float:
        """Every brand counts the same. Guarantee: does not depend on the data."""
        return 1.0

    @property
    def most_weight(self) -> float:
        """Every brand counts for 1. Guarantee: public."""
        return 1.0

    def bound(self, update: Update, limits: Limits | None) -> Update:
        """Clip the update.

        Guarantee: its divided L2 norm is at most ``clip_norm`` (1 for statistics), its weight is 1,
        whatever came in; NaN and infinity count as zero.
        """
        bounded = statistics.clip(
            update.sums, self._scales(update.sums, limits), self._norm(limits)
        )
        return Update(bounded, 1.0)

    # --- at the coordinator ---------------------------------------------------------------------

    def noise(self, total: Update, limits: Limits | None, seed: int) -> Update:
        """Gaussian noise on the sum.

        Guarantee: the Gaussian mechanism of the event's noise multiplier, for sums of bounded
        updates; an empty sum is noised like any other.
        """
        rng = parameters.source(self.noise_source, seed)
        multiplier = self.sigma if limits is None else self.query_noise_multiplier
        divided_by = self._scales(total.sums, limits)
        norm = self._norm(limits)
        add = partial(noised, clip_norm=norm, noise_multiplier=multiplier, rng=rng)
        return Update(statistics.with_noise(total.sums, divided_by, add), total.weight)

    def sample(self, nodes: Sequence[NodeId], limits: Limits | None, seed: int) -> Sequence[NodeId]:
        """A Poisson sample of brands for training, all for a query.

        Guarantee: each brand by itself with probability at most ``sampling_rate``, in secret.
        """
        if limits is not None or self.sampling_rate == 1:
            return nodes
        rng = parameters.source(self.noise_source, seed)
        chosen = rng.bernoulli(len(nodes), self.sampling_rate).tolist()
        return [node for node, taken in zip(nodes, chosen, strict=True) if taken]

    def denominator(self, total: Update, limits: Limits | None) -> float:
        """The expected number of brands. Guarantee: public; not the number that came."""
        return max(1.0, self.brands * (1.0 if limits is not None else self.sampling_rate))

    def _norm(self, limits: Limits | None) -> float:
        return self.clip_norm if limits is None else 1.0

    def _scales(self, sums: Arrays, limits: Limits | None) -> statistics.Scales:
        return dict.fromkeys(sums, 1.0) if limits is None else statistics.scales(limits)
