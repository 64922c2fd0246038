"""Everything that decides what a brand's customers are promised, in one place for the auditor.

Read in this order: ``none.py`` (the plan without any guarantee, to see what a plan decides), then
``plain.py`` (the sum without any protection, to see what a secure sum decides). What a brand
remembers: ``signing.py`` (keys), ``entries.py`` (one signed line), ``bills.py`` and ``books.py``
(what lines add up to), ``reading.py`` (checking somebody else's), ``journal.py`` (durable lines),
``ledger.py`` (the rules). What a brand allows: ``proposal.py`` (what a coordinator asks),
``policy.py`` and ``policy_file.py`` (the brand's own limits), ``admission.py`` (how runs come in).

Table of releases (what leaves a brand, and which plan method it passes):

=====================  ======================  =============================================
door                   passes                  under plan ``none``
=====================  ======================  =============================================
``Train``              gradients, bound        the exact weighted change of the model
``Personal``           gradients               nothing leaves
``Query``              release, bound          the exact sums of the task's statistics
weight of an update    weight                  the number of training examples
absence                -                       a code without data (``fl/errors.py``)
=====================  ======================  =============================================
"""

from fl.privacy.none import NoPrivacy
from fl.privacy.plain import PlainSum

PLANS = {"none": NoPrivacy}
SECURE_SUMS = {"plain": PlainSum}
