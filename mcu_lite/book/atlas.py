"""Every curve of a study on one page, without a kernel."""

from __future__ import annotations

import gzip
import hashlib
import json
from base64 import b64encode
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import HTML

from mcu_lite.checks import SPLITS
from mcu_lite.figures import explore
from mcu_lite.figures.along_t import label_of
from mcu_lite.figures.look import COLOURS, themed
from mcu_lite.metrics.connectivity import is_connected
from mcu_lite.studies.conditions import Condition
from mcu_lite.studies.paper_grid import grid

CURVE = ["a", "b", "curve"]
PAGE = """\
<style>{css}</style><div id="{name}" class="mcu-atlas"><div class="mcu-bar">
<label>from <select></select></label><label>to <select></select></label>
<label>path <select></select></label>
<label>t <input type="range" min="0" step="1"></label><output></output></div>
<p aria-live="polite"></p><p>{keys}</p><div class="mcu-panels"></div></div>
<script>{js}(document.getElementById("{name}"), "{packed}")</script>"""


def atlas(table: pd.DataFrame) -> HTML:
    """Choose two endpoints and a curve, move t, and read all metrics.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `mcu_lite.run`.

    Returns
    -------
    IPython.display.HTML
        Holds all means and standard deviations over seeds, to four digits and compressed, and
        the script that draws them: about 3 kB a curve.

    Raises
    ------
    ValueError
        If the table is not of a study, its curves were measured at different ts, two of one name
        were fitted on different objectives, or a name holds "|".

    Examples
    --------
    >>> ends = {"condition": "Rand", "a": "npo", "b": "npo seed=1", "curve": "bezier"}
    >>> type(atlas(table.assign(**ends, objective="npo"))).__name__
    'HTML'
    """
    missing = {*CURVE, "t", "seed", "split", "metric", "value"} - set(table)
    if missing or table.empty or table[CURVE].isna().any(axis=None):
        raise ValueError(f"table is empty, has NaN in {CURVE} or lacks columns {sorted(missing)}")
    _one_of_a_name(table)
    # The page reads strict JSON, which has no NaN.
    text = json.dumps(_data(table), separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    parts = {
        "name": f"atlas-{hashlib.sha256(text.encode()).hexdigest()[:8]}",
        "packed": b64encode(gzip.compress(text.encode(), mtime=0)).decode(),
        "keys": " ".join(f'<span style="color:{themed(s)}">■</span> {s}' for s in SPLITS),
        "js": Path(__file__).with_suffix(".js").read_text(encoding="utf-8").strip(),
        "css": Path(explore.__file__).with_name("page.css").read_text(encoding="utf-8"),
    }
    return HTML(PAGE.format(**parts))


def shown() -> list[Condition]:
    """The conditions of the book's atlas: the grid, where both switches cross on straight paths."""
    return [c for c in grid() if c.name != "CL×SO" or c.curve == "linear"]


def _one_of_a_name(table: pd.DataFrame) -> None:
    """Raise a `ValueError` if two curves have one name: they would be averaged as seeds are."""
    for column in [c for c in ("condition", "objective") if c in table]:
        for key, own in table.groupby(CURVE)[column]:
            if own.nunique() > 1:
                raise ValueError(
                    f"table must hold one {column} for each curve, got "
                    f"{own.dropna().unique().tolist()} for {', '.join(key)}"
                )


def _data(table: pd.DataFrame) -> dict:
    ts = sorted(table.t.unique())
    stats = table.groupby([*CURVE, "metric", "split", "t"], sort=False).value.agg(["mean", "std"])
    wide = stats.unstack("t")
    if table.groupby(CURVE).t.nunique().ne(len(ts)).any():
        raise ValueError("table must hold curves that are measured at the same ts")
    curves: dict[str, dict] = {}
    for (*curve, metric, split), mean, sd in zip(
        wide.index, wide["mean"].to_numpy(), wide["std"].to_numpy()
    ):
        own = curves.setdefault("|".join(curve), {"values": {}})
        own["values"][f"{metric}|{split}"] = [_short(mean), _short(sd)]
    for key in curves:
        if key.count("|") != 2:
            raise ValueError(f"models and curves must be named without '|', got {key!r}")
    for key, verdict in _verdicts(table).items():
        curves[key]["verdict"] = verdict
    measured = table.groupby("metric", sort=False).split.unique()
    return {
        "ts": _short(ts),
        "width": 260,
        "colours": {split: themed(split) for split in COLOURS},
        "metrics": [
            {"name": m, "label": label_of(m), "splits": [s for s in SPLITS if s in splits]}
            for m, splits in measured.items()
        ],
        "paths": curves,
    }


def _verdicts(table: pd.DataFrame) -> dict[str, str]:
    """One sentence a curve: on how many seeds it connects, and what breaks otherwise."""
    sentences = {}
    for key, own in is_connected(table).groupby(CURVE, sort=False):
        sentence = f"Connected on {int(own.connected.sum())} of {len(own)} seeds (ε = 0.1 nats)"
        if lost := int(own.connected.isna().sum()):
            sentence += f", {lost} diverged"
        worst = own.sort_values("by", na_position="first").iloc[-1]
        if worst.breaks:
            sentence += f"; the {worst.breaks} inequality breaks by up to {worst.by:.2g} nats"
        sentences["|".join(key)] = f"{sentence}."
    return sentences


def _short(values) -> list[float | None]:
    """Four digits each; None where there is no number, as for the deviation of a single seed."""
    return [float(f"{v:.4g}") if np.isfinite(v) else None for v in values]
