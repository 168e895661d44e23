import numpy as np
import pandas as pd
import pytest

from mcu_lite import scorecard as sc


def finding(values, **more):
    return sc.Finding("claim", "test", "on", np.asarray(values, float), 0.5, "page", **more)


@pytest.mark.parametrize(
    ("values", "more", "verdict"),
    [
        ([0.8, 0.9, 0.85, 0.9], {}, sc.SUPPORTED),
        ([0.8, 0.9, 0.85, 0.9], {"confounder": "distance"}, "confounded by distance"),
        ([0.1, 0.2, 0.15, 0.1], {}, sc.UNSEEN),
        ([0.1, 0.2, 0.15, 0.1], {"confounder": "distance"}, sc.UNSEEN),
        ([0.1, 0.9, 0.2, 0.8], {}, sc.UNSEEN),
        ([-0.9, -0.8, -0.9, -0.7], {}, sc.CONTRADICTED),
        ([0.1, 0.2, 0.15, 0.1], {"floor": 0.3}, sc.CONTRADICTED),
    ],
)
def test_the_verdict_follows_the_interval(values, more, verdict):
    assert finding(values, **more).verdict == verdict


def test_the_table_links_every_claim_to_its_chapter():
    card = sc.scorecard([finding([1.0, 2.0], control="none"), finding([0.0, 0.1])])
    lines = sc.as_markdown(card).splitlines()
    assert len(lines) == 4 and all("[more](page)" in line for line in lines[2:])
    assert card.effect.tolist() == [1.5, 0.05]
    with pytest.raises(ValueError, match="at least one Finding"):
        sc.scorecard([])


METHODS = ["npo", "graddiff", "finetune", "scrub"]
SEEDS = (0, 1, 2, 3)
TS = np.linspace(0, 1, 5)
TENT = np.array([0, 0.5, 1, 0.5, 0])


def curve(condition, a, b, path, height, seed):
    """Losses with a tent of this height on the retain set, everything else flat."""
    keys = {"condition": condition, "a": a, "b": b, "curve": path, "objective": "", "seed": seed}
    parts = {("retain", "loss"): height * TENT, ("forget", "loss"): 0 * TENT}
    frames = [
        pd.DataFrame(keys | {"t": TS, "split": split, "metric": m, "value": v})
        for (split, m), v in parts.items()
    ]
    return pd.concat(frames)


def table(rows):
    return pd.concat([curve(*row, seed) for row in rows for seed in SEEDS], ignore_index=True)


def test_paths_exist_counts_pairs_that_either_path_connects():
    rows = []
    for i, height in enumerate((0.0, 1.0, 1.0, 1.0)):
        rows += [("Met", f"m{i} seed=0", "n seed=0", "linear", height)]
        rows += [("Met", f"m{i} seed=0", "n seed=0", "bezier", 0.0 if i < 3 else 1.0)]
    found = sc.paths_exist(table(rows))
    assert found.values.tolist() == [0.75] * 4
    assert found.verdict == sc.SUPPORTED and "25%" in found.control


def test_distinct_from_retraining_is_confounded_where_the_original_is_as_far():
    def rows(start):
        near = [("Oracle", "retrain_same seed=0", f"{m} seed=0", "linear", 0.0) for m in METHODS]
        far = [("Oracle", "retrain seed=0", f"{m} seed=0", "linear", 1.0) for m in METHODS]
        return [*near, *far, ("Original", "original seed=0", "retrain seed=0", "linear", start)]

    function = sc.approximate_methods_differ_from_retraining
    assert function(table(rows(1.0))).verdict == "confounded by initialisation"
    assert function(table(rows(0.0))).verdict == sc.SUPPORTED


def test_a_switch_moves_if_its_barrier_exceeds_that_of_two_seeds():
    def rows(height):
        base = [("Rand", f"{m} seed=0", f"{m} seed=1", "linear", 0.2) for m in METHODS]
        on = [("CL", f"{m} seed=0", f"{m} seed=0 curriculum=1", "linear", height) for m in METHODS]
        out = [("Original", "original seed=0", f"{m} seed=0", "linear", 0.0) for m in METHODS]
        return [*base, *on, *out]

    found = sc.curriculum_moves(table(rows(0.9)))
    assert found.values == pytest.approx([0.7] * 4) and found.verdict == sc.SUPPORTED
    assert sc.curriculum_moves(table(rows(0.25))).verdict == sc.UNSEEN


def test_every_claim_of_the_paper_has_a_test():
    chapters = [claim.__doc__.split()[1].strip(",.") for claim in sc.CLAIMS]
    assert set(chapters) >= {"1", "2", "3", "4", "5", "7"}
