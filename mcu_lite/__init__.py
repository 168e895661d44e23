"""Mode connectivity in machine unlearning: paths between models that forgot."""

from importlib import import_module
from inspect import isfunction

HOMES = {
    "models.architecture": "Architecture",
    "models.stack": "Stack",
    "models.zoo": "MODELS mlp",
    "tasks.own_data": "task_of",
    "tasks.task": "TASKS TUNING_SEEDS Task load_task task",
    "training.train": "train",
    "unlearning.methods": "Examples METHODS method",
    "unlearning.objectives": "Objective oracle_objective",
    "unlearning.unlearn": "unlearn",
    "paths.alignment": "align",
    "paths.curves": "Path connect",
    "metrics.connectivity": "is_connected measures",
    "metrics.evaluation": "evaluate",
    "metrics.examples": "follow",
    "metrics.registry": "METRICS Outputs metric",
    "metrics.statistics": "compare interval paired",
    "studies.checkpoints": "load_models save_models",
    "studies.conditions": "Condition Endpoint PROFILES Setting load_profile",
    "studies.paper_grid": "COMPARED grid",
    "studies.study": "endpoints run",
    "figures.along_t": "mean_sd plot_along_t",
    "figures.dots": "plot_models",
    "figures.explore": "explore",
    "figures.live": "live",
    "figures.look": "picture",
    "figures.maps": "plot_map",
    "figures.scrub": "scrub",
    "book.atlas": "atlas",
    "book.downloads": "download",
}
"""Where the names that a reader types are defined; each is loaded when it is first used.

Functions check kinds of arguments when called through mcu_lite; classes, and functions under
`@checked`, always do.
"""
HOME = {name: home for home, names in HOMES.items() for name in names.split()}
__all__ = sorted(HOME)


def __getattr__(name: str):
    if name == "__version__":
        from importlib.metadata import version

        return version("mcu-lite")
    if name not in HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{HOME[name]}"), name)
    if isfunction(value):
        from mcu_lite.checks import checked

        value = checked(value)
        value.__module__ = __name__  # where it is found again when it is pickled
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
