"""What is learned: one file = schema, model, per-example loss, statistics. ``TASKS`` names them."""

from fl.tasks.conversion import Conversion

TASKS = {"conversion": Conversion}
