"""What is derived from a metric along t, the verdict on connectivity included.

Every function of `values` takes an array of shape (..., T).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from mcu_lite.checks import known

_SIDES = (("retain", 1.0), ("forget", -1.0))


def excess(values: np.ndarray, ts: np.ndarray) -> np.ndarray:
    """Values above the straight line between the first and the last one, shape (..., T)."""
    values, ts = np.asarray(values, float), np.asarray(ts, float)
    ts = (ts - ts[0]) / (ts[-1] - ts[0])
    return values - ((1 - ts) * values[..., :1] + ts * values[..., -1:])


def barrier(values: np.ndarray, ts: np.ndarray) -> np.ndarray:
    """Largest excess of a loss over the straight line, at least 0 (Frankle et al., 2020).

    Examples
    --------
    >>> float(barrier([1, 4, 3], [0, 0.5, 1]))
    2.0
    """
    return excess(values, ts).max(-1)


def roughness(values: np.ndarray) -> np.ndarray:
    """Total variation beyond that of a straight line; 0 for a monotone curve.

    Examples
    --------
    >>> float(roughness([1, 4, 3])), float(roughness([1, 2, 3]))
    (2.0, 0.0)
    """
    values = np.asarray(values, float)
    return np.abs(np.diff(values)).sum(-1) - np.abs(values[..., -1] - values[..., 0])


def monotonicity(values: np.ndarray) -> np.ndarray:
    """Net change over total variation: 1 for a monotone curve, 0 for one that returns.

    NaN for a curve that holds NaN, as those of models that diverged do.

    Examples
    --------
    >>> float(monotonicity([1, 4, 3]))
    0.5
    """
    values = np.asarray(values, float)
    variation = np.abs(np.diff(values)).sum(-1)
    net = np.abs(values[..., -1] - values[..., 0])
    return np.divide(net, variation, out=np.ones_like(net), where=variation != 0)


def effective_interval(values: np.ndarray, ts: np.ndarray, better: str) -> tuple[float, float]:
    """Longest interval of t on which one curve (T,) is better than both ends; NaN if none.

    Parameters
    ----------
    better : {"higher", "lower"}

    Examples
    --------
    >>> effective_interval([1, 0.5, 0.2, 0.9, 0.8], [0, 0.25, 0.5, 0.75, 1], "lower")
    (0.25, 0.5)
    """
    known("direction", better, ("higher", "lower"))
    sign = 1.0 if better == "higher" else -1.0
    gain = sign * np.asarray(values, float)
    inside = np.r_[False, gain > max(gain[0], gain[-1]), False]
    starts, stops = (
        np.flatnonzero(np.diff(inside.astype(int)) == 1),
        np.flatnonzero(np.diff(inside.astype(int)) == -1),
    )
    if not len(starts):
        return float("nan"), float("nan")
    ts = np.asarray(ts, float)
    longest = np.argmax(ts[stops - 1] - ts[starts])
    return float(ts[starts[longest]]), float(ts[stops[longest] - 1])


def measures(table: pd.DataFrame) -> pd.DataFrame:
    """Derive barrier, roughness and the like from every curve of a table.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `evaluate` on paths, or of `mcu_lite.run`.

    Returns
    -------
    pandas.DataFrame
        One line a curve, seed, split and metric: its start, middle and end, barrier (largest
        excess over the straight line), dip (largest deficit), roughness and monotonicity.

    Examples
    --------
    >>> import pandas as pd
    >>> hill = pd.DataFrame({"t": [0, 0.5, 1], "seed": 0, "metric": "loss", "value": [1, 4, 3]})
    >>> measures(hill)[["barrier", "dip", "roughness", "monotonicity"]].round(2).values.tolist()
    [[2.0, 0.0, 2.0, 0.5]]
    """
    _check_table(table, ("t", "value"))
    keys = [c for c in table if c not in ("t", "value")]
    wide = table.pivot(index=keys, columns="t", values="value").sort_index(axis=1)
    if wide.shape[1] < 2:
        raise ValueError("table must hold curves, measured at two or more t")
    _check_whole(wide, table)
    values, ts = wide.to_numpy(), wide.columns.to_numpy()
    lines = wide.index.to_frame(index=False)
    return lines.assign(
        start=values[:, 0],
        middle=values[:, len(ts) // 2],
        end=values[:, -1],
        barrier=barrier(values, ts),
        dip=barrier(-values, ts),
        roughness=roughness(values),
        monotonicity=monotonicity(values),
    )


def _check_table(table: pd.DataFrame, columns: tuple[str, ...]) -> None:
    """Without a column that tells its curves apart, a table of several cannot be read."""
    if not isinstance(table, pd.DataFrame) or not set(columns) <= set(table):
        got = list(table) if isinstance(table, pd.DataFrame) else type(table).__name__
        raise ValueError(f"table must be a table with columns {columns}, got {got}")
    if table.duplicated([c for c in table if c != "value"]).any():
        raise ValueError(
            "table must hold one value for each curve, seed, split, metric and t; for several "
            "curves add a column that names them"
        )


def _check_whole(wide: pd.DataFrame, table: pd.DataFrame) -> None:
    """A gap in `wide` would look like a diverged seed."""
    if wide.size > len(table):
        raise ValueError("table must hold curves that are measured at the same ts")


def is_connected(table: pd.DataFrame, tolerance: float = 0.1) -> pd.DataFrame:
    """Judge mode connectivity in unlearning for each seed (Cheng and Amiri, 2025).

    Two inequalities must hold at every t: the retain loss stays at or below, and the
    forget loss at or above, the straight line between the two end values, up to `tolerance`.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `evaluate` on one path, or of `mcu_lite.run` on several.
    tolerance : float
        ε in nats.

    Returns
    -------
    pandas.DataFrame
        One line a curve and seed: seed, connected, breaks ("retain", "forget" or ""), t and
        by: where and by how many nats the worse of the two is exceeded; negative if none is.
        A diverged seed has ``connected`` missing (NA).

    Examples
    --------
    >>> verdict = is_connected(table, tolerance=100)
    >>> verdict.connected.tolist(), verdict.breaks.tolist()
    ([True, True], ['', ''])
    """
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be >= 0 nats, got {tolerance}")
    _check_table(table, ("t", "split", "metric", "value"))
    losses = table[table.metric == "loss"]
    keys = [c for c in table if c not in ("t", "split", "metric", "value")]
    if losses.t.nunique() < 2 or not {"retain", "forget"} <= set(losses.split):
        raise ValueError("table must hold the loss on retain and forget at two or more t")
    if losses.t.min() != 0 or losses.t.max() != 1:
        raise ValueError(f"table must begin at t=0 and end at t=1, got {losses.t.unique()}")
    wide = losses.pivot(index=["split", *keys], columns="t", values="value").sort_index(axis=1)
    _check_whole(wide, losses)
    ts, lines = wide.columns.to_numpy(), losses[keys].drop_duplicates(ignore_index=True)
    own = pd.MultiIndex.from_frame(lines) if len(keys) > 1 else pd.Index(lines[keys[0]])
    over = np.stack(
        [s * excess(wide.loc[split].reindex(own), ts) - tolerance for split, s in _SIDES]
    )
    worst, by = over.max(-1).argmax(0), over.max(-1).max(0)
    where = np.take_along_axis(over, worst[None, :, None], 0)[0].argmax(-1)
    connected = pd.array(np.where(np.isnan(by), pd.NA, by <= 0), dtype="boolean")
    breaks = np.where(by > 0, np.array([split for split, _ in _SIDES])[worst], "")
    return lines.assign(connected=connected, breaks=breaks, t=ts[where], by=by)
