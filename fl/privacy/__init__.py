"""Everything that decides what a brand's customers are promised, in one place for the auditor.

Read in this order:

1. ``none.py``        the plan without any guarantee: what a plan decides
2. ``customer.py``    ``local`` and ``distributed``: DP-SGD on customers, noised counts
3. ``gradients.py``   one clipped gradient a customer (``kernel.py``, ``layers.py``; ``oracle.py``
   is Opacus), and Poisson samples of customers; ``clipping.py``  a clip that follows a quantile
4. ``statistics.py``  bounded sums for queries, and a brand's largest shares; ``lattice.py``  noise
   shares for a secure sum (``spread.py``: what is on a sum); ``releases.py``  no brand by
   subtracting one release from another
5. ``noise.py``       where randomness comes from (``variates.py``, ``variates_compiled.py``);
   ``blocks.py``      the same steps for blocks of simulated brands (``draws.py``,
   ``blocks_compiled.py``)
6. ``brand.py``       the plan whose unit is a brand, with a trusted coordinator
7. ``accounting.py``  events to epsilon, by three accountants (``losses.py``, ``composition.py``,
   ``calibration.py``, ``filter.py``, ``translation.py``); ``statement.py`` says it in words
8. ``ledger.py``      a brand's book of what was spent (``entries.py``, ``journal.py``,
   ``bills.py``, ``books.py``, ``reading.py``, ``signing.py``; ``fl/private_files.py`` reads keys)
9. ``policy.py``      what a brand agrees to (``policy_file.py``, ``proposal.py``, ``admission.py``)
10. ``plain.py``      the sum without any protection: what a secure sum decides
11. ``secagg/``       the sum that hides each summand from a coordinator that cheats

Table of releases (what leaves a brand, and which plan method it passes):

=====================  ===================  ========================  ===========================
what                   passes               under ``none``            under ``local``
=====================  ===================  ========================  ===========================
``Train``              gradients, bound     the exact change          DP-SGD's end point
``Personal``           -                    nothing leaves            nothing leaves, costs nothing
``Query``: gradient    gradient, bound      the exact sum             clipped sum with noise
``Query``: evaluation  release, bound       exact sums                bounded sums with noise
``Query``: customers   release, bound       the exact number          the number with noise
``Query``: records     release, bound       exact sums                bounded sums with noise
``Query``: largest     release, bound       exact shares              shares with all noise
weight of an update    weight               the number of examples    a public constant
absence                -                    a code without data       a code without data
=====================  ===================  ========================  ===========================

``distributed`` is as ``local`` with a share of the noise, and counts on a secure sum; but what is
asked ``alone``, as largest shares always are, has all of the noise there too, because something is
built on that brand's answer. ``records`` have the noise that their part of a run's epsilon leaves;
an evaluation and a count of customers have multipliers of their own. Statistics are released only
if no brand shows (``fl/algorithms/disclosure.py``, ``releases.py``). Under
``brand`` exact values reach ``bound``, which clips them, and the coordinator adds the noise.
"""

from fl.privacy.brand import BrandPrivacy
from fl.privacy.customer import CustomerPrivacy
from fl.privacy.none import NoPrivacy
from fl.privacy.plain import PlainSum
from fl.privacy.secagg import BrandAgg

__all__ = [
    "PLANS",
    "SECURE_SUMS",
    "BrandAgg",
    "BrandPrivacy",
    "CustomerPrivacy",
    "NoPrivacy",
    "PlainSum",
    "Plan",
    "Summing",
]

Plan = NoPrivacy | CustomerPrivacy | BrandPrivacy

PLANS: dict[str, type[Plan]] = {
    "none": NoPrivacy,
    "local": CustomerPrivacy,
    "distributed": CustomerPrivacy,
    "brand": BrandPrivacy,
}
Summing = PlainSum | BrandAgg

SECURE_SUMS: dict[str, type[Summing]] = {"plain": PlainSum, "brandagg": BrandAgg}
