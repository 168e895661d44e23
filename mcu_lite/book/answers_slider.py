"""A slider over t that shows what the models along a path answer, without a kernel."""

from __future__ import annotations

from html import escape

import ipywidgets as w
import pandas as pd

from mcu_lite.figures.scrub import frames, moved

TITLES = {"forget": "to be forgotten", "retain": "retained"}


def answers_slider(table: pd.DataFrame) -> w.Widget:
    """Choose a path, move t, and read the answers; what differs from the true one is struck out.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `mcu_lite.book.text_study.answers_along`.

    Returns
    -------
    ipywidgets.VBox

    Raises
    ------
    ValueError
        For an empty table, or paths that were asked at different ts.
    """
    if table.empty:
        raise ValueError("table must hold at least one answer, got none")
    ts = sorted(table.t.unique())
    if table.groupby("path").t.nunique().ne(len(ts)).any():
        raise ValueError("table must hold paths that were asked at the same ts")
    stacks = []
    for _, own in table.groupby("path", sort=False):
        stacks.append(frames(_frame(own[own.t == t]) for t in ts))
    choose = w.Dropdown(options=list(table.path.unique()), index=0, description="path")
    choose.style = {"description_width": "initial"}
    outer = w.Stack(stacks, selected_index=0, layout={"width": "100%"})
    w.jslink((choose, "index"), (outer, "selected_index"))
    box = moved(ts, [outer], start=0, interval=300)
    box.children = [choose, *box.children]
    return box.add_class("mcu-subtitles")


def _frame(own: pd.DataFrame) -> str:
    """A table of questions and answers at one t."""
    lines = ""
    for split, part in own.groupby("split", sort=False):
        right = (part.true == part.answer).sum()
        title = f"{TITLES[split]}: {right} of {len(part)} answers exact"
        lines += f'<tr><th colspan="3" scope="rowgroup">{title}</th></tr>'
        for row in part.itertuples():
            cells = (escape(row.question), escape(row.true), _marked(row.answer, row.true))
            lines += f"<tr><td>{'</td><td>'.join(cells)}</td></tr>"
    head = "".join(f'<th scope="col">{h}</th>' for h in ("question", "true", "the model says"))
    return f'<table class="mcu-numbers mcu-answers"><tr>{head}</tr>{lines}</table>'


def _marked(answer: str, true: str) -> str:
    """The answer, with the words that the true one does not have at their place marked."""
    expected = [*true.split(), *[""] * len(answer.split())]
    pairs = zip(answer.split(), expected)
    words = (escape(a) if a == t else f"<em>{escape(a)}</em>" for a, t in pairs)
    return " ".join(words) or "<em>(nothing)</em>"
