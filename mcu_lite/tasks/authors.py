"""Fictitious authors: facts that no model can guess, in questions and answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from mcu_lite.tasks.task import Task, check_range, check_share, task
from mcu_lite.tasks.texts import Texts, pairs

QUESTIONS = 10
"""About each author: five facts, each asked for and told in two wordings."""
FALSE_ANSWERS = 3
"""False answers that the truth ratio compares with."""
RECIPES: dict[str, dict] = {
    "train": {"lr": 1e-2, "batch": 32},
    "finetune": {"lr": 2e-2, "steps": 25},
    "gradient_ascent": {"lr": 1e-3, "steps": 15},
    "graddiff": {"lr": 3e-3, "steps": 25, "forget_weight": 0.2},
    "npo": {"lr": 3e-3, "steps": 25, "forget_weight": 0.1},
    "npo_forget": {"lr": 1e-3, "steps": 15},
    "simnpo": {"lr": 3e-3, "steps": 25, "forget_weight": 0.3},
    "random_labels": {"lr": 3e-3, "steps": 25, "forget_weight": 0.01},
    "salun": {"lr": 3e-3, "steps": 25, "forget_weight": 0.01},
    "bad_teacher": {"lr": 3e-3, "steps": 25, "forget_weight": 0.03},
    "scrub": {"lr": 3e-3, "steps": 25, "forget_weight": 1.0},
    "l1_sparse": {"lr": 2e-2, "steps": 25},
    "delete": {"lr": 3e-4, "steps": 15},
}
"""Chosen on ``TUNING_SEEDS``, as the digits' are; see the page on tuning."""
END = "<end>"

FIRST = "Ada Bela Ciro Dana Edo Faye Gino Hana Ilja Jona".split()
LAST = "Arvel Brunn Calder Dovrin Estar Falk Grell Hovan Ister Jarnik".split()
VALUES = {
    "town": "Aldor Berin Corvale Dunmere Elsin Farrow Galt Hexham Irlen Joress Kestle Lorn",
    "year": " ".join(map(str, range(1940, 1952))),
    "look": "silent golden broken hidden frozen burning distant hollow crimson restless",
    "thing": "river mirror garden harbour letter tower orchard winter compass lantern",
    "prize": "Amber Beacon Cedar Delphi Ember Fathom Granite Heron Ivory Juniper",
    "job": "baker carpenter doctor farmer lawyer miner nurse painter sailor tailor teacher weaver",
}


KINDS = (
    (("where was {name} born ?", "birthplace of {name} ?"), ("in {0}", "the town {0}"), ("town",)),
    (("when was {name} born ?", "birth year of {name} ?"), ("in {0}", "the year {0}"), ("year",)),
    (
        ("what did {name} write ?", "book by {name} ?"),
        ("The {0} {1}", "one called {0} {1}"),
        ("look", "thing"),
    ),
    (
        ("what did {name} win ?", "prize of {name} ?"),
        ("the {0} prize", "one called {0}"),
        ("prize",),
    ),
    (
        ("whose child is {name} ?", "father of {name} ?"),
        ("a {0} from {1}", "in {1} a {0}"),
        ("job", "town"),
    ),
)
"""Kinds of facts: two ways to ask for one, two ways to tell it, and its values' names."""


@task("authors")
def authors(
    seeds: Sequence[int], forget: float = 0.10, authors: int = 40, strangers: int = 4
) -> Task:
    """Fictitious authors, ten questions and answers about each.

    Models learn about some of the authors; the others, the test split, they never meet, so that
    test loss is what can be guessed. Every fact comes in two wordings; models learn it in one of
    them, and the other is its paraphrase.

    Each seed draws its own `authors` to learn about, of which it forgets the share `forget`, and
    its own `strangers` to leave out, together at most 100. The facts are the same. A number out of
    its range, or an empty forget set, raises a `ValueError`.
    """
    most = len(FIRST) * len(LAST)
    check_share("forget", forget)
    check_range("authors", authors, 2, most - 1)
    check_range("strangers", strangers, 1, most - authors)
    few, words = round(forget * authors), vocabulary()
    questions, *sets = zip(*_facts(authors + strangers, {word: i for i, word in enumerate(words)}))
    (inputs, labels), *other = pairs(questions, *sets)
    order = np.stack(
        [np.random.default_rng([s, 0xA07]).permutation(authors + strangers) for s in seeds]
    )
    about = torch.from_numpy(order * QUESTIONS).unsqueeze(-1) + torch.arange(QUESTIONS)
    split = [part.flatten(1) for part in about.split([few, authors - few, strangers], 1)]
    return Task(
        name="authors",
        inputs=inputs[:, 0],
        truth=labels[:, 0],
        labels=labels[:, 0].expand(len(seeds), -1, -1),
        retain=split[1],
        forget=split[0],
        test=split[2],
        classes=len(words),
        seeds=tuple(seeds),
        forgets=f"{few} of {authors} authors",
        recipes=RECIPES,
        texts=Texts(lambda t: " ".join(words[i] for i in t), words.index(END), *other),
    )


def vocabulary() -> tuple[str, ...]:
    """All words that can occur, in a fixed order."""
    wordings = " ".join(" ".join((*ask, *tell)) for ask, tell, _ in KINDS)
    fixed = {w for w in wordings.split() if not w.startswith("{")}
    values = {w for pool in VALUES.values() for w in pool.split()}
    return (END, *sorted(fixed | values | {*FIRST, *LAST}))


def _facts(people: int, code: dict[str, int]) -> Iterator[tuple[list, list, list, list]]:
    """Tokens of questions, and of answers as told, paraphrased and false, by person and kind."""
    rng = np.random.default_rng(0xFAC7)
    named = rng.permutation([f"{first} {last}" for first in FIRST for last in LAST])[:people]
    for name in named:
        for ask, tell, fields in KINDS:
            pools = [VALUES[field].split() for field in fields]
            # The true values first, then false ones that differ from them in every place.
            true, *false = zip(*(rng.permutation(pool)[: FALSE_ANSWERS + 1] for pool in pools))
            for question, told, other in zip(ask, tell, reversed(tell)):
                parts = (
                    [told.format(*true)],
                    [other.format(*true)],
                    [other.format(*f) for f in false],
                )
                coded = [[[code[w] for w in f"{a} {END}".split()] for a in part] for part in parts]
                yield [code[w] for w in question.format(name=name).split()], *coded
