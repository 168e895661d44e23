"""What is learned, what is to be forgotten, and what nobody has seen."""

from mcu_lite.tasks import authors, digits, image_folder, photographs  # noqa: F401  (they register tasks)
