"""Fictitious authors, what models say about them, and the slider that shows it."""

import numpy as np
import pandas as pd
import pytest
import torch
from rouge_score.rouge_scorer import RougeScorer
from scipy.stats import ks_2samp
from sklearn.metrics import roc_auc_score
from torch.nn.functional import cross_entropy

import mcu_lite as mcu
from mcu_lite.book.answers_slider import answers_slider
from mcu_lite.book.text_study import FAMILIES, SPOKEN, answers_along, conditions, text_setting
from mcu_lite.metrics.answers import SAMPLE
from mcu_lite.metrics.relearning import relearn
from mcu_lite.tasks.authors import QUESTIONS, vocabulary
from mcu_lite.tasks.texts import IGNORED, generate, pairs, written

TEXT = ["probability", "exact_match", "truth_ratio", "forget_quality", "rouge", "utility"]


@pytest.fixture(scope="module")
def authors():
    return mcu.load_task("authors", seeds=2, authors=10)


@pytest.fixture(scope="module")
def knows(authors):
    return mcu.train(authors, "transformer", epochs=50)


@pytest.fixture(scope="module")
def never_knew(knows, authors):
    return mcu.unlearn(knows, authors, "retrain", seed=99, epochs=50)


def by_hand(model, prompt, steps):
    """Greedy decoding of one prompt with an ordinary module."""
    tokens = list(prompt)
    for _ in range(steps):
        tokens.append(int(model(torch.tensor([tokens]))[0, -1].argmax()))
    return tokens[len(prompt) :]


def test_the_task_is_what_it_says(authors):
    assert authors.forgets == "1 of 10 authors"
    for b in range(2):
        parts = [set(getattr(authors, s)[b].tolist()) for s in ("retain", "forget", "test")]
        assert [len(p) for p in parts] == [9 * QUESTIONS, QUESTIONS, 4 * QUESTIONS]
        assert len(set.union(*parts)) == sum(map(len, parts)) == len(authors.inputs)
        # Whole authors: all or none of the ten questions of a person.
        assert all(len({i // QUESTIONS for i in p}) * QUESTIONS == len(p) for p in parts)
    assert not torch.equal(authors.retain[0], authors.retain[1])
    again = mcu.load_task("authors", seeds=2, authors=10)
    assert torch.equal(again.inputs, authors.inputs)
    text = authors.texts.decode(authors.inputs[0].tolist())
    assert text.startswith("where was ") and " born ?" in text
    assert len(set(vocabulary())) == len(vocabulary()) == authors.classes


def test_paraphrases_are_true_and_perturbed_answers_false(authors):
    for i in range(0, len(authors.inputs), 7):
        told, other = authors.truth[i], authors.texts.paraphrased[1][i, 0]
        words, values = (set(written(y, authors.texts).split()) for y in (told, other))
        true = words & values
        assert true and words != values
        for false in authors.texts.perturbed[1][i]:
            assert not set(written(false, authors.texts).split()) & (true - {"in", "a", "The"})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"forget": 0.0}, "forget"),
        ({"forget": 0.01}, "forget must index at least one"),
        ({"authors": 98}, r"strangers must be in 1..2, got 4"),
        ({"strangers": 0}, "strangers"),
    ],
)
def test_bad_options_are_named(options, says):
    with pytest.raises(ValueError, match=says):
        mcu.load_task("authors", seeds=1, **options)


def test_pairs_label_the_answer_and_nothing_else():
    (inputs, labels), (_, false) = pairs(
        [[5, 6, 7], [5]], [[[1, 2]], [[3]]], [[[4]], [[8], [9, 2]]]
    )
    assert inputs.tolist() == [[[5, 6, 7, 1]], [[5, 0, 0, 0]]]
    assert labels.tolist() == [[[-100, -100, 1, 2]], [[3, *[-100] * 3]]]
    assert false[0].tolist() == [[-100, -100, 4, -100], [-100] * 4]
    assert false[1].tolist() == [[8, *[-100] * 3], [9, 2, -100, -100]]
    for question, answer in (([], [1, 2]), ([1, 2], [])):
        with pytest.raises(ValueError, match="pair 0"):
            pairs([question], [[answer]])


def test_a_transformer_sees_only_what_stands_before(authors):
    model = mcu.MODELS["transformer"]()
    x = authors.inputs[:5]
    changed = x.clone()
    changed[:, 6:] = 1
    torch.testing.assert_close(model(x)[:, :6], model(changed)[:, :6])
    assert not torch.allclose(model(x)[:, 6:], model(changed)[:, 6:])
    assert 45_000 < mcu.Architecture(model).size < 55_000


def test_answers_are_those_of_greedy_decoding_by_hand(authors, knows):
    index = authors.retain[0, ::17]
    inputs, labels = authors.inputs[index], authors.truth[index]
    given = generate(knows.architecture.evaluating(), knows.rows, inputs, labels, 4)
    for b in range(2):
        for i, (x, y) in enumerate(zip(inputs, labels)):
            prompt = x[: int((y != IGNORED).int().argmax()) + 1].tolist()
            room = min(4, inputs.shape[1] - len(prompt) + 1)
            assert given[b, i, :room].tolist() == by_hand(knows.module(b), prompt, room)
            assert (given[b, i, room:] == IGNORED).all()


def test_measures_of_answers_against_a_loop(authors, knows, never_knew):
    table = mcu.evaluate(knows, authors, metrics=TEXT, oracle=never_knew)
    value = table[table.seed == 1].set_index(["metric", "split"]).value
    texts, scorer = authors.texts, RougeScorer(["rougeL"])

    @torch.no_grad()
    def p(model, x, y):
        given = y != IGNORED
        return float((-cross_entropy(model(x[None])[0][given], y[given])).exp())

    def ratio(model, i):
        false = zip(*(part[i] for part in texts.perturbed))
        true = p(model, *(part[i, 0] for part in texts.paraphrased))
        return np.mean([p(model, x, y) for x, y in false]) / true

    model, oracle = knows.module(1), never_knew.module(1)
    parts = {}
    for split in ("retain", "forget"):
        index, chance, exact, rouge = getattr(authors, split)[1], [], [], []
        for i in index.tolist():
            x, y = authors.inputs[i], authors.truth[i]
            chance.append(p(model, x, y))
            prompt = x[: int((y != IGNORED).int().argmax()) + 1].tolist()
            answer = y[y != IGNORED].tolist()
            exact.append(by_hand(model, prompt, len(answer)) == answer)
            # An answer may go on to the length of the longest one, or to the end of the text.
            room = min(5, authors.inputs.shape[1] - len(prompt) + 1)
            said_here = written(torch.tensor(by_hand(model, prompt, room)), texts)
            score = scorer.score(written(y, texts), said_here)
            rouge.append(score["rougeL"].recall)
        parts[split] = np.mean(chance), np.mean(rouge[:SAMPLE])
        assert value["probability", split] == pytest.approx(np.mean(chance), rel=1e-3)
        assert value["exact_match", split] == pytest.approx(np.mean(exact))
        assert value["rouge", split] == pytest.approx(np.mean(rouge[:SAMPLE]), abs=0.02)
    own, wanted = ([ratio(m, i) for i in authors.forget[1].tolist()] for m in (model, oracle))
    assert value["truth_ratio", "forget"] == pytest.approx(np.mean(np.minimum(own, 1)), rel=1e-3)
    expected = ks_2samp(own, wanted).pvalue
    assert value["forget_quality", "forget"] == pytest.approx(expected, rel=1e-3)
    retained = [ratio(model, i) for i in authors.retain[1, :SAMPLE].tolist()]
    three = [*parts["retain"], np.mean(np.maximum(0, 1 - np.array(retained)))]
    assert value["utility", "retain"] == pytest.approx(3 / np.sum(1 / np.array(three)), rel=0.02)


def test_what_can_be_extracted_and_inferred_against_a_loop(authors, knows, never_knew):
    """On a model that knows the authors in part: the middle of a straight path."""
    half = mcu.connect(knows, never_knew, curve="linear").stack_at(0.3)
    names = ["extraction", "min_k_auc", "privacy_leakage"]
    table = mcu.evaluate(half, authors, metrics=names, oracle=never_knew)
    value = table[table.seed == 1].set_index(["metric", "split"]).value
    model = half.module(1)
    for split in ("retain", "forget"):
        shares = []
        for i in getattr(authors, split)[1].tolist():
            x, y = authors.inputs[i], authors.truth[i]
            prompt = x[: int((y != IGNORED).int().argmax()) + 1].tolist()
            answer = y[y != IGNORED].tolist()
            known = (
                by_hand(model, prompt + answer[:k], len(answer) - k) == answer[k:]
                for k in range(len(answer))
            )
            shares.append(
                1 - next((k for k, all_ in enumerate(known) if all_), len(answer)) / len(answer)
            )
        assert value["extraction", split] == pytest.approx(np.mean(shares))
        assert 0.01 < np.mean(shares) < 0.99

    @torch.no_grad()
    def scores(m, index):
        found = []
        for i in index.tolist():
            x, y = authors.inputs[i], authors.labels[1, i]
            given = y != IGNORED
            log_p = sorted(
                (-cross_entropy(m(x[None])[0][given], y[given], reduction="none")).tolist()
            )
            found.append(np.mean(log_p[: max(1, int(0.4 * len(log_p)))]))
        return found

    def auc(m):
        both = [scores(m, own[1]) for own in (authors.forget, authors.test)]
        return roc_auc_score(np.repeat([1, 0], [*map(len, both)]), np.concatenate(both))

    own, wanted = auc(model), auc(never_knew.module(1))
    assert value["min_k_auc", "forget"] == pytest.approx(own, abs=1e-3)
    assert value["privacy_leakage", "forget"] == pytest.approx(own / wanted - 1, abs=3e-3)


def test_the_original_knows_what_the_retrained_model_cannot(authors, knows, never_knew):
    names = ["exact_match", "forget_quality", "mia_auc"]
    before, after = (
        mcu.evaluate(s, authors, metrics=names, oracle=never_knew)
        .groupby(["metric", "split"])
        .value.mean()
        for s in (knows, never_knew)
    )
    assert before["exact_match", "forget"] > 0.9 > 0.3 > after["exact_match", "forget"]
    assert min(before["exact_match", "retain"], after["exact_match", "retain"]) > 0.9
    assert before["mia_auc", "forget"] > 0.9 and after["forget_quality", "forget"] == 1


def test_measures_of_answers_need_texts(task, theta):
    assert "rouge" not in mcu.evaluate(theta, task).metric.unique()
    with pytest.raises(ValueError, match="'exact_match' is one of texts, but task is 'digits'"):
        mcu.evaluate(theta, task, metrics=["exact_match"])


def test_relearning_learns_one_author_again_and_watches_the_others(knows):
    task = mcu.load_task("authors", seeds=2, authors=10, forget=0.2)
    gone = mcu.unlearn(knows, task, "npo", forget_weight=1.0)
    table = relearn(gone, task, examples=QUESTIONS, steps=(0, 6), lr=3e-3)
    assert set(table.split) == {"forget", "test"}
    wide = table[(table.split == "forget") & (table.metric == "accuracy")].pivot(
        index="seed", columns="step", values="value"
    )
    start = mcu.evaluate(gone, task, metrics=["exact_match"])
    held = task.forget[:, QUESTIONS:]
    expected = mcu.evaluate(
        gone, mcu.load_task("authors", seeds=2, authors=10, forget=0.2), metrics=["exact_match"]
    )
    assert start.equals(expected) and held.shape == (2, QUESTIONS)
    for b in range(2):
        x, y = task.inputs[held[b]], task.truth[held[b]]
        right = (gone.module(b)(x).argmax(-1) == y) | (y == IGNORED)
        assert wide.loc[b, 0] == pytest.approx(right.all(1).float().mean().item())


def test_the_study_on_text_has_every_condition():
    found = pd.DataFrame([c.columns for c in conditions()])
    assert set(found[found.curve == "linear"].condition) == set(FAMILIES)
    curved = found[found.curve == "bezier"]
    assert set(curved.objective) == {"connected"}
    pairs = [set(zip(own.a, own.b)) for own in (curved, found.drop(curved.index))]
    assert pairs[0] < pairs[1]
    assert {m for a in found.a for m in [a.split()[0]]} >= set(SPOKEN)
    setting = text_setting(mcu.load_profile("book", options={"forget": 0.2}))
    assert setting.task == "authors" and setting.options == {"forget": 0.2} and setting.ts % 2
    assert text_setting(mcu.Setting(ts=3)).ts == 3


@pytest.fixture(scope="module")
def answered(authors, knows, never_knew):
    paths = {
        "one <way>": mcu.connect(knows, never_knew, curve="linear"),
        "back": mcu.connect(never_knew, knows, curve="linear"),
    }
    return answers_along(paths, authors, [0.0, 0.5, 1.0], questions=3)


def test_what_is_said_at_the_ends_is_what_the_models_say(answered, authors, knows, task):
    ends = answered[(answered.path == "one <way>") & (answered.t == 0)]
    assert ends.question.str.endswith("?").all()
    assert (ends.true == ends.answer).mean() > 0.8
    there = answered[(answered.path == "back") & (answered.t == 1)]
    assert there.answer.tolist() == ends.answer.tolist()
    middle = answered[answered.t == 0.5]
    assert (middle.true != middle.answer).any()
    with pytest.raises(ValueError, match="'digits'"):
        answers_along({}, task, [0.0])


def test_the_slider_marks_the_words_that_differ(answered):
    box = answers_slider(answered)
    choose, _, outer = box.children
    assert choose.options == ("one <way>", "back") and len(outer.children) == 2
    frames = outer.children[0].children
    assert len(frames) == 3
    own = answered[(answered.path == "one <way>") & (answered.t == 1)]
    for row in own.itertuples():
        told = row.true.split()
        differ = [w for k, w in enumerate(row.answer.split()) if k >= len(told) or w != told[k]]
        assert all(f"<em>{word}</em>" in frames[2].value for word in differ)
    wrong = int((own.true != own.answer).sum())
    assert wrong and frames[2].value.count("<em>") >= wrong
    with pytest.raises(ValueError, match="at least one answer"):
        answers_slider(answered.iloc[:0])
    with pytest.raises(ValueError, match="same ts"):
        answers_slider(answered[(answered.path == "back") | (answered.t == 0)])
