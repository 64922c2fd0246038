"""How brands learn together: one file, one paper. The table ``ALGORITHMS`` names them."""

from fl.algorithms.counts import Counts
from fl.algorithms.disclosure import Disclosure
from fl.algorithms.fedavg import FedAvg
from fl.algorithms.fedopt import FedOpt
from fl.algorithms.fedprox import FedProx
from fl.algorithms.fedsgd import FedSgd
from fl.algorithms.kmeans import KMeans
from fl.algorithms.scaffold import Scaffold

ALGORITHMS = {
    "fedsgd": FedSgd,
    "fedavg": FedAvg,
    "fedprox": FedProx,
    "scaffold": Scaffold,
    "fedadam": FedOpt,
    "fedyogi": FedOpt,
    "fedadagrad": FedOpt,
}

QUESTIONS = {  # answered by counted sums; nothing is trained
    "counts": Counts,
    "disclosure": Disclosure,
    "kmeans": KMeans,
}
