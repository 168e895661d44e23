"""What is read off a model, a curve, a population."""

# In the order in which tables list them.
from mcu_lite.metrics import predictions, answers  # noqa: F401, I001
