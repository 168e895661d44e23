"""Questions with answers as tokens: what a model of text is trained on and asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mcu_lite.models.architecture import Architecture

IGNORED = -100
"""Label of a token that is not to be predicted, as PyTorch has it."""
ROWS_AT_ONCE = 32
Pairs = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Texts:
    """What can be asked of models of text beyond the labels of their task.

    `decode` makes a str of a list of tokens; `end` ends an answer. The others are inputs and
    labels, each (N, K, L): the same question with K=1 true answer in other words, and with K false
    answers in those words. Where a question has fewer, the labels of the others are -100.
    """

    decode: Callable[[list[int]], str]
    end: int
    paraphrased: Pairs
    perturbed: Pairs

    def to(self, device: str | torch.device) -> Texts:
        """Return the same texts on a device."""
        asked = {f: getattr(self, f) for f in ("paraphrased", "perturbed")}
        return replace(self, **{f: tuple(v.to(device) for v in own) for f, own in asked.items()})


def pairs(
    questions: Sequence[Sequence[int]], *sets: Sequence[Sequence[Sequence[int]]]
) -> list[Pairs]:
    """Inputs and labels of N questions with up to K answers to each, for each set of answers.

    Both are int64 of shape (N, K, L), with one L for all sets. The label of a token is the one that
    follows it, if that belongs to the answer; everywhere else, in the padding at the end, and where
    there are fewer than K answers, it is -100. An empty question or answer raises a `ValueError`.
    """
    every = [zip(questions, answers, strict=True) for answers in sets]
    length = max(len(q) + len(a) for both in every for q, own in both for a in own) - 1
    found = []
    for answers in sets:
        inputs = torch.zeros(len(questions), max(map(len, answers)), length, dtype=torch.long)
        labels = torch.full_like(inputs, IGNORED)
        for i, (question, own) in enumerate(zip(questions, answers)):
            for k, answer in enumerate(own):
                if not question or not answer:
                    raise ValueError(f"pair {i} has {len(question)} + {len(answer)} tokens")
                whole = torch.tensor([*question, *answer])
                inputs[i, k, : len(whole) - 1] = whole[:-1]
                labels[i, k, len(question) - 1 : len(whole) - 1] = whole[len(question) :]
        found.append((inputs, labels))
    return found


@torch.no_grad()
def generate(
    architecture: Architecture, rows: Tensor, inputs: Tensor, labels: Tensor, longest: int
) -> Tensor:
    """Answers (M, n, longest) of M models (M, P) to n questions, the most probable token each time.

    A prediction of the architecture must depend on what stands before it alone. Inputs and labels
    (n, L) are as of `pairs`; the answers in them are not shown to the models. What is returned is
    not cut at the end token, and -100 where L is reached.
    """
    first = (labels != IGNORED).int().argmax(1)
    parts = []
    for few in rows.split(ROWS_AT_ONCE):
        tokens = inputs.expand(len(few), -1, -1).clone()
        answer = inputs.new_full((len(few), len(inputs), longest), IGNORED)
        for step in range(longest):
            place = first + step
            inside = place < inputs.shape[1]
            here = place.clamp(max=inputs.shape[1] - 1).expand(len(few), -1).unsqueeze(-1)
            logits = architecture.logits(few, tokens)
            best = logits.take_along_dim(here.unsqueeze(-1), 2).squeeze(2).argmax(-1)
            answer[..., step] = best.where(inside, IGNORED)
            following = (here + 1).clamp(max=inputs.shape[1] - 1)
            write = (inside & (place + 1 < inputs.shape[1])).expand(len(few), -1).unsqueeze(-1)
            old = tokens.gather(2, following)
            tokens.scatter_(2, following, best.unsqueeze(-1).where(write, old))
        parts.append(answer)
    return torch.cat(parts)


def written(answer: Tensor, texts: Texts) -> str:
    """Return the words of a generated or true answer (L,), without what follows its end."""
    tokens = [t for t in answer.tolist() if t != IGNORED]
    stop = tokens.index(texts.end) if texts.end in tokens else len(tokens)
    return texts.decode(tokens[:stop])
