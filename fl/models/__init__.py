"""Models for tabular customer data; the table ``MODELS`` names them.

Every model takes ``(x_bf, c_bg)`` and returns one logit per example, ``[b]``. A model keeps no
data-dependent buffer (no batch norm): its parameters are all it knows.
"""

from fl.models.additive import Additive
from fl.models.logistic import Logistic
from fl.models.mlp import Mlp

MODELS = {"logistic": Logistic, "mlp": Mlp, "additive": Additive}
