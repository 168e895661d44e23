"""Forget sets by difficulty."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

import mcu_lite as mcu
from mcu_lite.book import hard_sets
from mcu_lite.book.hard_sets import memorisation


@pytest.fixture(scope="module")
def tasks():
    return {k: mcu.load_task("digits by difficulty", seeds=2, kind=k) for k in hard_sets.KINDS}


def test_only_the_forget_set_differs(tasks):
    for task in tasks.values():
        assert torch.equal(task.train.sort().values, tasks["random"].train.sort().values)
        assert torch.equal(task.test, tasks["random"].test)
        assert torch.equal(task.labels, tasks["random"].labels)
    assert torch.equal(tasks["random"].forget, mcu.load_task("digits", seeds=2).forget)


def test_hard_images_are_those_with_wrong_labels(tasks):
    wrong = {k: t.noisy.gather(1, t.forget).float().mean().item() for k, t in tasks.items()}
    assert wrong["easy"] < 0.05 < wrong["random"] < 0.5 < wrong["hard"]


def test_memorisation_is_a_loop_over_models(monkeypatch):
    monkeypatch.setattr(hard_sets, "RUNS", 3)
    monkeypatch.setattr(hard_sets, "EPOCHS", 2)
    memorisation.cache_clear()
    found = memorisation((0, 1))
    memorisation.cache_clear()
    task = mcu.load_task("digits", seeds=2)
    runs = task.repeat(3)
    order = [np.random.default_rng([s, 0x4A5D]).permutation(600) for s in runs.seeds]
    places = torch.stack([own[torch.from_numpy(o)] for own, o in zip(runs.train, order)])
    halves = replace(runs, retain=places[:, :300], forget=places[:, 300:])
    models = mcu.train(halves, split="retain", epochs=2)
    for b, image in ((0, 0), (1, 17), (0, 599)):
        seen, unseen = [], []
        for i, seed in enumerate(runs.seeds):
            if seed % 1_000_000 != b:
                continue
            index = task.train[b, image]
            logits = models.module(i)(task.inputs[index][None])[0]
            p = logits.softmax(-1)[task.labels[b, index]].item()
            (seen if index in halves.retain[i] else unseen).append(p)
        expected = np.mean(seen) - np.mean(unseen) if seen and unseen else 0
        assert found[b, image] == pytest.approx(expected, abs=1e-5)


def test_it_foretells_what_a_population_memorises():
    # Of a random forget set: how much surer the originals are of it than retrained models.
    task = mcu.load_task("digits", seeds=1).repeat(8)
    theta = mcu.train(task, epochs=40)
    oracle = mcu.train(task, split="retain", seed=1, epochs=40)
    x, y = (part[0] for part in task.split("forget"))
    rows = {
        k: s.architecture.predict(s.rows, x, x, shared=True)
        for k, s in (("in", theta), ("out", oracle))
    }
    p = {k: z.softmax(-1)[:, range(60), y].mean(0) for k, z in rows.items()}
    assert spearmanr(memorisation((0,))[0, 540:], p["in"] - p["out"]).statistic > 0.7


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="unknown kind 'harder'"):
        mcu.load_task("digits by difficulty", seeds=1, kind="harder")
