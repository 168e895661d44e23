"""What tells a population of models from retrained ones: per-example attacks on many runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp, rel_entr
from scipy.stats import mannwhitneyu

from mcu_lite.checks import check_choice
from mcu_lite.metrics.registry import Outputs
from mcu_lite.tasks.task import check_share

Measure = Callable[[np.ndarray, np.ndarray], float]
CELLS = 1_000_000
"""Pairs of thresholds that are tried at once, in all examples together."""
SLACK, BUCKET = 2.0, 0.5
"""Of the competition: how far two thresholds may lie off, and the width of a step of points."""


@dataclass(frozen=True)
class Audit:
    """A measure of two populations as `audit` registers it; `better` is "lower" or "higher"."""

    name: str
    label: str
    function: Measure
    better: str


AUDITS: dict[str, Audit] = {}


def audit(name: str, label: str, better: str) -> Callable[[Measure], Measure]:
    """Register a function of two populations' margins on one split, (M, n) and (K, n).

    The first population is judged, the second one retrained. `better` is "lower" or "higher".

    Examples
    --------
    >>> @audit("shift", "mean difference of margins", "lower")
    ... def shift(models, oracles):
    ...     return abs(models.mean() - oracles.mean())
    >>> AUDITS.pop("shift").label
    'mean difference of margins'
    """
    check_choice("direction", better, ("lower", "higher"))

    def register(function: Measure) -> Measure:
        AUDITS[name] = Audit(name, label, function, better)
        return function

    return register


def margins(outputs: Outputs, split: str = "forget") -> np.ndarray:
    """Log of the odds that a model gives to each label, log p - log(1 - p) in nats, shape (M, n).

    The logit-scaled confidence of Carlini et al. (2022), roughly normal over runs of one training,
    which all measures of this file read.

    Raises
    ------
    ValueError
        For an unknown split, or outputs of texts, which have several labels an example.
    """
    log_p = outputs.log_p[check_choice("split", split, outputs.logits)]
    if outputs.starts is not None:
        raise ValueError("outputs must have one label an example, these are of texts")
    at = outputs.labels[split][None, :, None]
    own = np.take_along_axis(log_p, at, -1)[..., 0].astype(float)
    others = np.where(np.arange(log_p.shape[-1]) == at, -np.inf, log_p)
    return own - logsumexp(others, axis=-1)


def klom(
    models: np.ndarray,
    oracles: np.ndarray,
    bins: int = 20,
    clip: float = 100.0,
    least: float = 1e-5,
) -> np.ndarray:
    """KL divergence of margins (KLoM) of Georgiev et al. (2024): KL(models ‖ oracles), by example.

    Of each example a histogram of either population, on equal bins from the least margin of both
    to the largest; an empty bin of the oracles counts as the share `least`. It is biased: two
    draws from one distribution do not give 0, see `floor_by_number`. The public code of its
    authors leaves the largest margin out of its last bin; here it is in.

    Parameters
    ----------
    models, oracles : array, shapes (M, n) and (K, n)
        Of `margins`. Models with a margin that is not finite are left out.
    bins : int
    clip : float
        Margins beyond it count as it, in nats.
    least : float in (0, 1)

    Returns
    -------
    array, shape (n,)
        In nats, at most about ``-log(least)``. Published are its mean and its 95th and 99th
        percentiles over the examples of a split.

    Raises
    ------
    ValueError
        For arrays of other shapes, fewer than two finite models, or a number out of its range.
    """
    p, q = _both(models, oracles)
    if bins < 1 or not clip > 0:
        raise ValueError(f"bins must be >= 1 and clip > 0, got {bins} and {clip}")
    check_share("least", least)
    p, q = (np.clip(x, -clip, clip) for x in (p, q))
    low, high = np.minimum(p.min(0), q.min(0)), np.maximum(p.max(0), q.max(0))
    width = np.where(high > low, high - low, 1.0)

    def shares(x: np.ndarray) -> np.ndarray:
        place = ((x - low) / width * bins).astype(int).clip(max=bins - 1)
        place += bins * np.arange(x.shape[1])
        return np.bincount(place.ravel(), minlength=bins * x.shape[1]).reshape(-1, bins) / len(x)

    p, q = shares(p), shares(q)
    q = np.where(p > 0, np.maximum(q, least), q)
    return rel_entr(p, q / q.sum(1, keepdims=True)).sum(1)


@audit("klom", "KLoM, 95th percentile over examples (nats)", "lower")
def klom_95(models: np.ndarray, oracles: np.ndarray) -> float:
    """The 95th percentile of `klom` over examples, as published."""
    return float(np.percentile(klom(models, oracles), 95))


def lira_scores(models: np.ndarray, oracles: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Log-likelihood ratios of U-LiRA (Hayes et al., 2024), by model and example.

    To each example two normal distributions are fitted, one to the margins of unlearned shadow
    models and one to those of retrained shadow models. A target is the more likely to have
    unlearned the example, the larger the ratio of the two densities at its own margin. One half of
    each population are the shadows and the other the targets, and then the other way about.

    In the paper every shadow model forgets another set; here all share one split, so that the
    attacker knows what was retained.

    Parameters
    ----------
    models, oracles : array, shapes (M, n) and (K, n)
        Of `margins`, at least four of each.

    Returns
    -------
    list of two pairs of arrays
        For each choice of targets the ratios of those that unlearned and of those that were
        retrained, shapes (M/2, n) and (K/2, n).
    """
    populations = _both(models, oracles, 4)
    found = []
    for first in (0, 1):
        fits = [(x[first::2].mean(0), x[first::2].std(0, ddof=1)) for x in populations]
        fits = [(mean, np.maximum(sd, 1e-6)) for mean, sd in fits]
        found.append(tuple(_log_ratio(x[1 - first :: 2], *fits) for x in populations))
    return found


def _log_ratio(x: np.ndarray, unlearned: tuple, retrained: tuple) -> np.ndarray:
    """Log of the ratio of two normal densities, each (mean, deviation), at x."""
    one, other = (-(((x - mean) / sd) ** 2) / 2 - np.log(sd) for mean, sd in (unlearned, retrained))
    return one - other


@audit("ulira_auc", "U-LiRA (AUC)", "lower")
def ulira_auc(models: np.ndarray, oracles: np.ndarray) -> float:
    """AUC of U-LiRA over all targets and examples; 0.5 if no model gives itself away."""
    areas = [
        mannwhitneyu(u.ravel(), r.ravel()).statistic / (u.size * r.size)
        for u, r in lira_scores(models, oracles)
    ]
    return float(np.mean(areas))


@audit("ulira_tpr", "U-LiRA (share caught at 1 % false alarms)", "lower")
def ulira_tpr(models: np.ndarray, oracles: np.ndarray, alarms: float = 0.01) -> float:
    """Share of true positives of U-LiRA where at most the share `alarms` is false."""
    check_share("alarms", alarms)
    caught = []
    for unlearned, retrained in lira_scores(models, oracles):
        falling = np.sort(retrained, axis=None)[::-1]
        caught.append((unlearned > falling[int(alarms * falling.size)]).mean())
    return float(np.mean(caught))


def epsilons(
    models: np.ndarray, oracles: np.ndarray, delta: float = 1e-5, cap: float = 50.0
) -> np.ndarray:
    """ε of each example, as in the NeurIPS 2023 competition (Triantafillou et al., 2024).

    An attacker tells unlearned models from retrained ones by the margin of one example, in one of
    two ways: above a threshold lies the population with the larger median, or between two
    thresholds the one with the smaller range. The errors of the best thresholds bound ε from below,
    max(log((1 - δ - α) / β), log((1 - δ - β) / α)), with the shares α of false alarms and β of
    misses. Thresholds with one error of zero are left out, for want of models; with none at all ε
    is `cap`, and so it is where one range is less than a hundredth of the other. The competition's
    code tries a grid of thresholds, the upper one within 2 of the largest margin and the lower one
    within 2 of what the range suggests; here it is all such thresholds, the limit of ever finer
    grids.

    Parameters
    ----------
    models, oracles : array, shapes (M, n) and (K, n)
        Of `margins`.
    delta, cap : float

    Returns
    -------
    array, shape (n,)
        In nats.
    """
    p, q = _both(models, oracles)
    step = max(1, CELLS // (len(p) + len(q) + 1) ** 2)
    parts = (slice(i, i + step) for i in range(0, p.shape[1], step))
    best = np.concatenate([_best_attack(p[:, part], q[:, part], delta) for part in parts])
    small, large = np.sort([np.ptp(p, 0), np.ptp(q, 0)], axis=0)
    return np.where(small < 0.01 * large, cap, best).clip(0, cap)


def _best_attack(p: np.ndarray, q: np.ndarray, delta: float) -> np.ndarray:
    """Largest ε over all thresholds, of populations (M, n) and (K, n)."""
    pooled, n = np.concatenate([p, q]).T, p.shape[1]
    order = pooled.argsort(1)
    pooled = np.take_along_axis(pooled, order, 1)
    # A threshold lies in one of the cells between the values; below it are these shares of each.
    end = np.full((n, 1), np.inf)
    low, high = np.hstack([-end, pooled]), np.hstack([pooled, end])
    below = np.zeros((2, n, order.shape[1] + 1))
    for own, mine in zip(below, (order < len(p), order >= len(p))):
        own[:, 1:] = mine.cumsum(1) / mine.sum(1, keepdims=True)
    cell = low < high
    larger = (np.median(q, 0) > np.median(p, 0))[:, None]
    positive, negative = np.where(larger, below[::-1], below)
    one = _bound(positive, 1 - negative, cell, delta)

    narrow = np.ptp(q, 0) < np.ptp(p, 0)
    top = np.where(narrow, q.max(0), p.max(0))[:, None]
    width = np.where(narrow, np.ptp(q, 0), np.ptp(p, 0))[:, None]
    inner, outer = np.where(narrow[:, None], below[::-1], below)
    # The upper threshold lies within SLACK of the top, the lower one within SLACK of a width below.
    first, last = np.maximum(low, top - SLACK), np.minimum(high, top + SLACK)
    tried = (cell & (first <= last))[:, None, :] & cell[:, :, None]
    tried &= low[:, :, None] < (last - width + SLACK)[:, None, :]
    tried &= high[:, :, None] >= (first - width - SLACK)[:, None, :]
    inside, beside = ((x[:, None, :] - x[:, :, None]).clip(min=0) for x in (inner, outer))
    two = _bound(1 - inside, beside, tried, delta)
    return np.maximum(one, two)


def _bound(missed: np.ndarray, false: np.ndarray, tried: np.ndarray, delta: float) -> np.ndarray:
    """ε that the errors (n, ...) of the best attack allow at least; infinite if one has none."""
    over = tuple(range(1, missed.ndim))
    perfect = (tried & (missed == 0) & (false == 0)).any(over)
    usable = tried & (missed > 0) & (false > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        odds = np.maximum((1 - delta - false) / missed, (1 - delta - missed) / false)
    best = np.where(usable, odds, 1.0).max(over)
    return np.where(perfect, np.inf, np.log(best.clip(min=1.0)))


@audit("score", "forgetting score of the NeurIPS 2023 competition", "higher")
def forgetting_score(models: np.ndarray, oracles: np.ndarray) -> float:
    """Mean points over examples: 1 for ε below 0.5, and half as much for each 0.5 more.

    No points beyond ⌈log(M - 1)⌉, the largest ε that M models could show. The competition
    multiplies it by the accuracies on retain and test set, relative to those of retrained models.
    """
    buckets = int(np.ceil(np.log(len(_both(models, oracles)[0]) - 1)) / BUCKET)
    place = epsilons(models, oracles) // BUCKET
    return float(np.where(place < buckets, 0.5**place, 0.0).mean())


def _both(models: np.ndarray, oracles: np.ndarray, least: int = 2) -> list[np.ndarray]:
    """Both populations without models that diverged, or a `ValueError` that names the wrong one."""
    found = []
    for name, x in (("models", models), ("oracles", oracles)):
        x = np.asarray(x, dtype=float)
        if x.ndim != 2:
            raise ValueError(f"{name} must be margins of shape (models, examples), got {x.shape}")
        x = x[np.isfinite(x).all(1)]
        if len(x) < least:
            raise ValueError(f"{name} must hold at least {least} finite models, got {len(x)}")
        found.append(x)
    if found[0].shape[1] != found[1].shape[1] or not found[0].shape[1]:
        shapes = [x.shape for x in found]
        raise ValueError(f"models and oracles must hold the same examples, got shapes {shapes}")
    return found
