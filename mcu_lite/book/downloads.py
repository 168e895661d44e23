"""The table behind a figure, as a file that the page itself holds."""

from __future__ import annotations

import base64
import gzip
from html import escape

import pandas as pd
from IPython.display import HTML

import mcu_lite


def download(table: pd.DataFrame, name: str, **parameters: object) -> HTML:
    """Link to a gzipped CSV file inside the page, with the parameters that made it.

    A table along t becomes one line a curve, seed, split and metric, and one column for each t;
    of stacks, which have no t, a single one, value.
    Read it with ``pandas.read_csv(name, comment="#")``.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `mcu_lite.evaluate`, `mcu_lite.run` or any other; at most a few megabytes.
    name : str
        Of the file, without ending.
    **parameters
        Written at its head, such as ``setting=...``.

    Examples
    --------
    >>> "npo.csv.gz" in download(table, "npo", seeds=2).data
    True
    """
    if table.empty:
        raise ValueError(f"table {name!r} is empty")
    if {"t", "value"} <= set(table):
        keys = [c for c in table if c not in ("t", "value")]
        if table.duplicated([*keys, "t"]).any():
            raise ValueError(
                f"table must hold one value for each t, {', '.join(keys)}; it has more"
            )
        table = table.pivot(index=keys, columns="t", values="value")
        table.columns = ["value" if pd.isna(t) else t for t in table.columns]
        table = table.reset_index()
    names = table.select_dtypes(exclude="number")
    if "#" in names.to_csv() + "".join(map(str, table)):
        raise ValueError("table must be without '#', which begins a comment in the file")
    parameters = {"mcu_lite": mcu_lite.__version__, **parameters}
    head = "".join(
        f"# {line}\n" for k, v in parameters.items() for line in f"{k}: {v}".splitlines()
    )
    content = head + table.to_csv(index=False, float_format="%.4g")
    packed = base64.b64encode(gzip.compress(content.encode(), mtime=0)).decode()
    label = f"Download the table: {name}.csv.gz ({len(table):,} lines)"
    return HTML(
        f'<a class="mcu-download" download="{escape(name)}.csv.gz" '
        f'href="data:application/gzip;base64,{packed}">{escape(label)}</a>'
    )
