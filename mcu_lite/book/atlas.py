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
from mcu_lite.figures.along_t import COLOURS, label_of, themed
from mcu_lite.metrics.connectivity import is_connected

CURVE = ["a", "b", "curve"]


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
        If the table is not of a study, its curves were measured at different ts, or two of one
        name were fitted on different objectives.

    Examples
    --------
    >>> ends = {"condition": "Rand", "a": "npo", "b": "npo seed=1", "curve": "bezier"}
    >>> type(atlas(table.assign(**ends, objective="npo"))).__name__
    'HTML'
    """
    missing = {*CURVE, "t", "seed", "split", "metric", "value"} - set(table)
    if missing or table.empty:
        raise ValueError(f"table is empty or lacks the columns {sorted(missing)}")
    _one_of_a_name(table)
    # The page reads strict JSON, which has no NaN.
    text = json.dumps(_data(table), separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    data = text.encode()
    name = "atlas-" + hashlib.sha256(data).hexdigest()[:8]
    packed = b64encode(gzip.compress(data, mtime=0)).decode()
    draw = (Path(__file__).parent / "atlas.js").read_text(encoding="utf-8")
    selects = "".join(
        f"<label>{label} <select></select></label> " for label in ("from", "to", "curve")
    )
    colours = {split: themed(colour) for split, colour in COLOURS.items()}
    keys = " ".join(f'<span style="color:{colours[s]}">■</span> {s}' for s in SPLITS)
    return HTML(
        f'<div id="{name}" class="mcu-atlas"><p>{selects}'
        '<label>t <input type="range" min="0" step="1"></label></p>'
        f'<p aria-live="polite"></p><p>{keys}</p><div class="mcu-panels"></div></div>'
        f"<script>({draw.strip().split(chr(10), 1)[1]})"
        f'(document.getElementById("{name}"), "{packed}")</script>'
    )


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
    for key, verdict in _verdicts(table).items():
        curves[key]["verdict"] = verdict
    measured = table.groupby("metric", sort=False).split.unique()
    return {
        "ts": _short(ts),
        "metrics": [
            {"name": m, "label": label_of(m), "splits": [s for s in SPLITS if s in splits]}
            for m, splits in measured.items()
        ],
        "colours": {split: themed(colour) for split, colour in COLOURS.items()},
        "curves": curves,
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
