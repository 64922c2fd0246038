"""Customer-level differential privacy: ``local`` and ``distributed``.

The unit is a customer of one brand with all of that customer's rows; neighbouring data sets differ
by one customer (add or remove). Training is DP-SGD (Abadi et al. 2016, Algorithm 1) on customers;
counts and metrics are the Gaussian mechanism on bounded sums.

- ``local``: every brand adds all of the noise by itself, so what leaves it is private against
  everybody, coordinator and other brands included.
- ``distributed``: every brand adds a share of the noise, and a secure sum lets only the sum be
  seen, which then carries the noise once (Kairouz, Liu, Steinke, "The Distributed Discrete Gaussian
  Mechanism for Federated Learning with Secure Aggregation", ICML 2021). The figures count on
  ``brands - dropouts - colluders`` honest shares.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn

from fl.arrays import Arrays
from fl.contracts import Ints, Limits, NodeId, R, Task, Unit, Update
from fl.doors import Ask, Of, Personal, Query, Statistic, Train, Training
from fl.errors import InputError
from fl.events import Composed, Gaussian, PrivacyEvent, Repeated, Sampled
from fl.privacy import lattice, parameters, statistics
from fl.privacy.calibration import affordable
from fl.privacy.clipping import Clip
from fl.privacy.gradients import CustomerGradients, check_model, clipped_sum, poisson_batches
from fl.privacy.noise import NoiseSource, noised

NAMES = ("local", "distributed")


@dataclass(frozen=True, slots=True)
class CustomerPrivacy:
    """Both plans; they differ in who adds how much noise.

    Attributes:
        name: ``local`` or ``distributed``.
        epsilon: of a whole run, for a customer of one brand; None: ``noise_multiplier`` is given.
        delta: in [1e-9, 1); below 1 / customers of every brand.
        noise_multiplier: standard deviation of a gradient sum's noise over ``clip_norm``.
        clip_norm: L2 bound of one customer's gradient.
        clip_quantile: ``local``: during each local training the clip moves from ``clip_norm``
            towards the norm that this share of customers stays below, in (0, 1); 0: it is fixed.
        clip_rate: how fast it moves, > 0.
        clip_noise_std: noise of that share, > 0: a part of the expected sample of a mean brand.
        sampling_rate: probability with which a customer is in a step's Poisson sample; 1: all are.
        query_noise_multiplier: of one evaluation of the task's statistics.
        count_noise_multiplier: of one count of customers; a share of it under ``distributed``.
        accountant: whose figure keeps ``epsilon``: ``pld``, ``prv`` or ``rdp``.
        noise_source: ``secure``; any other name is for tests, and brands refuse it.
        person_brands: at how many brands a person may be a customer; for the second figure.
        dropouts: brands whose noise may be missing from a sum (``distributed``).
        colluders: brands that may give their noise away (``distributed``).
        customers: customers of a mean brand, public; 0: asked by a counted query before training.
        brands: how many brands are enrolled; public, set when a run starts.
        sigma: the noise multiplier in force; set when a run starts (:meth:`calibrated`).
    """

    name: str = "local"
    epsilon: float | None = 3.0
    delta: float = 1e-5
    noise_multiplier: float | None = None
    clip_norm: float = 1.0
    clip_quantile: float = 0.0
    clip_rate: float = 0.2
    clip_noise_std: float = 0.05
    sampling_rate: float = 1.0
    query_noise_multiplier: float = 10.0
    count_noise_multiplier: float = 50.0
    accountant: str = "pld"
    noise_source: str = "secure"
    person_brands: int = 3
    dropouts: int = 1
    colluders: int = 1
    customers: float = 0.0
    brands: int = field(default=0, metadata=parameters.RUN_STATE)
    sigma: float = field(default=0.0, metadata=parameters.RUN_STATE)

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ValueError(f"Expected name={self.name!r} to be one of {NAMES}.")
        multipliers = ("query_noise_multiplier", "count_noise_multiplier", "person_brands")
        whole = ("dropouts", "colluders", "brands", "customers", "sigma")
        parameters.check(
            self,
            positive={name: getattr(self, name) for name in multipliers},
            whole={name: getattr(self, name) for name in whole},
        )
        if self._clip.quantile and self.name == "distributed":
            raise ValueError("Expected clip_quantile=0: brands would have to agree on each clip.")

    @property
    def unit(self) -> Unit:
        """A customer of one brand, with all rows."""
        return Unit.CUSTOMER

    @property
    def trust(self) -> str:
        """Who is trusted with what, in a sentence. Guarantee: what the figures assume."""
        if self.name == "local":
            return "Nobody outside the brand is trusted: all noise is added at the brand."
        return (
            f"The secure sum must hide single updates, and of {self.brands or 'all'} brands all "
            f"but {self.dropouts + self.colluders} must add their share of the noise honestly and "
            "keep it to themselves. A single update without the others' noise is not private."
            + ("" if self.colluders else " A brand that subtracts its own share is not covered.")
        )

    @property
    def needs_hidden_updates(self) -> bool:
        """Whether a single update is not private. Guarantee: false only if all noise is in it."""
        return self.name == "distributed"

    # --- before a run ---------------------------------------------------------------------------

    def enrolled(self, brands: int) -> CustomerPrivacy:
        """The plan for so many brands. Guarantee: only the number of noise shares changes.

        Raises:
            InputError: nobody would be left to add the noise that is counted on.
        """
        made = replace(self, brands=brands)
        if self.name == "distributed" and made.shares < 1:
            raise InputError(
                "privacy",
                f"{brands} brands less dropouts={self.dropouts} and colluders={self.colluders} "
                "leave no noise share to count on",
                "enrol more brands, or set privacy.dropouts and privacy.colluders lower",
            )
        return made

    @property
    def needs_headcount(self) -> bool:
        """Whether brands must be asked how many customers they have. Guarantee: a noised count."""
        return not self.customers

    def sized(self, customers: float) -> CustomerPrivacy:
        """The plan for brands of that mean size, a released number. Guarantee: unchanged."""
        return replace(self, customers=max(1.0, customers))

    def calibrated(self, cost: Callable[[CustomerPrivacy], PrivacyEvent]) -> CustomerPrivacy:
        """The plan with the noise that keeps ``epsilon`` over a run of this ``cost``.

        Guarantee: by ``accountant``, the run costs at most ``epsilon`` at ``delta``. Where
        the noise multiplier was given, it is used as it is.
        """
        if self.epsilon is None:
            return replace(self, sigma=self.noise_multiplier or 0.0)
        found = affordable(
            lambda s: cost(replace(self, sigma=s)), self.epsilon, self.delta, self.accountant
        )
        return replace(self, sigma=found)

    def steps(self, training: Training) -> int:
        """Gradient steps of one ``Train``. Guarantee: public, the same for every brand."""
        return training.steps or math.ceil(training.epochs / self.sampling_rate)

    @property
    def shares(self) -> int:
        """Noise shares that a guarantee may count on."""
        return self.brands - self.dropouts - self.colluders

    # --- what it costs --------------------------------------------------------------------------

    def event(self, ask: Ask, training: Training) -> PrivacyEvent:
        """The price of one answer. Guarantee: covers everything that the answer releases.

        Raises:
            InputError: a ``Train`` under ``distributed``: a single brand's steps are not private.
        """
        match ask:
            case Train():
                if self.name == "distributed":
                    raise parameters.only_a_share()
                return Repeated(self._step(), self.steps(training))
            case Personal():
                return Composed()  # the model stays behind the door
            case Query(statistic) if statistic.of is Of.GRADIENT:
                self._clip.require_fixed()
                return self._step()
            case Query(statistic):
                return Gaussian(self._multiplier(statistic))

    def round_event(self, limits: Limits | None) -> PrivacyEvent:
        """Customers pay at their brand. Guarantee: the coordinator's step reads released sums."""
        return Composed()

    def _step(self) -> PrivacyEvent:
        step = Gaussian(self._clip.booked(parameters.known(self.sigma)))
        return Sampled(self.sampling_rate, step)

    def _multiplier(self, asked: Statistic) -> float:
        """Of the noise on sums over customers. Guarantee: what :meth:`event` books for them."""
        if asked.of in (Of.RECORDS, Of.LARGEST):
            return parameters.known(self.sigma) / math.sqrt(asked.share)
        counts = asked.of is Of.CUSTOMERS
        return self.count_noise_multiplier if counts else self.query_noise_multiplier

    @property
    def _clip(self) -> Clip:
        """The clip of a first step."""
        norm, std = self.clip_norm, self.clip_noise_std * self.most_weight
        return Clip(norm, norm, self.clip_quantile, self.clip_rate, std, self.most_weight)

    # --- at a brand -----------------------------------------------------------------------------

    def gradients(
        self, task: Task[R], model: nn.Module, examples: R, training: Training, seed: int
    ) -> Iterator[list[Tensor]]:
        """DP-SGD steps: noised clipped sums over the public expected number of customers.

        Guarantee: each step is ``event(Train)``'s step, at whatever parameters the model has.

        Raises:
            InputError: under ``distributed``, where a single brand's steps are not private.
        """
        if self.name == "distributed":
            raise parameters.only_a_share()
        rng = parameters.source(self.noise_source, seed)
        check_model(task.losses, model, examples.span(0, min(8, len(examples))))
        clip, customers = self._clip, CustomerGradients(task.losses, model)
        for batch in poisson_batches(examples, self.sampling_rate, self.steps(training), rng):
            total = customers.clipped_sum(batch, clip.norm)
            noisy = noised(total.gradients, clip.norm, self.sigma, rng)
            clip = clip.after(total.norms, rng)
            mean = torch._foreach_div(noisy, self.most_weight)
            yield [m.to(p.dtype) for m, p in zip(mean, model.parameters(), strict=True)]

    def gradient(
        self, task: Task[R], model: nn.Module, examples: R, seed: int
    ) -> tuple[list[Tensor], float]:
        """One sum of clipped gradients with noise or a share of it, and its public weight.

        Guarantee: ``local``: private by itself. ``distributed``: private in a sum with at least
        ``shares`` honest others' shares in it.
        """
        self._clip.require_fixed()
        rng = parameters.source(self.noise_source, seed)
        check_model(task.losses, model, examples.span(0, min(8, len(examples))))
        batch = next(poisson_batches(examples, self.sampling_rate, 1, rng))
        total = clipped_sum(task.losses, model, batch, self.clip_norm)
        return self._add(self.clip_norm, self.sigma, rng, total.gradients), self.most_weight

    def release(
        self, chunks: Iterable[tuple[Arrays, Ints]], asked: Statistic, limits: Limits, seed: int
    ) -> tuple[Arrays, float]:
        """Bounded sums over customers with noise or a share of it; weight 1.

        Guarantee: as :meth:`gradient`; what is asked ``alone`` is private by itself.
        """
        multiplier, rng = self._multiplier(asked), parameters.source(self.noise_source, seed)
        add = partial(self._add, 1.0, multiplier, rng)
        if asked.alone:
            add = partial(noised, clip_norm=1.0, noise_multiplier=multiplier, rng=rng)
        if asked.of is Of.LARGEST:
            return statistics.largest_shares(chunks, asked.arrays, limits, add), 1.0
        sums = statistics.sum_over_customers(chunks, limits)
        return statistics.with_noise(sums, statistics.scales(limits), add), 1.0

    def weight(self, examples: int) -> float:
        """Every brand counts the same. Guarantee: does not depend on the data."""
        return 1.0

    def bound(self, update: Update, limits: Limits | None) -> Update:
        """The update as it is. Guarantee: the doors have bounded and noised it already."""
        return update

    # --- at the coordinator ---------------------------------------------------------------------

    def noise(self, total: Update, limits: Limits | None, seed: int) -> Update:
        """The sum as it is. Guarantee: brands have added the noise."""
        return total

    def sample(self, nodes: Sequence[NodeId], limits: Limits | None, seed: int) -> Sequence[NodeId]:
        """Every brand, every round. Guarantee: nothing is counted on it."""
        return nodes

    def denominator(self, total: Update, limits: Limits | None) -> float:
        """The survivors' public weights. Guarantee: no weight depends on data."""
        return total.weight or 1.0

    @property
    def most_weight(self) -> float:
        """Customers of a mean brand's sample, by public numbers; at least 1. Guarantee: public."""
        return max(1.0, self.sampling_rate * self.customers)

    def _add(
        self, sensitivity: float, multiplier: float, rng: NoiseSource, sums: list[Tensor]
    ) -> list[Tensor]:
        """All noise, or a share of it. Guarantee: see ``noised`` and ``lattice.shared``."""
        if self.name == "local":
            return noised(sums, sensitivity, multiplier, rng)
        return lattice.shared(sums, sensitivity, multiplier, self.shares, rng)
