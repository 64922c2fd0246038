"""Everything that decides what a brand's customers are promised, in one place for the auditor.

Read in this order: ``none.py`` (the plan without any guarantee, to see what a plan decides), then
``plain.py`` (the sum without any protection, to see what a secure sum decides), then ``secagg``
(the sum that hides each summand from a coordinator that cheats).

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
from fl.privacy.secagg import BrandAgg

PLANS = {"none": NoPrivacy}
SECURE_SUMS = {"plain": PlainSum, "brandagg": BrandAgg}
