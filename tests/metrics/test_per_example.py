"""Single examples along a curve, and what a page shows of them."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

import mcu_lite as mcu
from mcu_lite.figures.images import as_png, pixels, some_of_each, strip
from mcu_lite.metrics.examples import swings
from mcu_lite.metrics.predictions import membership_scores

TS = [0.0, 0.25, 1.0]


@pytest.fixture(scope="module")
def followed(path, task):
    return mcu.follow(path, task, TS)


def test_every_example_is_what_the_module_at_t_says(followed, path, task):
    for k, t in enumerate(TS):
        for row in range(2):
            inputs, labels = (part[row] for part in task.split("forget"))
            with torch.no_grad():
                logits = path.model_at(t, row)(inputs)
            loss = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
            np.testing.assert_allclose(followed.loss[k, row], loss, rtol=1e-3, atol=1e-5)
            p = logits.softmax(-1)
            np.testing.assert_allclose(followed.probabilities[k, row], p, atol=1e-5)
            assert (followed.predicted[k, row] == p.argmax(-1).numpy()).all()


def test_a_score_is_the_share_of_test_images_with_a_higher_loss(followed, path, task):
    index = task.test[1]
    with torch.no_grad():
        logits = path.model_at(0.25, 1)(task.inputs[index])
    others = torch.nn.functional.cross_entropy(logits, task.labels[1, index], reduction="none")
    for own, score in zip(followed.loss[1, 1], followed.membership[1, 1]):
        assert score == pytest.approx((others > float(own)).float().mean().item(), abs=2e-3)


def test_ties_count_half():
    scores = membership_scores(np.array([[1.0, 2.0, 9.0]]), np.array([[1.0, 1.0, 2.0, 5.0]]))
    np.testing.assert_allclose(scores, [[0.75, 0.375, 0.0]])
    with pytest.raises(ValueError, match="same models"):
        membership_scores(np.zeros((2, 3)), np.zeros((1, 3)))


def test_the_mean_score_is_the_auc(followed, path, task):
    auc = mcu.evaluate(path, task, TS, metrics=["mia_auc"])
    wide = auc.pivot(index="t", columns="seed", values="value").to_numpy()
    np.testing.assert_allclose(followed.membership.mean(2), wide, rtol=1e-6)


def test_bad_input_is_named(path, task):
    with pytest.raises(ValueError, match="unknown split 'all'"):
        mcu.follow(path, task, TS, split="all")
    with pytest.raises(ValueError, match="path has 2 models but task has 1"):
        mcu.follow(path, mcu.load_task("digits", seeds=1), TS)


def test_texts_are_refused():
    authors = mcu.load_task("authors", seeds=1, authors=10)
    theta = mcu.train(authors, "transformer", epochs=1)
    line = mcu.connect(theta, theta, curve="linear")
    with pytest.raises(ValueError, match="task must have one label .*'authors'"):
        mcu.follow(line, authors, TS)


def test_batch_norm_takes_its_statistics_from_the_retain_set():
    task = mcu.load_task("patches", seeds=2, train=40)
    theta = mcu.train(task, "resnet_small", epochs=2)
    line = mcu.connect(theta, mcu.unlearn(theta, task, "retrain", epochs=2), curve="linear")
    followed = mcu.follow(line, task, [0.0, 0.5])
    for k, t in enumerate((0.0, 0.5)):
        for row in range(2):
            (x, y), retain = (part[row] for part in task.split("forget")), task.retain[row]
            model = line.model_at(t, row, task.inputs[retain]).eval()
            with torch.no_grad():
                loss = torch.nn.functional.cross_entropy(model(x), y, reduction="none")
            np.testing.assert_allclose(followed.loss[k, row], loss, rtol=1e-3, atol=1e-4)


@pytest.fixture
def lost(path):
    """The path, of which the first curve diverged."""
    return replace(path, diverged=torch.tensor([True, False]))


def test_a_diverged_curve_says_nothing(lost, task):
    own = mcu.follow(lost, task, TS)
    assert np.isnan(own.loss[:, 0]).all() and not np.isnan(own.loss[:, 1]).any()
    assert (own.predicted[:, 0] == -1).all() and (own.predicted[:, 1] >= 0).all()


# Portraits


def test_pixels_are_the_images_themselves(task):
    index = task.forget[0, :3]
    grey = pixels(task, index)
    expected = 255 - load_digits().images[index] * 255 / 16
    np.testing.assert_allclose(grey, expected, atol=0.5)
    back = Image.open(io.BytesIO(base64.b64decode(as_png(grey[0]).split(",")[1])))
    assert (np.asarray(back) == grey[0]).all()


def test_what_is_no_image_is_refused(task):
    plain = replace(task, name="words", pixels=None)
    with pytest.raises(ValueError, match="'words' has no images"):
        pixels(plain, [0])
    colour = torch.rand(len(task.inputs), 3, 5, 5)
    assert pixels(replace(plain, inputs=colour), [0, 1]).shape == (2, 5, 5)


def test_half_of_the_examples_have_a_wrong_label(task):
    places = some_of_each(task, 1, 8)
    wrong = task.noisy[1, task.forget[1, places]]
    assert len(set(places)) == 8 and wrong.tolist() == [True] * 4 + [False] * 4


def test_the_strip_shows_label_prediction_and_confidence(followed, task):
    html = strip(task, {"curve": followed}, [3], 1, 0)
    p = followed.probabilities[1, 0, 3]
    assert f"curve <b>{p.argmax()}</b> {p.max():.0%}" in html
    label = task.labels[0, task.forget[0, 3]]
    assert ("✓" in html) == (p.argmax() == label) != ("✗" in html)


def test_swings_are_those_of_each_image_and_of_their_mean(path, task):
    own = mcu.follow(path, task, 5)
    found = swings(own, task.seeds)
    for b, seed in enumerate(task.seeds):
        scores = own.membership[:, b].T.tolist()  # one list an image
        said = own.predicted[:, b].T.tolist()
        ranges = [max(one) - min(one) for one in scores]
        means = [sum(column) / len(scores) for column in zip(*scores)]
        rises = sum(one[-1] > one[0] for one in scores), sum(one[-1] < one[0] for one in scores)
        changed = [one for one in said if len(set(one)) > 1]
        expected = {
            "seed": seed,
            "mean": max(means) - min(means),
            "images": sum(ranges) / len(ranges),
            "largest": max(ranges),
            "against": min(rises) / len(scores),
            "changed": len(changed) / len(said),
            "back": sum(one[0] == one[-1] for one in changed) / len(said),
        }
        assert found.loc[b].to_dict() == pytest.approx(expected)


def test_a_diverged_seed_has_no_swing(path, task):
    own = mcu.follow(replace(path, diverged=torch.tensor([True, False])), task, 3)
    found = swings(own, task.seeds)
    assert found.drop(columns="seed").isna().all(axis=1).tolist() == [True, False]
    assert found.seed.tolist() == list(task.seeds)
