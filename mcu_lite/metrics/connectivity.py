"""What is derived from a metric along t, the verdict on connectivity included."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mcu_lite.checks import check_choice
from mcu_lite.tasks.task import check_share

_SIDES = (("retain", 1.0), ("forget", -1.0))


def excess(values: np.ndarray, ts: np.ndarray) -> np.ndarray:
    """Values above the straight line between the first and the last one, shape (..., T)."""
    values, ts = np.asarray(values, float), np.asarray(ts, float)
    ts = (ts - ts[0]) / (ts[-1] - ts[0])
    return values - ((1 - ts) * values[..., :1] + ts * values[..., -1:])


def measures(table: pd.DataFrame) -> pd.DataFrame:
    """Derive barrier, roughness and the like from every curve of a table.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `evaluate` on paths, or of `mcu_lite.run`.

    Returns
    -------
    pandas.DataFrame
        One line a curve, seed, split and metric: its start, middle and end; barrier, the largest
        excess over the straight line between the ends, at least 0 (Frankle et al., 2020); dip, the
        largest deficit; roughness, the total variation beyond the net change, 0 for a monotone
        curve; and monotonicity, net change over total variation, 1 for a monotone curve and 0 for
        one that returns. NaN where a value of the curve is missing.

    Examples
    --------
    >>> import pandas as pd
    >>> hill = pd.DataFrame({"t": [0, 0.5, 1], "seed": 0, "metric": "loss", "value": [1, 4, 3]})
    >>> measures(hill)[["barrier", "dip", "roughness", "monotonicity"]].round(2).values.tolist()
    [[2.0, 0.0, 2.0, 0.5]]
    """
    wide = wide_curves(table, [c for c in table if c not in ("t", "value")])
    values, ts = wide.to_numpy(float), wide.columns.to_numpy()
    variation = np.abs(np.diff(values)).sum(-1)
    net = np.abs(values[:, -1] - values[:, 0])
    return wide.index.to_frame(index=False).assign(
        start=values[:, 0],
        middle=values[:, len(ts) // 2],
        end=values[:, -1],
        barrier=excess(values, ts).max(-1),
        dip=excess(-values, ts).max(-1),
        roughness=variation - net,
        monotonicity=np.divide(net, variation, out=np.ones_like(net), where=variation != 0),
    )


def wide_curves(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """One line a curve, by its `keys`, with its values at T values of t, shape (curves, T).

    A gap would look like a diverged model, and without a column that tells curves apart a table
    of several cannot be read: both are refused.
    """
    for column in ("t", "value"):
        check_choice("column", column, list(table))
    if table.duplicated([*keys, "t"]).any():
        raise ValueError(
            "table must hold one value for each curve, seed, split, metric and t; for several "
            "curves add a column that names them"
        )
    wide = table.pivot(index=keys, columns="t", values="value")
    if wide.shape[1] < 2:
        raise ValueError("table must hold curves, measured at two or more t")
    if wide.size > len(table):
        raise ValueError("table must hold curves that are measured at the same ts")
    return wide


def check_tolerance(tolerance: float) -> None:
    """Raise a `ValueError` unless ε can be a tolerance in nats."""
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be >= 0 nats, got {tolerance}")


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
        One line a curve and seed: seed, connected, breaks ("retain", "forget" or ""); by, the
        largest excess over the line minus `tolerance`, so that the needed tolerance is
        ``by + tolerance``; and t, where it is. A diverged seed has ``connected`` missing (NA).

    Raises
    ------
    ValueError
        If `tolerance` is negative, or the table lacks the loss on retain or forget, both ends, a
        second t, or a column that tells its curves apart.

    Examples
    --------
    >>> verdict = is_connected(table, tolerance=100)
    >>> verdict.connected.tolist(), verdict.breaks.tolist()
    ([True, True], ['', ''])
    """
    check_tolerance(tolerance)
    for column in ("metric", "split"):
        check_choice("column", column, list(table))
    losses = table[table.metric == "loss"]
    keys = [c for c in table if c not in ("t", "split", "metric", "value")]
    if not {"retain", "forget"} <= set(losses.split):
        raise ValueError("table must hold the loss on retain and forget")
    wide = wide_curves(losses, ["split", *keys])
    ts = wide.columns.to_numpy()
    if ts[0] != 0 or ts[-1] != 1:
        raise ValueError(f"table must begin at t=0 and end at t=1, got {ts}")
    lines = losses[keys].drop_duplicates(ignore_index=True)
    own = lines.set_index(keys).index
    over = [s * excess(wide.loc[split].reindex(own), ts) - tolerance for split, s in _SIDES]
    # Of both sides the worst t: by how much, and where.
    worst, where = np.max(over, -1), np.argmax(over, -1)
    by, side = worst.max(0), worst.argmax(0)
    connected = pd.array(np.where(np.isnan(by), pd.NA, by <= 0), dtype="boolean")
    breaks = np.where(by > 0, np.array([split for split, _ in _SIDES])[side], "")
    t = ts[np.choose(side, where)]
    return lines.assign(connected=connected, breaks=breaks, t=t, by=by)


def turns(values: np.ndarray, ignore: float = 0.05) -> np.ndarray:
    """Count how often each curve, shape (..., T), changes its direction: floats of shape (...).

    0 for a monotone curve, 1 for one hump; NaN where a value is missing. Movements smaller than
    the share `ignore` of the curve's range are no change of direction.
    """
    check_share("ignore", ignore, zero=True)
    return np.apply_along_axis(_turns, -1, np.asarray(values, dtype=float), ignore)


def _turns(values: np.ndarray, ignore: float) -> float:
    """Follow one curve; `high` and `low` are its extremes since it last changed direction."""
    if np.isnan(values).any():
        return float("nan")
    least, direction, count = ignore * np.ptp(values), 0, 0
    high = low = values[0]
    for v in values[1:]:
        high, low = max(high, v), min(low, v)
        if direction >= 0 and high - v > least:
            count, direction, low = count + (direction != 0), -1, v
        elif direction <= 0 and v - low > least:
            count, direction, high = count + (direction != 0), 1, v
    return float(count)
