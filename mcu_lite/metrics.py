"""What is read off a model: the registry of metrics, and `evaluate`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import pandas as pd
import torch
from scipy.stats import rankdata
from torch import Tensor

from mcu_lite.curves import Path
from mcu_lite.stacks import Architecture, Stack, initial_rows
from mcu_lite.tasks import SPLITS, Task, known
from mcu_lite.texts import IGNORED
from mcu_lite.unlearning import INCOMPETENT_SEED


@dataclass(frozen=True, eq=False)
class Source:
    """The models behind `Outputs` and their task, for metrics that ask something else of them.

    Parameters
    ----------
    architecture : Architecture
    rows : dict of Tensor
        "models", shape (M, P), and where they are known "oracle" and "incompetent", (1, P).
    task : Task
    b : int
        Which of its splits.
    """

    architecture: Architecture
    rows: dict[str, Tensor]
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
    oracle, incompetent : dict of arrays, shape (k, classes), optional
        Logits of the retrained model, and of a freshly initialised one.
    starts : dict of int arrays, shape (n,), optional
        Where each text begins among the k tokens.
    source : Source, optional
    """

    logits: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    oracle: dict[str, np.ndarray] | None = None
    incompetent: dict[str, np.ndarray] | None = None
    starts: dict[str, np.ndarray] | None = None
    source: Source | None = None

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
OPTIONS = ("needs_oracle", "needs_texts", "needs_incompetent", "slow")
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

    0.5 means indistinguishable, which is what the retrained model is by construction.
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
    untrained = log_probabilities(outputs.incompetent[split])
    return 1 - outputs.by_example(js(outputs.log_p[split], untrained), split).mean(-1) / np.log(2)


@metric("kl_to_oracle", "KL from the oracle (nats)", "lower", needs_oracle=True)
def kl_to_oracle(outputs: Outputs, split: str) -> np.ndarray:
    """Mean KL(oracle ‖ model)."""
    apart = kl(log_probabilities(outputs.oracle[split]), outputs.log_p[split])
    return outputs.by_example(apart, split).mean(-1)


@metric("js_to_oracle", "JS to the oracle (nats)", "lower", needs_oracle=True)
def js_to_oracle(outputs: Outputs, split: str) -> np.ndarray:
    """Mean Jensen-Shannon divergence to the oracle, at most log 2."""
    apart = js(log_probabilities(outputs.oracle[split]), outputs.log_p[split])
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


def evaluate(
    models: Path | Stack,
    task: Task,
    ts: int | Sequence[float] = 41,
    *,
    metrics: Iterable[str] | None = None,
    oracle: Stack | None = None,
) -> pd.DataFrame:
    """Measure a curve at T values of t, or a stack of models, on every split.

    Parameters
    ----------
    models : Path or Stack
    task : Task
    ts : int or sequence of float in [0, 1]
        Evenly spaced points, or the points themselves. A stack has no t: its rows carry NaN.
    metrics : iterable of str, optional
        Names in ``METRICS``. By default all that are quick and can be computed.
    oracle : Stack, optional
        Retrained models, for the distances to the oracle.

    Returns
    -------
    pandas.DataFrame
        Tidy: t, seed, split, metric, value. NaN for seeds that diverged.

    Examples
    --------
    >>> table = evaluate(path, task, ts=3, metrics=["loss"])
    >>> table.t.unique().tolist()
    [0.0, 0.5, 1.0]
    >>> evaluate(theta, task, metrics=["accuracy"]).split.unique().tolist()
    ['retain', 'forget', 'test']
    """
    chosen = _choose(metrics, task, oracle)
    if isinstance(models, Path):
        ts = np.linspace(0, 1, ts) if isinstance(ts, int) else np.asarray(ts, dtype=float)
        rows = models.rows(ts)
    else:
        ts, rows = np.array([np.nan]), models.rows.unsqueeze(0)
    if rows.shape[1] != len(task):
        raise ValueError(f"models has {rows.shape[1]} rows but task has {len(task)} splits")
    architecture = models.architecture.evaluating()
    side = {} if oracle is None else {"oracle": oracle.rows}
    if any(m.needs_incompetent for m in chosen):
        side["incompetent"] = _incompetent(models.architecture, task.seeds).to(rows)
    cells = [(m, split) for m in chosen for split in m.splits]
    values = np.full((len(task), len(cells), len(ts)), np.nan)
    for b in np.flatnonzero(~models.diverged.cpu().numpy()):
        own = {"models": rows[:, b]} | {k: r[b : b + 1] for k, r in side.items()}
        outputs = _outputs(Source(architecture, own, task, b))
        values[b] = [_read(m, outputs, split) for m, split in cells]
    names = {"split": [split for _, split in cells], "metric": [m.name for m, _ in cells]}
    return pd.DataFrame(
        {
            "t": np.tile(ts, len(task) * len(cells)),
            "seed": np.repeat(task.seeds, len(cells) * len(ts)),
            **{k: np.tile(np.repeat(v, len(ts)), len(task)) for k, v in names.items()},
            "value": values.ravel(),
        }
    )


@lru_cache(maxsize=1)
def _incompetent(architecture: Architecture, seeds: tuple[int, ...]) -> Tensor:
    """Freshly initialised rows (B, P); the curves of a stack, measured in turn, share them."""
    return initial_rows(architecture.fresh, INCOMPETENT_SEED, seeds)


def _read(m: Metric, outputs: Outputs, split: str) -> np.ndarray:
    """One number for each model, or a `ValueError` that names the metric."""
    values, wanted = np.asarray(m.function(outputs, split)), outputs.logits[split].shape[:1]
    if values.shape != wanted:
        raise ValueError(
            f"metric {m.name!r} must return one number a model, shape {wanted}, got {values.shape}"
        )
    return values


def _choose(metrics: Iterable[str] | None, task: Task, oracle: Stack | None) -> list[Metric]:
    if metrics is None:
        quick = [m for m in METRICS.values() if not m.slow and (task.texts or not m.needs_texts)]
        return [m for m in quick if oracle or not m.needs_oracle]
    chosen = [METRICS[known("metric", name, METRICS)] for name in metrics]
    for m in chosen:
        if m.needs_texts and task.texts is None:
            raise ValueError(f"metric {m.name!r} is one of texts, but task is {task.name!r}")
        if m.needs_oracle and oracle is None:
            raise ValueError(f"metric {m.name!r} needs oracle=, a stack of retrained models")
    return chosen


def _outputs(source: Source) -> Outputs:
    """Logits of all models on every split, in one pass, as views of one array."""
    task, b = source.task, source.b
    index = torch.cat([getattr(task, s)[b] for s in SPLITS])
    observed, truth = task.labels[b, index], task.truth[index]
    given, starts = observed != IGNORED, None
    ends = np.cumsum([getattr(task, s).shape[1] for s in SPLITS])
    if observed.ndim > 1:
        lengths = given.sum(1).cpu().numpy()
        first = np.concatenate([[0], np.cumsum(lengths)])
        starts = {s: part - part[0] for s, part in _parts(first[:-1], ends).items()}
        ends = first[ends]
    labels = _parts(observed[given].cpu().numpy(), ends)
    labels |= {"nonmember": labels["test"], "test": truth[given].cpu().numpy()[ends[1] :]}
    logits = {
        who: _parts(_labelled(source, rows, index, given).cpu().numpy(), ends)
        for who, rows in source.rows.items()
    }
    side = {
        who: {s: v[0] for s, v in own.items()} for who, own in logits.items() if who != "models"
    }
    return Outputs(logits["models"], labels, **side, starts=starts, source=source)


@torch.no_grad()
def _labelled(source: Source, rows: Tensor, index: Tensor, given: Tensor) -> Tensor:
    """Logits of M models at the examples, or tokens of them, that have a label, (M, k, classes)."""
    task, architecture = source.task, source.architecture
    inputs, retain = task.inputs[index], task.inputs[task.retain[source.b]]
    # Batch norm sees retain examples alone: nothing about the forget set may enter.
    own = architecture.statistics(rows, retain, shared=True)
    if given.ndim == 1:
        return architecture.logits(rows, inputs, shared=True, statistics=own)
    # Of a text most tokens have no label: model by model, so that those are dropped at once.
    each = (architecture.logits(row[None], inputs, shared=True)[0, given] for row in rows)
    return torch.stack(list(each))


def _parts(values: np.ndarray, ends: np.ndarray) -> dict[str, np.ndarray]:
    """Cut an array along its examples (axis 0, or 1 of many models) into the splits."""
    axis = 1 if values.ndim == 3 else 0
    return dict(zip(SPLITS, np.split(values, ends[:-1], axis)))
