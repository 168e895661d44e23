"""Metrics of models and paths, connectivity, statistics over seeds."""

# In the order in which tables list them.
from mcu_lite.metrics import predictions, answers  # noqa: F401, I001
