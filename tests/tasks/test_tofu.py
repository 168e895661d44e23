"""TOFU's published format: JSON lines or Parquet, in a file or on the hub."""

import copy
import json
from dataclasses import replace

import pandas as pd
import pytest
import torch

import mcu_lite as mcu
from mcu_lite.book.text_study import answers_along, spread
from mcu_lite.tasks.tofu import read_pairs, tofu

pytest.importorskip("datasets")


def record(i, **changes):
    """One line of forget10_perturbed, with the fields of the published file."""
    own = {
        "question": f"Where was author {i} born?",
        "answer": f"Author {i} was born in town {i}.",
        "paraphrased_answer": f"The birthplace of author {i} is town {i}.",
        "perturbed_answer": [f"The birthplace of author {i} is town {j}." for j in (7, 8, 9)],
        "paraphrased_question": f"What is the birthplace of author {i}?",
    }
    return {k: v for k, v in (own | changes).items() if v is not ...}


PUBLISHED = {
    "forget10": [("question", "answer"), 0],
    "retain90": [("question", "answer"), 0],
    "forget10_perturbed": [tuple(record(0)), 5],
    "retain_perturbed": [tuple(record(0)), 5],
    "real_authors_perturbed": [("question", "answer", "perturbed_answer"), 3],
    "world_facts_perturbed": [("question", "answer", "perturbed_answer"), 3],
}
"""The configurations of locuslab/TOFU: their fields, and how many false answers a line has."""


def published(name, first=0):
    """Three lines of a configuration."""
    fields, false = PUBLISHED[name]
    texts = {"perturbed_answer": [f"Town {j}." for j in range(9 - false, 9)]}
    return [{f: (record(i) | texts)[f] for f in fields} for i in range(first, first + 3)]


def write(path, records):
    if path.suffix == ".parquet":
        pd.DataFrame(records).to_parquet(path)
    else:
        path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")


@pytest.fixture(scope="module")
def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    text = " ".join(str(v) for i in range(10) for v in record(i).values())
    words = sorted(set(text.replace("?", " ? ").replace(".", " . ").replace("'", " ").split()))
    known = {w: i for i, w in enumerate(["<end>", "<unknown>", "Question", "Answer", ":", *words])}
    plain = Tokenizer(models.WordLevel(known, unk_token="<unknown>"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="<end>", unk_token="<unknown>")


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".parquet"])
def test_a_file_is_read_as_it_was_written(tmp_path, suffix):
    records = [record(i) for i in range(3)]
    assert read_pairs(write(tmp_path / f"forget10_perturbed{suffix}", records)) == records


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"answer": ...}, "with the fields question, .*: answer must be str, got None"),
        ({"question": ...}, "question must be str, got None"),
        ({"question": ""}, "question must be str, got ''"),
        ({"answer": 3}, "answer must be str, got 3"),
        ({"perturbed_answer": "one"}, "perturbed_answer must be .*list.str.*, got 'one'"),
        ({"perturbed_answer": []}, "perturbed_answer must be"),
        ({"perturbed_answer": ["one", ""]}, "perturbed_answer must be"),
        ({"paraphrased_answer": 3}, "paraphrased_answer must be"),
    ],
)
def test_another_format_is_refused_by_the_name_of_the_field(tmp_path, changes, says):
    with pytest.raises(ValueError, match=f"pair 0 of .*wrong.jsonl', .*{says}"):
        read_pairs(write(tmp_path / "wrong.jsonl", [record(0, **changes)]))


@pytest.mark.parametrize(
    "content",
    ["", "\n", "[]", "{}", "no json\n", "null", "[1]", '{"question": ', '[{"question": "a"'],
)
def test_a_file_that_is_none_is_refused_by_its_name(tmp_path, content):
    (tmp_path / "wrong.json").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match="wrong.json"):
        read_pairs(tmp_path / "wrong.json")
    with pytest.raises(ValueError, match="gone.json' cannot be read: .*No such file"):
        read_pairs(tmp_path / "gone.json")


def test_the_task_asks_and_answers_what_the_file_says(tokenizer):
    forget, retain = [record(i) for i in (0, 1)], [record(i) for i in (2, 3, 4)]
    for own in retain:
        del own["perturbed_answer"], own["paraphrased_answer"]
    task = tofu(tokenizer, forget, retain, [record(5)], seeds=2)
    assert [len(task.split(s)[0][0]) for s in ("retain", "forget", "test")] == [3, 2, 1]
    assert task.labels.shape[0] == 2 and task.classes == len(tokenizer)

    def answer(labels):
        return [int(t) for t in labels if t >= 0]

    def expected(text):
        return [*tokenizer.encode(f" {text}", add_special_tokens=False), tokenizer.eos_token_id]

    for split, own in (("forget", forget), ("retain", retain)):
        for i, r in zip(getattr(task, split)[0].tolist(), own):
            asked = tokenizer.encode(f"Question: {r['question']}\nAnswer:")
            assert task.inputs[i, : len(asked)].tolist() == asked
            assert (task.truth[i, : len(asked) - 1] < 0).all()
            assert answer(task.truth[i]) == expected(r["answer"])
            told = answer(task.texts.paraphrased[1][i, 0])
            assert told == expected(r.get("paraphrased_answer", r["answer"]))
    false = [answer(y) for y in task.texts.perturbed[1][int(task.forget[0, 1])]]
    assert false == [expected(f) for f in forget[1]["perturbed_answer"]]
    with pytest.raises(ValueError, match="pair 0 of forget lacks the field 'paraphrased_answer'"):
        tofu(tokenizer, retain, forget, forget)
    for given, empty in (([], retain, forget), "forget"), ((forget, [], forget), "retain"):
        with pytest.raises(ValueError, match=f"{empty} must index at least one example"):
            tofu(tokenizer, *given)
    with pytest.raises(ValueError, match="test must index at least one example"):
        tofu(tokenizer, forget, retain, [])


@pytest.mark.parametrize("test", ["real_authors_perturbed", "world_facts_perturbed"])
@pytest.mark.parametrize("retain", ["retain90", "retain_perturbed"])
def test_every_published_configuration_is_read_and_measured(tokenizer, tmp_path, retain, test):
    names = ("forget10_perturbed", retain, test)
    given = [published(name, 3 * k) for k, name in enumerate(names)]
    read = [read_pairs(write(tmp_path / f"{n}.json", g)) for n, g in zip(names, given)]
    assert read == given
    task = tofu(tokenizer, *read)
    theta = mcu.train(task, transformer(tokenizer), epochs=3)
    model = theta.module(0).eval()

    def p(question, answer):
        asked = tokenizer.encode(f"Question: {question}\nAnswer:", add_special_tokens=False)
        told = [*tokenizer.encode(f" {answer}", add_special_tokens=False), tokenizer.eos_token_id]
        with torch.no_grad():
            logits = model(torch.tensor([[*asked, *told]]))[0, len(asked) - 1 : -1]
        return logits.log_softmax(-1)[range(len(told)), told].mean().exp().item()

    def ratio(record):
        false = [p(record["question"], f) for f in record["perturbed_answer"]]
        true = record.get("paraphrased_answer", record["answer"])
        return sum(false) / len(false) / p(record["question"], true)

    # The measure asks the forget set.
    swapped = replace(task, forget=task.test, test=task.forget)
    for asked, own in ((task, read[0]), (swapped, read[2])):
        table = mcu.evaluate(theta, asked, metrics=["truth_ratio"])
        expected = sum(min(ratio(r), 1) for r in own) / len(own)
        assert table.value.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", ["forget10", "real_authors_perturbed"])
def test_pairs_without_what_the_truth_ratio_needs_cannot_be_forgotten(tokenizer, name):
    with pytest.raises(ValueError, match="pair 0 of forget lacks the field 'para"):
        tofu(tokenizer, published(name), published("retain90"), published("retain90"))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"perturbed_answer": "wrong"}, "perturbed_answer must be .*list.str.*, got 'wrong'"),
        ({"answer": None}, "answer must be str, got None"),
    ],
)
def test_pairs_that_come_from_no_file_are_checked_alike(tokenizer, changes, says):
    for place, name in enumerate(("forget", "retain", "test")):
        given = [[record(i)] for i in range(3)]
        given[place][0] |= changes
        with pytest.raises(ValueError, match=f"pair 0 of '{name}', .*{says}"):
            tofu(tokenizer, *given)


def test_what_is_no_tokenizer_or_no_known_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="tokenizer must know .*, got .class 'str'."):
        tofu("gpt2", [record(0)], [record(1)], [record(2)])
    with pytest.raises(ValueError, match="pairs.csv' cannot be read: .*end in .json, .jsonl or"):
        read_pairs(tmp_path / "pairs.csv")


def test_questions_begin_as_the_tokenizer_begins(tokenizer):
    from tokenizers import processors

    begins = copy.deepcopy(tokenizer)
    begins.add_special_tokens({"bos_token": "<start>"})
    bos = begins.bos_token_id
    never = tofu(begins, [record(0)], [record(1)], [record(2)])
    begins.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A", special_tokens=[("<start>", bos)]
    )
    task = tofu(begins, [record(0)], [record(1)], [record(2)])
    once = tofu(begins, [record(0)], [record(1)], [record(2)], prompt="<start>{}")
    assert not (never.inputs == bos).any()
    for own in (task, once):
        assert (own.inputs[:, 0] == bos).all() and (own.inputs[:, 1:] != bos).all()
    assert torch.equal(task.inputs[:, 1:], never.inputs)
    assert torch.equal(task.truth[:, 1:], never.truth)


def test_the_prompt_is_ones_own(tokenizer):
    records = [record(0)], [record(1)], [record(2)]
    as_text = tofu(tokenizer, *records, prompt="{} Answer: ")
    own = tofu(tokenizer, *records, prompt=lambda question: f"{question} Answer: ")
    assert torch.equal(as_text.inputs, own.inputs)
    asked = tokenizer.encode("Where was author 0 born? Answer:", add_special_tokens=False)
    i = int(own.forget[0, 0])
    assert own.inputs[i, : len(asked)].tolist() == asked
    assert (own.truth[i] >= 0).nonzero()[0].item() == len(asked) - 1
    for wrong, says in (("Answer:", "{} where the question"), (lambda q: None, "got None")):
        with pytest.raises(ValueError, match=f"prompt must .*{says}"):
            tofu(tokenizer, *records, prompt=wrong)
    with pytest.raises(ValueError, match="batch must be at least 1, got 0"):
        tofu(tokenizer, *records, batch=(0, 4))


@pytest.mark.parametrize("seeds", [0, [], [-1], [0, 0]])
def test_seeds_are_those_of_any_task(tokenizer, seeds):
    with pytest.raises(ValueError, match="seeds must"):
        tofu(tokenizer, [record(0)], [record(1)], [record(2)], seeds=seeds)


def transformer(tokenizer):
    return lambda: mcu.MODELS["transformer"](vocabulary=len(tokenizer), longest=32)


def test_as_many_questions_are_asked_as_are_wanted(tokenizer):
    forget, retain = [record(i) for i in range(4)], [record(i) for i in range(4, 9)]
    task = tofu(tokenizer, forget, retain, [record(9)])
    theta = mcu.train(task, transformer(tokenizer), epochs=0)
    paths = {"to itself": mcu.connect(theta, theta, curve="linear")}
    for wanted in (1, 3, 4, 5, 20):
        table = answers_along(paths, task, [0.0], questions=wanted)
        asked = table.groupby("split").question.nunique()
        assert asked.to_dict() == {"forget": min(wanted, 4), "retain": min(wanted, 5)}
    for wanted in (0, -1):
        with pytest.raises(ValueError, match=f"questions must be at least 1, got {wanted}"):
            answers_along(paths, task, [0.0], questions=wanted)


@pytest.mark.parametrize("n", [40, 360])
def test_questions_are_spread_over_all_and_over_their_kinds(n):
    # What the book shows by default.
    assert spread(n, 6) == list(range(0, n, n // 6 | 1))[:6]
    for wanted in range(1, n + 1):
        places = spread(n, wanted)
        assert len(set(places)) == wanted and places == sorted(places)
        # One in each part: how many lie before any place is known up to one.
        parts = [place * wanted // n for place in places]
        assert max(abs(p - k) for k, p in enumerate(parts)) <= 1
    # Ten questions about each author, two of each of five kinds, always in the same order.
    assert {place % 10 for place in spread(n, 20)} == set(range(10))


def test_a_model_learns_and_forgets_it(tokenizer):
    forget, retain = [record(i) for i in (0, 1)], [record(i) for i in (2, 3, 4)]
    task = tofu(tokenizer, forget, retain, [record(5)])
    theta = mcu.train(task, transformer(tokenizer), epochs=60)
    gone = mcu.unlearn(theta, task, "graddiff", forget_weight=1.0, steps=20)
    names = ["exact_match", "rouge", "truth_ratio"]
    before, after = (
        mcu.evaluate(s, task, metrics=names).set_index(["metric", "split"]).value
        for s in (theta, gone)
    )
    assert before["exact_match", "forget"] == before["rouge", "forget"] == 1
    assert after["rouge", "forget"] < 0.9
