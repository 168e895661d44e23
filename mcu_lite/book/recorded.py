"""The scorecard's evidence on twenty seeds: computed once, and recorded with what made it.

``python -m mcu_lite.book.recorded`` computes it on all cores. What the cache holds is not computed
again, so an interrupted run resumes.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from inspect import getsource
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from IPython.display import HTML
from scipy import stats

from mcu_lite.book.evidence import DIGITS, Evidence, gather, mixed_logits, on_both, straight
from mcu_lite.book.paper_claims import CLAIMS
from mcu_lite.book.scorecard import as_html, scorecard
from mcu_lite.files import write
from mcu_lite.studies.conditions import PROFILES, Setting
from mcu_lite.studies.paper_grid import COMPARED, ORACLES
from mcu_lite.studies.results import without_docstrings
from mcu_lite.studies.study import run
from mcu_lite.unlearning.methods import METHODS

ROOM = Path(__file__).parent
FILE = ROOM / "measured" / "scorecard.json"
SETTING = replace(PROFILES["book"], seeds=20)
PATHS = (straight(), on_both())
ON_PATHS = (
    "paths_exist",
    "metrics_fluctuate_differently",
    "approximate_methods_differ_from_retraining",
    "unlearning_moves_nonlinearly",
)
"""Claims that `make book` computes anew; those that choose on half of the seeds need as many."""
SOURCES = ("evidence.py", "effects.py", "paper_claims.py")
WORDS = ("losses", "terms", "source", "description")


def recipe() -> str:
    """Digest of the setting, the methods and the claims, without comments and docstrings."""
    methods = [METHODS[name] for name in (*COMPARED, *ORACLES)]
    recipes = [{k: v for k, v in vars(m).items() if k not in WORDS} for m in methods]
    sources = [getsource(m.losses) for m in methods]
    sources += [(ROOM / source).read_text(encoding="utf-8") for source in SOURCES]
    what = json.dumps([asdict(SETTING), recipes, *map(without_docstrings, sources)])
    return hashlib.sha256(what.encode()).hexdigest()[:16]


def main() -> None:
    """Compute the effects of all claims and write them down."""
    began = time.perf_counter()
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(mp_context=get_context("spawn"), initializer=_prepare) as pool:
        evidence = gather(SETTING, pool)
    made = {
        "recipe": recipe(),
        "commit": _commit(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "device": f"{SETTING.device}, {platform.machine()}, {os.cpu_count()} cores",
        "seconds": round(time.perf_counter() - began),
    }
    effects = {
        name: claim.effects(evidence).rename_axis("seed").reset_index().round(5).to_dict("list")
        for name, claim in CLAIMS.items()
    }
    text = json.dumps({"made": made, "effects": effects}, ensure_ascii=False, indent=None)
    # One line a claim: a change of one shows as one.
    write(FILE, text.replace('}, "', '},\n"').replace("NaN", "null").encode())
    print(f"{FILE.name} in {made['seconds']} s")


def _prepare() -> None:
    torch.set_num_threads(1)


def _commit() -> str:
    asked = ["git", "-C", str(ROOM), "describe", "--always", "--dirty"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()


def load() -> tuple[dict, dict[str, pd.DataFrame]]:
    """What made the record, and the effects of each claim by seed."""
    record = json.loads(FILE.read_text(encoding="utf-8"))
    tables = {
        k: pd.DataFrame(v, dtype=float).set_index("seed") for k, v in record["effects"].items()
    }
    return record["made"], tables


def card() -> pd.DataFrame:
    """The scorecard of the recorded effects, by the names of the claims."""
    effects = load()[1]
    lines = scorecard(CLAIMS[name].finding(own) for name, own in effects.items())
    # Where one half of the seeds chooses and the other judges, both must grow.
    lines["needed"] *= SETTING.seeds / lines.n
    return lines.set_axis(list(effects))


KEY = (
    '<div class="mcu-key"><span>Filled: the effect net of its control; hollow: without it. Dashed: '
    'δ, the smallest effect that would be worth the claim, see <a href="scorecard.html">Scorecard'
    "</a>.</span></div>"
)


def verdicts(*names: str) -> HTML:
    """Quote rows of the scorecard, which were decided together with all others."""
    return HTML(as_html(card().loc[list(names)]) + KEY)


def again(setting: Setting) -> dict[str, pd.DataFrame]:
    """Effects of the claims that need nothing but paths on the digits, computed anew."""
    evidence = Evidence(*(run(c, digits(setting)) for c in PATHS), mixed_logits(digits(setting)))
    return {name: CLAIMS[name].effects(evidence) for name in ON_PATHS}


def digits(setting: Setting) -> Setting:
    """What is measured on the digits for the claims."""
    return replace(setting, metrics=DIGITS)


def outside(effects: dict[str, pd.DataFrame], again: dict[str, pd.DataFrame]) -> str:
    """Say which claims come out otherwise on seeds that were computed anew.

    Otherwise is a mean beyond the interval in which that of so many new seeds lies with 95 % for
    all claims together, given the recorded ones.
    """
    level, far = 1 - 0.05 / len(again), []
    for name, own in again.items():
        new, net = own.net.dropna(), effects[name].net.dropna()
        if len(new) and len(net) > 1:
            width = stats.t.ppf((1 + level) / 2, len(net) - 1) * net.std()
            width *= np.sqrt(1 / len(new) + 1 / len(net))
            if abs(new.mean() - net.mean()) > width + 1e-5:
                far.append(f"{name} {new.mean():.2f} (recorded {net.mean():.2f})")
    said = ", ".join(far) or "nothing"
    return f"Of what was computed anew, {said} lies outside what the recorded seeds allow."


if __name__ == "__main__":
    main()
