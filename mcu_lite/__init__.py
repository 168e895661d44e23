"""Mode connectivity in machine unlearning: paths between models that forgot."""

from importlib.metadata import version

from mcu_lite import answers as answers  # registers measures of texts
from mcu_lite import authors as authors  # registers the task
from mcu_lite import photographs as photographs  # registers tasks
from mcu_lite.alignment import align
from mcu_lite.architectures import Architecture
from mcu_lite.atlas import atlas
from mcu_lite.checkpoints import load_models, save_models
from mcu_lite.conditions import COMPARED, grid
from mcu_lite.connectivity import is_connected, measures
from mcu_lite.curves import Path, connect
from mcu_lite.design import PROFILES, Condition, Endpoint, Setting, load_profile
from mcu_lite.downloads import download
from mcu_lite.evaluation import evaluate
from mcu_lite.explorer import explore
from mcu_lite.live import live
from mcu_lite.maps import plot_map
from mcu_lite.methods import METHODS, Examples, method
from mcu_lite.metrics import METRICS, Outputs, metric
from mcu_lite.models import MODELS, cnn, mlp
from mcu_lite.objectives import Objective, oracle_objective
from mcu_lite.one_image import one_image
from mcu_lite.per_example import follow
from mcu_lite.plots import mean_sd, picture, plot_along_t, plot_models
from mcu_lite.splitting import task_of
from mcu_lite.stacks import Stack
from mcu_lite.statistics import compare, interval, paired
from mcu_lite.study import endpoints, run
from mcu_lite.tasks import TASKS, TUNING_SEEDS, Task, load_task, task
from mcu_lite.training import train
from mcu_lite.unlearning import unlearn
from mcu_lite.widgets import scrub

__version__ = version("mcu-lite")
__all__ = [
    "COMPARED",
    "METHODS",
    "METRICS",
    "MODELS",
    "PROFILES",
    "TASKS",
    "TUNING_SEEDS",
    "Architecture",
    "Condition",
    "Endpoint",
    "Examples",
    "Objective",
    "Outputs",
    "Path",
    "Setting",
    "Stack",
    "Task",
    "align",
    "atlas",
    "cnn",
    "compare",
    "connect",
    "download",
    "endpoints",
    "evaluate",
    "explore",
    "follow",
    "grid",
    "interval",
    "is_connected",
    "live",
    "load_models",
    "load_profile",
    "load_task",
    "mean_sd",
    "measures",
    "method",
    "metric",
    "mlp",
    "one_image",
    "oracle_objective",
    "paired",
    "picture",
    "plot_along_t",
    "plot_map",
    "plot_models",
    "run",
    "save_models",
    "scrub",
    "task",
    "task_of",
    "train",
    "unlearn",
]
