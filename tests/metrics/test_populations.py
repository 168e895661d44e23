"""Populations of models against retrained ones: loops, other libraries, known answers."""

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import softmax
from sklearn.metrics import roc_auc_score, roc_curve

import mcu_lite as mcu
from mcu_lite.metrics.evaluation import split_outputs
from mcu_lite.metrics.populations import (
    AUDITS,
    audit,
    epsilons,
    forgetting_score,
    klom,
    klom_95,
    lira_scores,
    margins,
    ulira_auc,
    ulira_tpr,
)


def drawn(m, k, n, shift=0.0, scale=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return shift + scale * rng.standard_normal((m, n)), rng.standard_normal((k, n))


def test_margins_are_those_of_the_modules():
    task = mcu.load_task("digits", seeds=1)
    theta = mcu.train(task, epochs=2)
    outputs = split_outputs(theta.architecture, theta.rows, task, 0)
    x, y = task.split("forget")
    p = softmax(theta.module(0)(x[0]).detach().double().numpy(), axis=1)
    own = p[np.arange(len(p)), y[0]]
    assert np.allclose(margins(outputs)[0], np.log(own / (1 - own)), atol=1e-4)
    with pytest.raises(ValueError, match="unknown split 'all'"):
        margins(outputs, "all")


@pytest.mark.parametrize("shift, clip", [(0, 100.0), (1.5, 100.0), (3, 1.2)])
def test_klom_is_a_loop_over_examples(shift, clip):
    models, oracles = drawn(9, 7, 5, shift)
    for own, a, b in zip(klom(models, oracles, clip=clip), models.T, oracles.T):
        a, b = np.clip(a, -clip, clip), np.clip(b, -clip, clip)
        edges = np.linspace(min(*a, *b), max(*a, *b), 21)
        p, q = (np.histogram(x, edges)[0] / len(x) for x in (a, b))
        q = [max(v, 1e-5) if u else v for u, v in zip(p, q)]
        assert own == pytest.approx(stats.entropy(p, q))


def test_klom_of_many_models_is_that_of_the_two_normal_distributions():
    models, oracles = drawn(400_000, 400_000, 1, shift=0.5, scale=1.0)
    assert klom(models, oracles)[0] == pytest.approx(0.5**2 / 2, rel=0.05)
    assert klom(oracles, oracles)[0] == 0
    assert klom_95(models, oracles) == klom(models, oracles)[0]


def test_ulira_is_a_loop_over_targets():
    models, oracles = drawn(8, 6, 3, shift=1.0)
    for first, (unlearned, retrained) in zip((0, 1), lira_scores(models, oracles)):
        for found, targets in ((unlearned, models), (retrained, oracles)):
            for i, row in enumerate(targets[1 - first :: 2]):
                for j, x in enumerate(row):
                    u, r = (
                        stats.norm(s.mean(), s.std(ddof=1))
                        for s in (models[first::2, j], oracles[first::2, j])
                    )
                    assert found[i, j] == pytest.approx(u.logpdf(x) - r.logpdf(x))


def test_ulira_is_summed_up_as_scikit_learn_does():
    models, oracles = drawn(40, 60, 12, shift=0.8)
    areas, caught = [], []
    for u, r in lira_scores(models, oracles):
        truth = np.repeat([1, 0], [u.size, r.size])
        score = np.concatenate([u.ravel(), r.ravel()])
        areas.append(roc_auc_score(truth, score))
        alarm, tpr, _ = roc_curve(truth, score, drop_intermediate=False)
        caught.append(tpr[alarm <= 0.01].max())
    assert ulira_auc(models, oracles) == pytest.approx(np.mean(areas))
    assert ulira_tpr(models, oracles) == pytest.approx(np.mean(caught))


def test_ulira_finds_what_is_known_and_nothing_where_nothing_is():
    # Two normal distributions one deviation apart are told apart with Φ(1/√2).
    models, oracles = drawn(4000, 4000, 4, shift=1.0)
    assert ulira_auc(models, oracles) == pytest.approx(stats.norm.cdf(0.5**0.5), abs=0.01)
    # Over-forgotten models are as easy to tell: the attack learns the direction.
    assert ulira_auc(-models, oracles) == pytest.approx(stats.norm.cdf(0.5**0.5), abs=0.01)
    none = [ulira_auc(*drawn(16, 16, 60, seed=s)) for s in range(60)]
    assert np.mean(none) == pytest.approx(0.5, abs=0.006)
    assert ulira_tpr(*drawn(2000, 2000, 4)) == pytest.approx(0.01, abs=0.006)


def on_a_grid(p, q, step=0.01, delta=1e-5):
    """ε of one example as the competition's code finds it: a grid of thresholds, one by one."""
    high, low = (p, q) if np.median(p) >= np.median(q) else (q, p)
    inner, outer = (p, q) if np.ptp(p) <= np.ptp(q) else (q, p)
    rates = [
        ((high < t).mean(), (low >= t).mean()) for t in np.arange(min(*p, *q), max(*p, *q), step)
    ]
    for right in np.arange(inner.max() - 2, inner.max() + 2, step):
        for left in right - np.ptp(inner) + np.arange(-2, 2, step):
            inside = [((left <= x) & (x <= right)).mean() for x in (inner, outer)]
            rates.append((1 - inside[0], inside[1]))
    best = 0.0
    for fnr, alarm in set(rates):
        if fnr == alarm == 0:
            return np.inf
        if fnr and alarm:
            terms = [(1 - delta - alarm) / fnr, (1 - delta - fnr) / alarm]
            best = max(best, *(np.log(t) for t in terms if t > 0))
    return best


@pytest.mark.parametrize("shift, scale", [(0, 1), (1, 0.3), (6, 3), (40, 1)])
def test_epsilons_are_those_of_the_best_thresholds_on_a_grid(shift, scale):
    models, oracles = drawn(7, 7, 6, shift, scale, seed=3)
    found = epsilons(models, oracles, cap=50)
    expected = [min(on_a_grid(p, q, 0.02), 50) for p, q in zip(models.T, oracles.T)]
    assert (found >= np.array(expected) - 1e-9).all(), "a finer grid finds no less"
    assert np.isclose(found, expected).mean() > 0.8


def test_epsilons_at_the_limits():
    models, oracles = drawn(50, 50, 3)
    assert (epsilons(models + 100, oracles) == 50).all(), "told apart without an error"
    assert (epsilons(models * 1e-3, oracles) == 50).all(), "a peak"
    # Randomised response: ε is the logarithm of the odds.
    p, q = np.repeat([[1.0], [0.0]], [30, 10], 0), np.repeat([[1.0], [0.0]], [10, 30], 0)
    assert epsilons(p, q, delta=0)[0] == pytest.approx(np.log(3))


def test_points_fall_by_half_with_each_half_of_epsilon():
    models, oracles = drawn(30, 30, 40, shift=0.7, seed=1)
    points = [
        0.5 ** int(e / 0.5) if int(e / 0.5) < 2 * np.ceil(np.log(29)) else 0
        for e in epsilons(models, oracles)
    ]
    assert forgetting_score(models, oracles) == pytest.approx(np.mean(points))
    assert forgetting_score(models + 100, oracles) == 0


def test_parts_of_the_examples_change_nothing(monkeypatch):
    models, oracles = drawn(12, 12, 9, shift=0.5)
    whole = epsilons(models, oracles)
    monkeypatch.setattr("mcu_lite.metrics.populations.CELLS", 700)
    assert (epsilons(models, oracles) == whole).all()


@pytest.mark.parametrize("name", AUDITS)
def test_every_audit_lies_between_its_floor_and_its_ceiling(name):
    own, sign = AUDITS[name], 1 if AUDITS[name].better == "lower" else -1
    floor, near, far = (sign * own.function(*drawn(32, 32, 50, shift)) for shift in (0, 0.7, 4))
    assert floor < near < far


def test_models_that_diverged_are_left_out():
    models, oracles = drawn(8, 9, 4)
    lost = np.vstack([models, np.full(4, np.nan)])
    for own in AUDITS.values():
        assert own.function(lost, oracles) == own.function(models, oracles)


def test_what_is_wrong_is_named():
    models, oracles = drawn(8, 8, 4)
    for wrong, message in (
        ((models[0], oracles), "models must be margins"),
        ((models, oracles[:1]), "oracles must hold at least 2"),
        ((models, oracles[:, 1:]), "the same examples"),
    ):
        with pytest.raises(ValueError, match=message):
            klom(*wrong)
    with pytest.raises(ValueError, match="at least 4"):
        ulira_auc(models[:3], oracles)
    with pytest.raises(ValueError, match="bins"):
        klom(models, oracles, bins=0)
    with pytest.raises(ValueError, match="least must lie"):
        klom(models, oracles, least=0.0)
    with pytest.raises(ValueError, match="alarms"):
        ulira_tpr(models, oracles, alarms=1.0)
    with pytest.raises(ValueError, match="unknown direction"):
        audit("x", "x", "oracle")


def test_texts_are_refused():
    task = mcu.load_task("authors", seeds=1)
    theta = mcu.train(task, "transformer", epochs=0)
    with pytest.raises(ValueError, match="of texts"), torch.no_grad():
        margins(split_outputs(theta.architecture, theta.rows, task, 0))
