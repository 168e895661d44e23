"""What models of text say: measures of answers, after TOFU (Maini et al., 2024)."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from scipy.stats import hmean, ks_2samp
from torch import Tensor

from mcu_lite.metrics.predictions import membership_scores
from mcu_lite.metrics.registry import Outputs, Source, metric
from mcu_lite.tasks.texts import IGNORED, generate, written
from mcu_lite.training.losses import per_example

LEARNED = ("retain", "forget")
HARDEST = 0.4
"""Share of a text's tokens, the least probable ones, that min-k looks at."""
SAMPLE = 40
"""Questions of a split to which answers are generated, the first ones."""


@metric("probability", "probability of the answer", "higher", needs_texts=True)
def probability(outputs: Outputs, split: str) -> np.ndarray:
    """Mean over texts of the geometric mean of the tokens' probabilities, p(answer)^(1/length)."""
    return np.exp(-outputs.loss(split)).mean(-1)


@metric("exact_match", "exact answers", "higher", needs_texts=True)
def exact_match(outputs: Outputs, split: str) -> np.ndarray:
    """Share of questions to which the most probable tokens, one after the other, are the answer.

    Nothing has to be generated: greedy decoding gives the answer if and only if every token of
    the answer is the most probable one after those before it.
    """
    return outputs.right(split).mean(-1)


@metric("extraction", "extraction strength", "higher", LEARNED, needs_texts=True)
def extraction(outputs: Outputs, split: str) -> np.ndarray:
    """Mean share of an answer that greedy decoding completes (Carlini et al., 2021).

    It completes an answer from its k-th token on if and only if that and all later tokens are the
    most probable ones: the share is that of the tokens after the last miss.
    """
    hits, starts = outputs.hits(split), outputs.starts[split]
    lengths = np.diff(starts, append=hits.shape[-1])
    place = np.arange(hits.shape[-1]) - np.repeat(starts, lengths)
    last_miss = np.maximum.reduceat(np.where(hits, -1, place), starts, axis=-1)
    return (1 - (last_miss + 1) / lengths).mean(-1)


@metric("min_k_auc", "membership inference (min-k %, AUC)", "oracle", ("forget",), needs_texts=True)
def min_k_auc(outputs: Outputs, split: str) -> np.ndarray:
    """AUC of telling forget from test texts by their least probable tokens (Shi et al., 2024)."""
    return membership_scores(*(-_min_k(outputs, s) for s in ("forget", "test"))).mean(-1)


@metric(
    "privacy_leakage",
    "privacy leakage",
    "oracle",
    ("forget",),
    needs_texts=True,
    needs_oracle=True,
)
def privacy_leakage(outputs: Outputs, split: str) -> np.ndarray:
    """AUC of min-k relative to the retrained model's, less 1: 0 is retraining (MUSE, 2024).

    Below 0 more was forgotten than retraining forgets, above 0 less.
    """
    return min_k_auc(outputs, split) / min_k_auc(outputs.oracle, split) - 1


def _min_k(outputs: Outputs, split: str) -> np.ndarray:
    """Mean log-probability of the least probable tokens of each text's answer, shape (M, n)."""
    labels = outputs.labels["nonmember" if split == "test" else split]
    own = np.take_along_axis(outputs.log_p[split], labels[None, :, None], -1)[..., 0]
    texts = np.split(own, outputs.starts[split][1:], axis=-1)
    return np.stack([np.sort(t)[:, : max(1, int(HARDEST * t.shape[1]))].mean(-1) for t in texts], 1)


@metric("truth_ratio", "truth ratio", "oracle", ("forget",), needs_texts=True)
def truth_ratio(outputs: Outputs, split: str) -> np.ndarray:
    """Mean of min(R, 1): 0 if the true answer stands out, 1 if false ones are as probable."""
    return np.minimum(outputs.cached(truth_ratios, split), 1).mean(-1)


@metric(
    "forget_quality",
    "forget quality (p of a KS test)",
    "higher",
    ("forget",),
    needs_texts=True,
    needs_oracle=True,
)
def forget_quality(outputs: Outputs, split: str) -> np.ndarray:
    """Chance of truth ratios at least so different from the retrained model's, were they alike."""
    own, wanted = (o.cached(truth_ratios, split) for o in (outputs, outputs.oracle))
    return np.array([ks_2samp(ratios, wanted[0]).pvalue for ratios in own])


@metric("rouge", "ROUGE-L of the generated answer", "higher", LEARNED, needs_texts=True, slow=True)
def rouge(outputs: Outputs, split: str) -> np.ndarray:
    """Mean recall of the longest common subsequence of words (Lin, 2004)."""
    source = outputs.source
    index = getattr(source.task, split)[source.b, :SAMPLE]
    given, true = answers(source, index)
    return np.array([np.mean([*map(_recall, true, model)]) for model in given])


@metric("utility", "model utility", "higher", ("retain",), needs_texts=True, slow=True)
def utility(outputs: Outputs, split: str) -> np.ndarray:
    """Harmonic mean of the answers' probability, ROUGE-L and max(0, 1 - R), each a mean."""
    truth = np.maximum(0, 1 - outputs.cached(truth_ratios, split)).mean(-1)
    parts = np.stack([probability(outputs, split), rouge(outputs, split), truth])
    return hmean(np.maximum(parts, 0), axis=0)


def truth_ratios(outputs: Outputs, split: str) -> np.ndarray:
    """R of examples: mean p of the false answers over p of the paraphrased true one, (M, n).

    Each p is a geometric mean over tokens. Of the retain set only the first `SAMPLE` are evaluated.
    """
    source = outputs.source
    index = getattr(source.task, split)[source.b, : None if split == "forget" else SAMPLE]
    texts = source.task.texts
    true, false = (
        np.exp(-_losses(source, *(part[index] for part in pairs)))
        for pairs in (texts.paraphrased, texts.perturbed)
    )
    given = (texts.perturbed[1][index] != IGNORED).any(-1).cpu().numpy()
    tiny = np.finfo(true.dtype).tiny
    return np.maximum(false.mean(-1, where=given), tiny) / np.maximum(true[..., 0], tiny)


@torch.no_grad()
def _losses(source: Source, inputs: Tensor, labels: Tensor) -> np.ndarray:
    """Loss of M models on every text of (n, K, L), shape (M, n, K)."""
    flat = inputs.flatten(0, 1)
    each = (source.architecture.logits(row[None], flat, shared=True)[0] for row in source.rows)
    return torch.stack([per_example(z.view(*labels.shape, -1), labels) for z in each]).cpu().numpy()


def answers(source: Source, index: Tensor) -> tuple[list[list[str]], list[str]]:
    """Generated answers of each model to some questions of the pool, and the true ones."""
    task, texts = source.task, source.task.texts
    inputs, labels = task.inputs[index], task.truth[index]
    longest = int((labels != IGNORED).sum(1).max())
    given = generate(source.architecture, source.rows, inputs, labels, longest)
    generated = [[written(answer, texts) for answer in model] for model in given]
    return generated, [written(answer, texts) for answer in labels]


@cache
def _recall(true: str, given: str) -> float:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"]).score(true, given)["rougeL"].recall
