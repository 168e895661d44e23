"""TOFU, the fictitious authors of the literature, in its published format."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from mcu_lite.checks import SPLITS, seeds_of
from mcu_lite.tasks.task import Task
from mcu_lite.tasks.texts import IGNORED, Pairs, Texts, pairs

FIELDS = ("question", "answer")
TRUTH = ("paraphrased_answer", "perturbed_answer")
PROMPT = "Question: {}\nAnswer:"


def read_pairs(source: str | os.PathLike, name: str | None = None) -> list[dict]:
    """Read question-answer pairs from a file or from the hub.

    Parameters
    ----------
    source : str or path
        A .json, .jsonl or .parquet file; or the name of a data set on the hub, such as
        ``locuslab/TOFU``.
    name : str, optional
        Of a configuration on the hub, such as ``forget10_perturbed``.

    Returns
    -------
    list of dict
        Each with question and answer; where the data have them, paraphrased_question,
        paraphrased_answer and perturbed_answer, a list of false answers.

    Raises
    ------
    ValueError
        If there is no such file or data set, it is empty or broken, or a field is missing or of
        another kind; the message names the field.
    """
    path, where = Path(source), f"{source}, {name}" if name else str(source)
    read = {".json": _json, ".jsonl": _json, ".parquet": _parquet}.get(path.suffix)
    if read and not path.is_file():
        raise ValueError(f"source={where!r} is no file")
    try:
        records = read(path) if read else _hub(str(source), name)
    except Exception as error:  # of the library, of Arrow, of the network: one clear error
        raise ValueError(f"source={where!r} cannot be read: {error}") from error
    if not records:
        raise ValueError(f"source={where!r} holds no pairs")
    for i, record in enumerate(records):
        _check(record, f"pair {i} of {where!r}")
    return records


def _json(path: Path) -> list:
    text = path.read_text(encoding="utf-8-sig")
    if text.lstrip().startswith("["):
        return json.loads(text)
    # Not `splitlines`, which would also cut at rarer separators inside a text.
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def _parquet(path: Path) -> list[dict]:
    from pyarrow.parquet import read_table

    return read_table(path).to_pylist()


def _hub(source: str, name: str | None) -> list[dict]:
    from datasets import load_dataset

    return load_dataset(source, name, split="train").to_list()


def _check(record: object, where: str) -> None:
    if not isinstance(record, dict):
        raise ValueError(f"{where} must have fields with names, got {record!r}")
    for field in FIELDS:
        if field not in record:
            raise ValueError(f"{where} lacks the field {field!r}; it has {', '.join(record)}")
    for field in (*FIELDS, "paraphrased_question", "paraphrased_answer"):
        value = record.get(field)
        if (value is not None or field in FIELDS) and not (isinstance(value, str) and value):
            raise ValueError(f"{where} has the field {field!r} with {value!r}, expected a text")
    false = record.get("perturbed_answer")
    if false is not None and not (
        isinstance(false, list) and false and all(isinstance(f, str) and f for f in false)
    ):
        raise ValueError(
            f"{where} has the field 'perturbed_answer' with {false!r}, expected a list of texts"
        )


def tofu(
    tokenizer,
    forget: Sequence[dict],
    retain: Sequence[dict],
    test: Sequence[dict],
    seeds: int | Sequence[int] = 1,
    batch: tuple[int, int] = (2, 4),
    prompt: str | Callable[[str], str] = PROMPT,
) -> Task:
    """Build a task from three lists of pairs, which are the same for all seeds.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
        Encodes, decodes and knows the token that ends a text. Where its texts begin with a token
        of their own, the questions do.
    forget, retain, test : list of dict
        Of `read_pairs`. Those to be forgotten need paraphrased and perturbed answers, for the
        truth ratio. Where others have none, the answer itself stands for its paraphrase, and
        answers to the next questions are the false ones. Pairs may have different numbers of
        false answers.
    seeds : int or sequence of int
        Of the models; TOFU's splits are fixed.
    batch : tuple of two int
        Forget and retain pairs a step; from scratch, both together.
    prompt : str or function from str to str
        What the model reads before the answer: a text with ``{}`` where the question goes, or
        a function of the question, such as a chat template. A space precedes the answer, unless
        the prompt ends in white space.

    Raises
    ------
    ValueError
        If a split is empty, a pair to be forgotten lacks a field that the truth ratio needs, the
        seeds are none, negative or twice the same, `batch` is not two positive numbers, `prompt`
        has no place for the question, or the tokenizer knows no token that ends a text.
    """
    seeds = seeds_of(seeds)
    given = dict(zip(SPLITS, (retain, forget, test)))
    if len(batch) != 2 or min(batch) < 1:
        raise ValueError(f"batch must be two numbers, each at least 1, got {batch!r}")
    if tokenizer.eos_token_id is None:
        raise ValueError("tokenizer must know a token that ends a text (eos_token), got none")
    for split, own in given.items():
        if not own:
            raise ValueError(f"{split} must hold at least one pair, got none")
    for i, record in enumerate(forget):
        for field in TRUTH:
            if not record.get(field):
                raise ValueError(f"pair {i} of forget lacks the field {field!r}")
    records = [*retain, *forget, *test]
    answers = [r["answer"] for r in records]
    wrong = min(max(len(r["perturbed_answer"]) for r in forget), len(records) - 1)
    false = [
        r.get("perturbed_answer") or [answers[(i + k) % len(answers)] for k in range(1, wrong + 1)]
        for i, r in enumerate(records)
    ]
    told = [[a] for a in answers]
    other = [[r.get("paraphrased_answer") or r["answer"]] for r in records]
    asked = _prompts(prompt, [r["question"] for r in records])
    tensors = _encoded(tokenizer, asked, (told, other, false))
    places = torch.arange(len(records)).split([len(given[s]) for s in SPLITS])
    index = {s: own.expand(len(seeds), -1) for s, own in zip(SPLITS, places)}
    inputs, labels = (v[:, 0] for v in tensors[0])
    return Task(
        name="tofu",
        inputs=inputs,
        truth=labels,
        labels=labels.expand(len(seeds), -1, -1),
        **index,
        classes=len(tokenizer),
        seeds=seeds,
        forgets=f"{len(forget)} of {len(forget) + len(retain)} pairs",
        texts=Texts(tokenizer.decode, tokenizer.eos_token_id, *tensors[1:]),
        recipes={"train": {"batch": sum(batch)}, "batch": dict(zip(("forget", "retain"), batch))},
    )


def _prompts(prompt: str | Callable[[str], str], questions: list[str]) -> list[str]:
    if isinstance(prompt, str):
        if "{}" not in prompt:
            raise ValueError(f"prompt must have {{}} where the question goes, got {prompt!r}")
        return [prompt.replace("{}", q) for q in questions]
    prompts = [prompt(q) for q in questions]
    if not all(isinstance(p, str) and p for p in prompts):
        raise ValueError(f"prompt must return a text for each question, got {prompts[0]!r}")
    return prompts


def _encoded(tokenizer, prompts: list[str], parts: Sequence[list[list[str]]]) -> list[Pairs]:
    """Inputs and labels (N, K, L) of each part, which has up to K answers for each prompt."""
    bos, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    start = [bos] if bos is not None and tokenizer.encode(prompts[0])[:1] == [bos] else []

    def encode(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False)

    asked = [encode(p) for p in prompts]
    asked = [q if q[:1] == start else start + q for q in asked]
    gaps = ["" if p[-1].isspace() else " " for p in prompts]
    every = [
        [[(q, [*encode(gap + a), end]) for a in own] for q, gap, own in zip(asked, gaps, part)]
        for part in parts
    ]
    length = max(len(q) + len(a) for part in every for own in part for q, a in own) - 1
    return [_ragged(part, length) for part in every]


def _ragged(part: list[list[tuple[list[int], list[int]]]], length: int) -> Pairs:
    """Pairs (N, K, L) of N lists of up to K; where one is missing, no token is labelled."""
    counts = torch.tensor([len(own) for own in part])
    given = torch.arange(int(counts.max())) < counts.unsqueeze(1)
    inputs = torch.zeros(*given.shape, length, dtype=torch.long)
    labels = torch.full_like(inputs, IGNORED)
    inputs[given], labels[given] = pairs(*zip(*(pair for own in part for pair in own)), length)
    return inputs, labels
