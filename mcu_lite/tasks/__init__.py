"""Data sets with a retain, a forget and a test set for each seed."""

from mcu_lite.tasks import authors, digits, image_folder, photographs  # noqa: F401  (they register tasks)
