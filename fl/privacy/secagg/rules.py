"""BrandAgg as configured: the public numbers that decide what it tolerates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from fl.arrays import Arrays
from fl.contracts import Algorithm, BrandSum, NodeId, PrivacyPlan, SecureSum, Witness
from fl.privacy.secagg import fixedpoint
from fl.privacy.secagg.identity import Json
from fl.privacy.secagg.masks import Ring
from fl.privacy.secagg.profiles import PROFILES, Profile

FEWEST = 3  # of two brands, each knows the other's update


@dataclass(frozen=True, slots=True)
class BrandAgg:
    """A sum that the coordinator learns without learning any summand.

    Attributes:
        mode: ``recover`` (Shamir shares; survives brands that drop out at any step; five trips) or
            ``retry`` (no shares; all who advertised must finish, else a new attempt; three trips).
        profile: ``default``, ``gm`` or ``pq``; see ``profiles.py``.
        scale_bits: log2 of the fixed-point scale, 0 to 24.
        bound: largest absolute entry of an update (weight included), noise aside; 0 takes the
            largest that cannot overflow for the number of brands.
        noise: standard deviation of the noise in the sum, >= 0; for the room it needs in the ring.
        min_brands: fewest brands in a sum (``u_min``), >= 3.
        max_dropouts: brands that may be lost (``d_max``) where two thirds would allow more, >= 0.
        degree: neighbours of a brand when there are more than 100; even, >= 20.
        max_attempts: of a round in mode ``retry``, >= 1.

    Guarantee: see ``fl/privacy/secagg/__init__.py``.
    """

    name: str = "brandagg"
    mode: str = "recover"
    profile: str = "default"
    scale_bits: int = 16
    bound: float = 0.0
    noise: float = 0.0
    min_brands: int = 5
    max_dropouts: int = 5
    degree: int = 60
    max_attempts: int = 3

    def __post_init__(self) -> None:
        if self.mode not in ("recover", "retry"):
            raise ValueError(f"Expected mode={self.mode!r} to be 'recover' or 'retry'.")
        if self.profile not in PROFILES:
            raise ValueError(f"Expected profile={self.profile!r} in {sorted(PROFILES)}.")
        if self.mode == "retry" and self.algorithms.hybrid:
            raise ValueError("Expected mode='recover' with profile='pq': ML-KEM needs its trip.")
        if not 0 <= self.scale_bits <= 24 or not 0 <= self.noise < float("inf"):
            raise ValueError(
                f"Expected scale_bits={self.scale_bits} in [0, 24] and noise={self.noise} >= 0."
            )
        if not 0 <= self.bound < float("inf") or self.max_dropouts < 0 or self.max_attempts < 1:
            raise ValueError(
                f"Expected bound={self.bound} >= 0, max_dropouts={self.max_dropouts} >= 0 and "
                f"max_attempts={self.max_attempts} >= 1."
            )
        if self.min_brands < FEWEST:
            raise ValueError(f"Expected min_brands={self.min_brands} >= {FEWEST}.")
        if self.degree < 20 or self.degree % 2:
            raise ValueError(f"Expected degree={self.degree} to be even and >= 20.")

    @property
    def hides_updates(self) -> bool:
        """The coordinator learns the sum alone. Guarantee: see the package."""
        return True

    @property
    def algorithms(self) -> Profile:
        """The profile's algorithms. Guarantee: public."""
        return PROFILES[self.profile]

    @property
    def recovers(self) -> bool:
        """Whether brands that drop out are made up for. Guarantee: public."""
        return self.mode == "recover"

    def check(self, brands: int) -> None:
        """Refuse a plan for ``brands`` brands that could overflow or never start.

        Raises:
            ValueError: it could.

        Guarantee: of ``fixedpoint.check_room``.
        """
        if brands < self.min_brands:
            raise ValueError(
                f"Expected at least min_brands={self.min_brands} brands, not {brands}."
            )
        fixedpoint.check_room(brands, self.bound, self.noise, self.scale_bits)

    def most(self, brands: int) -> int:
        """The largest absolute ring value that one of ``brands`` may send.

        Guarantee: ``brands`` times it is below half of the ring.
        """
        room = fixedpoint.limit(brands)
        if not self.bound:
            return room
        return min(room, int((self.bound + 12 * self.noise) * 2**self.scale_bits) + 1)

    def to_json(self) -> dict[str, object]:
        """Plain values, for the signed plan. Guarantee: public."""
        return asdict(self)

    def enrol(
        self,
        names: Sequence[NodeId],
        *,
        algorithms: Mapping[str, Algorithm],
        plan: PrivacyPlan,
        first: Arrays,
        witnesses: Mapping[NodeId, Witness] | None = None,
        record: Callable[[str], None] = lambda line: None,
        keep: Callable[[Ring], None] = lambda total: None,
        course: Json | None = None,
    ) -> tuple[SecureSum, Mapping[NodeId, BrandSum]]:
        """Fresh identities, a roster and a plan that all approve: for simulations.

        ``witnesses`` are the brands' ledgers; ``record`` is given the transcript, line by line,
        and ``keep`` the sums; ``course`` is what else the plan says.

        Raises:
            ValueError: too few brands, or the sum could overflow.

        Guarantee: that of the protocol, among parties who trust this process.
        """
        from fl.privacy.secagg.enrol import simulate  # both halves know these rules

        return simulate(
            self,
            names,
            algorithms=algorithms,
            plan=plan,
            first=first,
            witnesses=witnesses or {},
            record=record,
            keep=keep,
            course=course,
        )
