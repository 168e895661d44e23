"""An author's sentence, and the machine's guard beside it."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

import numpy as np
import pandas as pd
from IPython.display import HTML

from mcu_lite.figures.forest import labels

NOTE = "mcu-note"
"""Class of the notes, by which a build finds them."""


def holds(measured: bool | pd.DataFrame | Iterable[str], *written: str) -> HTML | None:
    """Put a note under a sentence that was written for another outcome than the one here.

    Sentences are written for the profile that is published. Another one, other parameters or
    another processor may come out otherwise: that stops nobody, but it is said.

    Parameters
    ----------
    measured : bool, or iterable of str, or pandas.DataFrame
        Whether the sentence is true; or the names that it should name; or what
        `mcu_lite.compare` returns, of which it should name those that are visible.
    *written : str
        The names that the sentence names, in any order; none for "none". Of a truth value, what it
        says, for the note.

    Returns
    -------
    IPython.display.HTML or None
        The note; nothing where the sentence holds.

    Raises
    ------
    TypeError
        If what was measured is neither a truth value nor names.
    ValueError
        If a table is not of `mcu_lite.compare`.

    Examples
    --------
    >>> holds(["npo", "scrub"], "scrub", "npo")
    >>> holds(2 < 1, "two is less than one").data
    '<p class="mcu-note">Written for: two is less than one. Here it is otherwise.</p>'
    >>> holds(["npo"], "npo", "scrub").data
    '<p class="mcu-note">Written for: npo, scrub. Measured here: npo.</p>'
    """
    if isinstance(measured, pd.DataFrame):
        if missing := {"a", "visible"} - set(measured):
            raise ValueError(f"measured must be of compare, it lacks {sorted(missing)}")
        measured = pd.Series(labels(measured), dtype=str)[measured.visible.to_numpy(bool)]
    if isinstance(measured, (str, float)) or not isinstance(measured, (bool, np.bool_, Iterable)):
        raise TypeError(f"measured must be a truth value or names, got {measured!r}")
    if isinstance(measured, (bool, np.bool_)):
        right, here = bool(measured), "Here it is otherwise."
    else:
        found = list(dict.fromkeys(map(str, measured)))
        right, here = set(found) == set(written), f"Measured here: {', '.join(found) or 'none'}."
    if right:
        return None
    said = f"Written for: {', '.join(written) or 'none'}. {here}"
    return HTML(f'<p class="{NOTE}">{escape(said)}</p>')
