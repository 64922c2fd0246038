"""BrandAgg v1: a sum that the coordinator learns without learning any summand.

Read in this order: ``brand.py`` (the table of messages), ``attempt.py`` (the same at the
coordinator), ``keys.py`` and ``views.py`` (the checks), ``seal.py`` and ``masks.py`` (what leaves),
``chain.py`` and ``tag.py`` (who chooses the model), ``peers.py`` (ledgers that only grow),
``transcript.py`` (what others can check; ``fl-audit transcript`` does). ``rules.py`` is the
configuration.

Bonawitz et al., "Practical secure aggregation for privacy-preserving machine learning", CCS 2017
(double masking, consistency round); Bell et al., CCS 2020 (graph); Pasquini et al., CCS 2022 (why
the round's context binds the model).

=================  ============================================================================
who                learns
=================  ============================================================================
coordinator        the sum over the survivors, who they are, public keys, ends of ledgers
a brand            the sums of finished rounds (it needs them to follow the model), the same lists
an observer        nothing about any update
=================  ============================================================================

Tolerated, in a neighbourhood of ``m`` brands with threshold ``t`` (all brands, up to 100): a
coordinator that keeps to the protocol together with ``t - 1`` brands; one that cheats together with
``2t - m - 1`` brands. Beyond that two lists of survivors can each find ``t`` consents.

Not protected: whoever colludes learns the sum of the others (of two, if all but two collude).
Availability. A brand's honesty about its own update. That a published sum is the brands' own holds
by a tag under a key that the brands share (``tag.py``): a coordinator that colludes with one of
them can forge a sum, within the plan's bound on every entry, and so choose the next model.
"""

from fl.privacy.secagg.rules import BrandAgg
from fl.privacy.secagg.transcript import verify_transcript

__all__ = ["BrandAgg", "verify_transcript"]
