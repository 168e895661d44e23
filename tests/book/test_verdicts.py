import numpy as np
import pandas as pd
import pytest

from mcu_lite.book import effects
from mcu_lite.book import evidence as ev
from mcu_lite.book import paper_claims as verdicts
from mcu_lite.book.scorecard import CONTRADICTED, SUPPORTED, UNSEEN, as_markdown, scorecard
from mcu_lite.studies.conditions import Setting

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


def test_methods_that_differ_by_chance_alone_are_not_told_apart():
    """Coins in place of paths: the best of many methods is better than the worst on its seeds."""
    rng, verdicts_found = np.random.default_rng(0), []
    for _ in range(10):
        share = pd.DataFrame(rng.binomial(20, 0.5, (5, 11)) / 20, columns=list("abcdefghijk"))
        assert (share.max(axis=1) - share.min(axis=1)).mean() > 0.2
        verdicts_found.append(effects.best_less_worst(share).mean())
    assert abs(np.mean(verdicts_found)) < 0.06
    share["a"], share["b"] = 1.0, 0.0
    assert effects.best_less_worst(share).tolist() == [1.0] * 5


def test_paths_exist_counts_pairs_that_either_path_connects():
    rows = []
    for i, height in enumerate((0.0, 1.0, 1.0, 1.0)):
        rows += [("Met", f"m{i} seed=0", "n seed=0", "linear", height)]
        rows += [("Met", f"m{i} seed=0", "n seed=0", "bezier", 0.0 if i < 3 else 1.0)]
    again = [("Rand", "npo seed=0", "npo seed=1", "bezier", height) for height in (0.0, 1.0)]
    given = ev.Evidence(table([*rows, again[0]]), retain_only=table(again[1:]))
    found = verdicts.paths_exist(given)
    assert found.values.tolist() == [0.8] * 4
    assert found.verdict == SUPPORTED
    assert "25%" in found.control and "100%, on the retain loss alone 0%" in found.control


def test_groups_must_return_in_seeds_that_were_held_out():
    """Two groups of methods: no line within one breaks, every line between them does."""
    names = [f"m{i} seed=0" for i in range(8)]

    def grid(side):
        return pd.concat(
            curve("Met", a, b, "linear", float(side(seed, i) != side(seed, i + 1 + j)), seed)
            for i, a in enumerate(names)
            for j, b in enumerate(names[i + 1 :])
            for seed in SEEDS
        )

    rng = np.random.default_rng(0)
    drawn = rng.permuted(np.tile([0, 0, 0, 0, 1, 1, 1, 1], (len(SEEDS), 1)), axis=1)
    same, changing = (
        verdicts.linear_connectivity_groups_methods(ev.Evidence(grid(side)))
        for side in (lambda seed, i: i // 4, lambda seed, i: drawn[seed, i])
    )
    assert same.verdict == SUPPORTED and not same.confounder
    assert changing.verdict != SUPPORTED


def test_distinct_from_retraining_is_confounded_where_a_shared_initialisation_ends_it():
    def rows(same):
        near = [("Oracle", "retrain_same seed=0", f"{m} seed=0", "linear", same) for m in METHODS]
        far = [("Oracle", "retrain seed=0", f"{m} seed=0", "linear", 1.0) for m in METHODS]
        start = [
            ("Original", "original", f"{b} seed=0", "linear", 0.7)
            for b in ("retrain", "retrain_same")
        ]
        return [*near, *far, *start]

    function = verdicts.approximate_methods_differ_from_retraining
    confounded, clear = (function(ev.Evidence(table(rows(same)))) for same in (0.0, 0.5))
    assert confounded.verdict == "confounded by initialisation"
    assert clear.verdict == SUPPORTED
    assert "0.70 (`retrain`) and 0.70 (`retrain_same`)" in clear.control


@pytest.mark.parametrize(
    ("height", "equal", "verdict"),
    [(0.9, 0.8, SUPPORTED), (0.9, 0.25, "confounded by distance"), (0.25, 0.25, UNSEEN)],
)
def test_a_switch_moves_if_its_line_needs_more_also_at_equal_distance(height, equal, verdict):
    def rows(name, height):
        return [(name, f"{m} seed=0", f"{m} seed=1", "linear", height) for m in METHODS]

    grid, control = [*rows("Rand", 0.2), *rows("CL", height)], rows("CL matched", equal)
    found = verdicts.curriculum_moves(ev.Evidence(table(grid), matched=table(control)))
    assert found.values == pytest.approx([height - 0.2] * 4) and found.verdict == verdict


@pytest.mark.parametrize(
    ("mixed", "verdict"), [(0.0, SUPPORTED), (0.3, "confounded by the metric's own bend")]
)
def test_a_bend_that_mixed_logits_have_too_is_the_metrics(mixed, verdict):
    def accuracy(bend):
        own = table([("Original", "original seed=0", "npo seed=0", "linear", 0.0)])
        own = own[own.split == "forget"].assign(metric="accuracy")
        return own.assign(value=1 - own.t + bend * np.tile(TENT, len(SEEDS)))

    found = verdicts.unlearning_moves_nonlinearly(ev.Evidence(accuracy(0.4), mixed=accuracy(mixed)))
    assert found.values == pytest.approx([0.4] * 4) and found.verdict == verdict


def test_ways_that_are_straight_contradict_that_they_are_not():
    straight = table([("Original", "original", "npo seed=0", "linear", 0.0)])
    straight = straight[straight.split == "forget"].assign(metric="accuracy")
    straight = straight.assign(value=1 - straight.t)
    found = verdicts.unlearning_moves_nonlinearly(ev.Evidence(straight, mixed=straight))
    assert found.values == pytest.approx([0.0] * 4) and found.verdict == CONTRADICTED


def averages(gain):
    """Two budgets, of which the second is the better one, and an average that has `gain` more."""
    heights = {"budget a": 0.7, "budget b": 0.8, "average c": 0.8 + gain}
    lines = [(m, s, 1 - h, h) for m, h in heights.items() for s in SEEDS]
    return pd.DataFrame(lines, columns=["model", "seed", "area", "accuracy"])


@pytest.mark.parametrize(
    ("gain", "verdict"),
    [(0.05, SUPPORTED), (0.0, UNSEEN), (-0.05, UNSEEN), (-0.15, CONTRADICTED)],
)
def test_averages_compete_with_the_better_model_of_the_same_budget(gain, verdict):
    given = ev.Evidence(pd.DataFrame(), averages=averages(gain))
    for claim in verdicts.ensembling_generalises, verdicts.ensembling_resists_relearning:
        found = claim(given)
        assert found.values == pytest.approx([gain] * 4) and found.verdict == verdict
        assert f"counts: `b` {gain:+.3f}; `a` {gain + 0.1:+.3f}" in found.control.replace(
            "-0.000", "+0.000"
        )


def test_every_claim_of_the_paper_is_judged():
    numbers = {claim.__doc__.split()[1].strip(",.") for claim in verdicts.CLAIMS}
    assert numbers == set("1234567")


def test_the_matched_ends_moved_as_far_as_the_plain_ones(tmp_path, monkeypatch):
    monkeypatch.setenv("MCU_LITE_CACHE", str(tmp_path))
    monkeypatch.setattr(ev, "MATCHED", {"CL": ("npo",), "SO": ("npo",)})
    setting = Setting(seeds=1, ts=3, epochs=15)
    conditions = ev.matched_conditions(setting)
    assert [c.name for c in conditions] == ["CL matched", "SO matched"]
    for c in conditions:
        stacks = ev.endpoints([c.a, c.b], setting)
        far = [(s.rows - s.origin.rows).norm().item() for s in stacks.values()]
        assert far[1] == pytest.approx(far[0], rel=0.1)
        assert (c.b.curriculum, c.b.order) == ((1.0, 1) if "CL" in c.name else (0.0, 2))


def test_a_claim_on_text_is_judged_on_text_alone():
    def evidence(height):
        rows = [("Met", f"m{i} seed=0", "n seed=0", "linear", height) for i in range(4)]
        return ev.Evidence(table(rows), retain_only=table([("Rand", "m", "n", "bezier", height)]))

    both = ev.Evidence(**(vars(evidence(1.0)) | {"text": evidence(0.0)}))
    (claim,) = (c for c in verdicts.CLAIMS if c.__doc__ == "Claim 1, first half, on text.")
    assert verdicts.paths_exist(both).values.tolist() == [0.0] * 4
    found = claim(both)
    assert found.values.tolist() == [1.0] * 4 and found.verdict == SUPPORTED
    assert found.chapter == "language" and found.claim.startswith("On text: low-loss paths")


def test_a_claim_on_photographs_is_judged_on_photographs_alone():
    def evidence(height):
        rand = [("Rand", f"{m} seed=0", f"{m} seed=1", "bezier", height) for m in METHODS]
        return ev.Evidence(table(rand), retain_only=table(rand))

    both = ev.Evidence(**(vars(evidence(1.0)) | {"photographs": evidence(0.0)}))
    (claim,) = (c for c in verdicts.CLAIMS if c.__doc__ == "Claim 1, first half, on photographs.")
    assert verdicts.paths_exist(both).verdict == CONTRADICTED
    assert claim(both).verdict == SUPPORTED and claim(both).chapter == "real-size"


def test_few_pairs_that_somebody_chose_say_little_about_pairs():
    """Two of three are connected on every seed: the seeds would call that certain."""
    rows = [("Met", f"m{i} seed=0", "n seed=0", "linear", float(i == 0)) for i in range(3)]
    given = ev.Evidence(table(rows), retain_only=table(rows[:1]))
    found = verdicts.paths_exist(given)
    assert sorted(found.values) == [0.0, 1.0, 1.0] and found.verdict == UNSEEN
    assert "3 pairs" in found.on and "over which the interval is" in found.on


@pytest.mark.filterwarnings("error")
def test_smoothness_is_ranked_where_paths_differ_in_it():
    """The losses are the rougher the farther a method is, but for a seed of straight paths only."""
    frames = []
    for far, method in enumerate(METHODS):
        for seed in SEEDS:
            keys = {"condition": "Rand", "a": f"{method} seed=0", "b": f"{method} seed=1"}
            keys |= {"curve": "linear", "objective": "", "seed": seed, "split": "forget"}
            parts = {"loss": far * TENT * (seed > 0), "accuracy": TS, "js_to_oracle": far + 0 * TS}
            frames += [
                pd.DataFrame(keys | {"t": TS, "metric": m, "value": v}) for m, v in parts.items()
            ]
    found = verdicts.smoothness_tracks_difficulty(ev.Evidence(pd.concat(frames, ignore_index=True)))
    assert np.isnan(found.values[0])
    assert found.values[1:].tolist() == pytest.approx([1.0] * 3)
    assert "ρ = nan" in found.control


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("curves", [0.0, 1.0])
def test_without_a_connected_line_nothing_is_said_about_metrics_along_it(curves):
    """Membership falls as the forget loss rises on one of the curves, if they connect."""
    grid = table(
        [("Met", "npo", "scrub", "linear", 1.0), ("Met", "npo", "scrub", "bezier", curves)]
    )
    loss = (grid.split == "forget") & (grid.metric == "loss")
    grid.loc[loss, "value"] += grid.t[loss] * (1 - grid.t[loss])
    membership = grid[loss].assign(metric="mia_auc", value=lambda own: -own.value)
    found = verdicts.metrics_fluctuate_differently(ev.Evidence(pd.concat([grid, membership])))
    assert found.verdict == UNSEEN and found.on.startswith("0 straight lines")
    assert found.control.endswith("no number: there are none" if curves else " 0.00")
    assert "nothing to measure" in as_markdown(scorecard([found]))
