"""What is read off a model: the registry of metrics, and `evaluate`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cached_property

import numpy as np
from scipy.stats import rankdata
from torch import Tensor

from mcu_lite.stacks import Architecture
from mcu_lite.tasks import SPLITS, Task, known


@dataclass(frozen=True, eq=False)
class Source:
    """The models behind `Outputs` and their task, for metrics that ask something else of them.

    Parameters
    ----------
    architecture : Architecture
    rows : Tensor, shape (M, P)
    task : Task
    b : int
        Which of its splits.
    """

    architecture: Architecture
    rows: Tensor
    task: Task
    b: int


@dataclass(frozen=True)
class Outputs:
    """The logits of M models on one seed's split of a task, as NumPy arrays.

    Parameters
    ----------
    logits : dict of arrays, shape (M, k, classes)
        By split. Of texts the k tokens that have a label, one text after the other; else k = n.
    labels : dict of int arrays, shape (k,)
        By split; in addition "nonmember": observed labels of the test images.
    oracle, incompetent : Outputs, optional
        Of one retrained model, and of a freshly initialised one.
    starts : dict of int arrays, shape (n,), optional
        Where each text begins among the k tokens.
    source : Source, optional
    """

    logits: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    oracle: Outputs | None = None
    incompetent: Outputs | None = None
    starts: dict[str, np.ndarray] | None = None
    source: Source | None = None
    found: dict = field(init=False, default_factory=dict, repr=False, compare=False)

    @cached_property
    def log_p(self) -> dict[str, np.ndarray]:
        """Log-probabilities by split, shape (M, k, classes)."""
        return {split: log_probabilities(logits) for split, logits in self.logits.items()}

    def loss(self, split: str, labels: str | None = None) -> np.ndarray:
        """Cross-entropy of each example in nats, shape (M, n)."""
        wanted = self.labels[labels or split]
        lost = -np.take_along_axis(self.log_p[split], wanted[None, :, None], -1)[..., 0]
        return self.by_example(lost, split)

    def by_example(self, values: np.ndarray, split: str) -> np.ndarray:
        """Mean over the tokens of each text, shape (..., k) to (..., n)."""
        if self.starts is None:
            return values
        starts = self.starts[split]
        return np.add.reduceat(values, starts, -1) / np.diff(starts, append=values.shape[-1])

    def once(self, function: Reading, split: str) -> np.ndarray:
        """``function(self, split)``, computed when the first of several metrics asks for it."""
        if (function, split) not in self.found:
            self.found[function, split] = function(self, split)
        return self.found[function, split]


@dataclass(frozen=True)
class Metric:
    """A registered metric: how it is computed, on which splits, and how it is read.

    Parameters
    ----------
    name, label : str
    function : function of (Outputs, split) to an array of shape (M,)
    splits : tuple of str
    better : {"higher", "lower", "oracle"}
        On the retain set; "oracle" means that the retrained model is the goal.
    needs_oracle, needs_texts : bool
        Whether it applies only where there is a retrained model, or only to tasks with texts.
    needs_incompetent : bool
        Whether it looks at freshly initialised models, which are drawn for such metrics only.
    slow : bool
        Left out unless it is asked for.
    """

    name: str
    label: str
    function: Callable[[Outputs, str], np.ndarray]
    splits: tuple[str, ...]
    better: str
    needs_oracle: bool = False
    needs_texts: bool = False
    needs_incompetent: bool = False
    slow: bool = False


METRICS: dict[str, Metric] = {}
BETTER = ("higher", "lower", "oracle")
OPTIONS = [f.name for f in fields(Metric) if f.default is False]
Reading = Callable[[Outputs, str], np.ndarray]


def metric(
    name: str, label: str, better: str, splits: tuple[str, ...] = SPLITS, **more: bool
) -> Callable[[Reading], Reading]:
    """Register a function of (outputs, split) as a metric.

    The function gets the `Outputs` of M models on one seed and the name of a split, and
    returns one number a model, shape (M,).

    Parameters
    ----------
    name, label : str
        In tables and on axes.
    better : {"higher", "lower", "oracle"}
        On the retain set; "oracle" means that the retrained model is the goal.
    splits : tuple of str
        On which it is measured.
    **more
        ``needs_oracle``, ``needs_texts``, ``needs_incompetent`` and ``slow``, see `Metric`.

    Raises
    ------
    ValueError
        For an unknown direction, split or option.

    Examples
    --------
    >>> @metric("confidence", "mean confidence", "oracle", ("forget",))
    ... def confidence(outputs, split):
    ...     return np.exp(outputs.log_p[split].max(-1)).mean(-1)
    >>> evaluate(theta, task, metrics=["confidence"]).value.between(0.1, 1).tolist()
    [True, True]
    >>> METRICS.pop("confidence").splits
    ('forget',)
    """
    known("direction", better, BETTER)
    for split in splits:
        known("split", split, SPLITS)
    for option in more:
        known("option", option, OPTIONS)

    def register(function: Reading) -> Reading:
        METRICS[name] = Metric(name, label, function, splits, better, **more)
        return function

    return register


@metric("loss", "loss (nats)", "lower")
def loss(outputs: Outputs, split: str) -> np.ndarray:
    """Mean cross-entropy."""
    return outputs.loss(split).mean(-1)


@metric("accuracy", "accuracy", "higher")
def accuracy(outputs: Outputs, split: str) -> np.ndarray:
    """Share of examples (of texts: tokens) whose label is the most probable one."""
    right = outputs.logits[split].argmax(-1) == outputs.labels[split]
    return outputs.by_example(right.astype(float), split).mean(-1)


@metric("mia_auc", "membership inference (AUC)", "oracle", ("forget",))
def mia_auc(outputs: Outputs, split: str) -> np.ndarray:
    """AUC of telling forget from test images by their loss (Yeom et al., 2018).

    0.5 means indistinguishable, as a random forget set is to the retrained model. A whole class
    is not: that model never saw it, its loss there is the higher one, and the AUC close to 0.
    """
    members, others = outputs.loss("forget"), outputs.loss("test", "nonmember")
    n, m = members.shape[-1], others.shape[-1]
    ranks = rankdata(np.concatenate([-members, -others], -1), axis=-1)[:, :n]
    return (ranks.sum(-1) - n * (n + 1) / 2) / (n * m)


@metric("mia_fitted", "membership inference (fitted attack, AUC)", "oracle", ("forget",), slow=True)
def mia_fitted(outputs: Outputs, split: str) -> np.ndarray:
    """AUC of an attack fitted on retain against test images (Shokri et al., 2017).

    A logistic regression on loss, entropy and margin learns from the retain images and one
    half of the test images; it is judged on the forget images and the other half.
    """
    half = len(outputs.loss("test")[0]) // 2
    known_in, asked = _features(outputs, "retain"), _features(outputs, "forget")
    outside = _features(outputs, "test", "nonmember")
    return np.array(
        [_attack(*part) for part in zip(known_in, outside[:, :half], asked, outside[:, half:])]
    )


def _features(outputs: Outputs, split: str, labels: str | None = None) -> np.ndarray:
    p = np.sort(np.exp(outputs.log_p[split]), -1)
    entropy = -(p * np.log(np.maximum(p, 1e-12))).sum(-1)
    spread = [outputs.by_example(own, split) for own in (entropy, p[..., -1] - p[..., -2])]
    return np.stack([outputs.loss(split, labels), *spread], -1)


def _attack(inside: np.ndarray, outside: np.ndarray, asked: np.ndarray, rest: np.ndarray) -> float:
    # Imported here, where few come by: it takes longer than the rest of the module together.
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    x, judged = np.concatenate([inside, outside]), np.concatenate([asked, rest])
    centre, scale = x.mean(0), x.std(0) + 1e-12
    member = np.arange(len(x)) < len(inside)
    attack = LogisticRegression(class_weight="balanced").fit((x - centre) / scale, member)
    return roc_auc_score(
        np.arange(len(judged)) < len(asked), attack.decision_function((judged - centre) / scale)
    )


@metric("zrf", "zero-retrain forgetting", "oracle", ("forget",), needs_incompetent=True)
def zrf(outputs: Outputs, split: str) -> np.ndarray:
    """1 - mean JS to an incompetent model, in bits (Chundawat et al., 2023)."""
    apart = js(outputs.log_p[split], outputs.incompetent.log_p[split])
    return 1 - outputs.by_example(apart, split).mean(-1) / np.log(2)


@metric("kl_to_oracle", "KL from the oracle (nats)", "lower", needs_oracle=True)
def kl_to_oracle(outputs: Outputs, split: str) -> np.ndarray:
    """Mean KL(oracle ‖ model)."""
    apart = kl(outputs.oracle.log_p[split], outputs.log_p[split])
    return outputs.by_example(apart, split).mean(-1)


@metric("js_to_oracle", "JS to the oracle (nats)", "lower", needs_oracle=True)
def js_to_oracle(outputs: Outputs, split: str) -> np.ndarray:
    """Mean Jensen-Shannon divergence to the oracle, at most log 2."""
    apart = js(outputs.oracle.log_p[split], outputs.log_p[split])
    return outputs.by_example(apart, split).mean(-1)


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    """Log-softmax over the last axis.

    In memory the classes come first, so that sums over few classes run along many examples.
    """
    own = np.ascontiguousarray(np.moveaxis(logits, -1, 0))
    own = own - own.max(0)
    own -= np.log(np.exp(own).sum(0))
    return np.moveaxis(own, 0, -1)


def kl(log_p: np.ndarray, log_q: np.ndarray) -> np.ndarray:
    """KL(p ‖ q) in nats of distributions given by log-probabilities, shape (..., classes)."""
    return (np.exp(log_p) * (log_p - log_q)).sum(-1)


def js(log_p: np.ndarray, log_q: np.ndarray) -> np.ndarray:
    """Jensen-Shannon divergence in nats of distributions given by log-probabilities.

    As the entropy of the mean minus the mean of the entropies.
    """
    p, q = np.exp(log_p), np.exp(log_q)
    middle = 0.5 * (p + q)
    mixed = -(middle * np.log(np.maximum(middle, np.finfo(middle.dtype).tiny))).sum(-1)
    return mixed + 0.5 * ((p * log_p).sum(-1) + (q * log_q).sum(-1))
