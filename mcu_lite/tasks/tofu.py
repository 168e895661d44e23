"""TOFU, the fictitious authors of the literature, in its published format."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from mcu_lite.checks import SPLITS, checked, fits, must_be, seeds_of
from mcu_lite.tasks.task import Task, check_range
from mcu_lite.tasks.texts import Pairs, Texts, pairs

FIELDS = {
    "question": str,
    "answer": str,
    "paraphrased_question": str | None,
    "paraphrased_answer": str | None,
    "perturbed_answer": list[str] | None,
}
PROMPT = "Question: {}\nAnswer:"


def read_pairs(source: str | os.PathLike, name: str | None = None) -> list[dict]:
    """Read question-answer pairs from a .json, .jsonl or .parquet file, or from the hub.

    On the hub, `source` is a data set, such as ``locuslab/TOFU``, and `name` one of its
    configurations, such as ``forget10_perturbed``. Each pair has question and answer; where the
    data have them, paraphrased_question, paraphrased_answer and perturbed_answer, a list of false
    answers. A source that does not exist, is empty or broken, or lacks a field, raises a
    `ValueError`, as does a field of another kind; the message names the field.
    """
    where = f"{source}, {name}" if name else str(source)
    try:
        records = _records(source, name)
    except Exception as error:  # of the library, of Arrow, of the network: one clear error
        raise ValueError(f"source={where!r} cannot be read: {error}") from error
    if not records:
        raise ValueError(f"source={where!r} holds no pairs")
    return _check_pairs(records, where)


def _check_pairs(records: Sequence[dict], where: str) -> Sequence[dict]:
    for i, record in enumerate(records):
        if not isinstance(record, dict):
            raise ValueError(f"pair {i} of {where!r} must have fields with names, got {record!r}")
        for field, hint in FIELDS.items():
            value = record.get(field)
            if not fits(value, hint) or (value is not None and not (value and all(value))):
                given = ", ".join(record)
                says = must_be(field, hint, value)
                raise ValueError(f"pair {i} of {where!r}, with the fields {given}: {says}")
    return records


def _records(source: str | os.PathLike, name: str | None) -> list[dict]:
    path = Path(source)
    if path.suffix == ".parquet":
        from pyarrow.parquet import read_table

        return read_table(path).to_pylist()
    if path.suffix not in (".json", ".jsonl"):
        if path.is_file() or path.suffix in (".csv", ".tsv", ".txt"):
            raise ValueError("a file must end in .json, .jsonl or .parquet")
        from datasets import load_dataset

        return load_dataset(str(source), name, split="train").to_list()
    text = path.read_text(encoding="utf-8-sig")
    if text.lstrip().startswith("["):
        return json.loads(text)
    # Not `splitlines`, which would also cut at rarer separators inside a text.
    return [json.loads(line) for line in text.split("\n") if line.strip()]


@checked
def tofu(
    tokenizer,
    forget: Sequence[dict],
    retain: Sequence[dict],
    test: Sequence[dict],
    seeds: int | Sequence[int] = 1,
    batch: tuple[int, int] = (2, 4),
    prompt: str | Callable[[str], str] = PROMPT,
) -> Task:
    """Build a task from three lists of pairs, as of `read_pairs`, which are the same for all seeds.

    The tokenizer, of ``transformers``, encodes, decodes and knows the token that ends a text. Where
    its texts begin with a token of their own, the questions do. A `prompt` is what the model reads
    before the answer: a text with ``{}`` where the question goes, or a function of the question,
    such as a chat template. A space precedes the answer, unless the prompt ends in white space.

    Pairs to be forgotten need paraphrased and perturbed answers, for the truth ratio. Where others
    have none, the answer itself stands for its paraphrase, and answers to the next questions are
    the false ones. Pairs may have different numbers of false answers. A step takes a `batch` of
    forget and retain pairs; from scratch, both together.

    Raises
    ------
    ValueError
        If a split is empty, a pair to be forgotten lacks a field that the truth ratio needs, the
        seeds are none, negative or twice the same, `batch` is not two positive numbers, `prompt`
        has no place for the question, or the tokenizer knows no token that ends a text.
    """
    seeds = seeds_of(seeds)
    check_range("batch", min(batch), 1)
    if getattr(tokenizer, "eos_token_id", None) is None:
        raise ValueError(f"tokenizer must know a token that ends a text, got {type(tokenizer)}")
    for name, given in zip(SPLITS, (retain, forget, test)):
        _check_pairs(given, name)
    for i, record in enumerate(forget):
        for field in ("paraphrased_answer", "perturbed_answer"):
            if not record.get(field):
                raise ValueError(f"pair {i} of forget lacks the field {field!r}")
    records = [*retain, *forget, *test]
    answers = [r["answer"] for r in records]
    wrong = min(max((len(r["perturbed_answer"]) for r in forget), default=0), len(records) - 1)
    false = [
        r.get("perturbed_answer") or [answers[(i + k) % len(answers)] for k in range(1, wrong + 1)]
        for i, r in enumerate(records)
    ]
    told = [[a] for a in answers]
    other = [[r.get("paraphrased_answer") or r["answer"]] for r in records]
    prompts = _prompts(prompt, [r["question"] for r in records])
    (inputs, labels), *others = _encoded(tokenizer, prompts, told, other, false)
    places = torch.arange(len(records)).split([len(own) for own in (retain, forget, test)])
    index = {s: own.expand(len(seeds), -1) for s, own in zip(SPLITS, places)}
    return Task(
        name="tofu",
        inputs=inputs[:, 0],
        truth=labels[:, 0],
        labels=labels[:, 0].expand(len(seeds), -1, -1),
        **index,
        classes=len(tokenizer),
        seeds=seeds,
        forgets=f"{len(forget)} of {len(forget) + len(retain)} pairs",
        texts=Texts(tokenizer.decode, tokenizer.eos_token_id, *others),
        recipes={"train": {"batch": sum(batch)}, "batch": dict(zip(("forget", "retain"), batch))},
    )


def _prompts(prompt: str | Callable[[str], str], questions: list[str]) -> list[str]:
    if isinstance(prompt, str) and "{}" not in prompt:
        raise ValueError(f"prompt must have {{}} where the question goes, got {prompt!r}")
    ask = partial(prompt.replace, "{}") if isinstance(prompt, str) else prompt
    prompts = [ask(question) for question in questions]
    if not all(isinstance(p, str) and p for p in prompts):
        raise ValueError(f"prompt must return a text for each question, got {prompts[0]!r}")
    return prompts


def _encoded(tokenizer, prompts: list[str], *sets: list[list[str]]) -> list[Pairs]:
    """Inputs and labels (N, K, L) of each set, which has up to K answers for each prompt."""
    bos, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    start = [bos] if bos is not None and tokenizer.encode(prompts[0])[:1] == [bos] else []
    encode = partial(tokenizer.encode, add_special_tokens=False)
    asked = [encode(prompt) for prompt in prompts]
    gaps = ["" if prompt[-1].isspace() else " " for prompt in prompts]
    answers = (
        [[[*encode(gap + answer), end] for answer in own] for gap, own in zip(gaps, part)]
        for part in sets
    )
    return pairs([q if q[:1] == start else start + q for q in asked], *answers)
