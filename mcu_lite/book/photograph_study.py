"""The paper's conditions on pieces of photographs."""

from __future__ import annotations

from dataclasses import replace

from mcu_lite.checks import seeds_of
from mcu_lite.studies.conditions import Condition, Endpoint, Setting


def pictured(setting: Setting) -> Setting:
    """Return the setting of a study on pieces of photographs, of half the size, on three seeds."""
    half = {"epochs": setting.epochs // 2, "steps": setting.steps // 2}
    half["ts"] = 2 * round(setting.ts / 4) + 1
    seeds = seeds_of(setting.seeds)[:3]
    return replace(setting, seeds=seeds, task="patches", model="resnet_small", **half)


def on_photographs() -> list[Condition]:
    """`npo` and itself, another method, and one that takes large steps; on lines and curves."""
    a, others = Endpoint("npo"), (Endpoint("npo", 1), Endpoint("graddiff"), Endpoint("finetune"))
    return [
        Condition("Rand" if b.method == a.method else "Met", a, b, curve)
        for b in others
        for curve in ("linear", "bezier")
    ]


def small_run() -> list[Condition]:
    """The paths of the small run, without `graddiff`; curves also fitted on both inequalities."""
    own = [c for c in on_photographs() if c.b.method != "graddiff"]
    return own + [replace(c, objective="connected") for c in own if c.curve == "bezier"]
