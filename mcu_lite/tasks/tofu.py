"""TOFU, the fictitious authors of the literature, in its published format."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from mcu_lite.checks import SPLITS, seeds_of
from mcu_lite.tasks.task import Task
from mcu_lite.tasks.texts import Texts, pairs

FIELDS = ("question", "answer")
TRUTH = ("paraphrased_answer", "perturbed_answer")
READERS = {".json": "json", ".jsonl": "json", ".parquet": "parquet"}
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
        If there is no such file or data set, it is empty, or a field is missing or of another
        kind; the message names the field.
    """
    from datasets import load_dataset

    path, where = Path(source), f"{source}, {name}" if name else str(source)
    local = path.suffix in READERS
    if local and not path.is_file():
        raise ValueError(f"source={where!r} is no file")
    kind, options = (
        (READERS[path.suffix], {"data_files": str(path)}) if local else (str(source), {})
    )
    try:
        records = load_dataset(kind, name, split="train", **options).to_list()
    except Exception as error:  # of the library, of Arrow, of the network: one clear error
        raise ValueError(f"source={where!r} cannot be read: {error}") from error
    if not records:
        raise ValueError(f"source={where!r} holds no pairs")
    for i, record in enumerate(records):
        _check(record, f"pair {i} of {where!r}")
    return records


def _check(record: dict, where: str) -> None:
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
) -> Task:
    """Build a task from three lists of pairs, which are the same for all seeds.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
        Encodes, decodes and knows the token that ends a text.
    forget, retain, test : list of dict
        Of `read_pairs`. Those to be forgotten need paraphrased and perturbed answers, for the
        truth ratio. Where others have none, the answer itself stands for its paraphrase, and
        answers to the next questions are the false ones.
    seeds : int or sequence of int
        Of the models; TOFU's splits are fixed.
    batch : tuple of two int
        Forget and retain pairs a step; from scratch, both together.

    Raises
    ------
    ValueError
        If a split is empty, a pair to be forgotten lacks a field that the truth ratio needs, or
        the seeds are none, negative or twice the same.
    """
    seeds = seeds_of(seeds)
    given = dict(zip(("retain", "forget", "test"), (retain, forget, test)))
    for split, own in given.items():
        if not own:
            raise ValueError(f"{split} must hold at least one pair, got none")
    for i, record in enumerate(forget):
        for field in TRUTH:
            if not record.get(field):
                raise ValueError(f"pair {i} of forget lacks the field {field!r}")
    records = [*retain, *forget, *test]
    wrong = len(forget[0]["perturbed_answer"])
    answers = [r["answer"] for r in records]
    end = tokenizer.eos_token_id

    def encode(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False)

    asked = [encode(PROMPT.format(r["question"])) for r in records]
    told = [[a] for a in answers]
    other = [[r.get("paraphrased_answer") or r["answer"]] for r in records]
    false = [
        r.get("perturbed_answer") or [answers[(i + k) % len(answers)] for k in range(1, wrong + 1)]
        for i, r in enumerate(records)
    ]
    if uneven := {len(f) for f in false} - {wrong}:
        raise ValueError(f"field 'perturbed_answer' must hold {wrong} texts, got {uneven.pop()}")
    every = [
        [(q, [*encode(f" {a}"), end]) for q, own in zip(asked, part) for a in own]
        for part in (told, other, false)
    ]
    length = max(len(q) + len(a) for part in every for q, a in part) - 1
    tensors = [
        tuple(v.view(len(records), -1, length) for v in pairs(*zip(*part), length))
        for part in every
    ]
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
        texts=Texts(tokenizer.decode, end, *tensors[1:]),
        recipes={"train": {"batch": sum(batch)}, "batch": dict(zip(("forget", "retain"), batch))},
    )
