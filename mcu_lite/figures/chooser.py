"""Menus for two models and a path between them, and a slider over t, drawn by a page's script."""

from __future__ import annotations

import gzip
import hashlib
import json
from base64 import b64encode
from pathlib import Path

from IPython.display import HTML

from mcu_lite.figures.look import COLOURS, themed

SAY = '<p aria-live="polite"></p>'
"""Where the page says in a sentence what it shows."""


def chooser(data: dict, script: Path, css: str = "", above: str = "", say: str = SAY) -> HTML:
    """Let a reader choose one of many paths, and move t, without a kernel.

    `data` holds ts, the width of a panel, and whatever `script` draws of `paths`, each named
    "from|to|kind"; it is stored compressed. `script` is a function in JavaScript that returns a
    sentence and panels, see ``chooser.js``.
    """
    for key in data["paths"]:
        if key.count("|") != 2:
            raise ValueError(f"models and kinds of path must be named without '|', got {key!r}")
    data = data | {"colours": {split: themed(split) for split in COLOURS}}
    # The page reads strict JSON, which has no NaN.
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    name = f"{script.stem}-{hashlib.sha256(text).hexdigest()[:8]}"
    packed = b64encode(gzip.compress(text, mtime=0)).decode()
    here = Path(__file__)
    files = (here.with_name("page.css"), here.with_suffix(".js"), script)
    style, control, draw = (file.read_text(encoding="utf-8").strip() for file in files)
    selects = " ".join(
        f"<label>{menu} <select></select></label>" for menu in ("from", "to", "path")
    )
    return HTML(
        f'<style>{style}</style><div id="{name}" class="mcu-atlas {css}">{above}'
        f'<div class="mcu-bar">{selects}<label>t <input type="range" min="0" step="1"></label>'
        f'<output></output></div>{say}<div class="mcu-panels"></div></div>'
        f'<script>{control}(document.getElementById("{name}"), "{packed}", {draw})</script>'
    )
