import math
from dataclasses import replace

import pytest
import torch

import mcu_lite as mcu
from mcu_lite.unlearning.methods import METHODS, Examples, Method
from mcu_lite.unlearning.objectives import (
    _examples,
    oracle_objective,
    salient,
    unlearning_objective,
)


def nll(logits, label):
    return math.log(sum(math.exp(v) for v in logits)) - logits[label]


def log_p(logits):
    return [v - math.log(sum(math.exp(u) for u in logits)) for v in logits]


def kl(p, q):
    return sum(math.exp(a) * (a - b) for a, b in zip(log_p(p), log_p(q), strict=True))


def without_label(logits, original, label):
    """KL from the original's distribution over the other classes."""
    others = [c for c in range(len(original)) if c != label]
    teacher, student = log_p([original[c] for c in others]), log_p(logits)
    return sum(math.exp(a) * (a - student[c]) for a, c in zip(teacher, others, strict=True))


def forget_loss(name, logits, original, incompetent, label, wrong):
    """The forget loss of one example, written without tensors."""
    lost, before = nll(logits, label), nll(original, label)
    if name in ("npo", "npo_forget"):
        return 2.0 * math.log(1.0 + math.exp(before - lost))
    return {
        "gradient_ascent": lambda: -lost,
        "graddiff": lambda: -min(lost, 4.0),
        "simnpo": lambda: 2.0 * math.log(1.0 + math.exp(-lost)),
        "random_labels": lambda: nll(logits, wrong),
        "salun": lambda: nll(logits, wrong),
        "bad_teacher": lambda: kl(incompetent, logits),
        "scrub": lambda: -min(kl(original, logits), 4.0),
        "delete": lambda: without_label(logits, original, label),
    }[name]()


def retain_loss(name, logits, original, label):
    kept = nll(logits, label)
    if name == "bad_teacher":
        return kl(original, logits)
    return kept + kl(original, logits) if name == "scrub" else kept


def batch(seed, rows=2, n=7, classes=4):
    generator = torch.Generator().manual_seed(seed)
    logits, *fixed = 3 * torch.randn(3, rows, n, classes, generator=generator)
    teachers = dict(zip(("original", "incompetent"), fixed))
    labels = torch.randint(classes, (rows, n), generator=generator)
    shift = torch.randint(1, classes, (rows, n), generator=generator)
    return Examples(logits, labels, (labels + shift) % classes, teachers.get)


FORGETS = [name for name, m in METHODS.items() if m.terms[0] != "none"]
ALONE = {"gradient_ascent", "npo_forget", "delete"}


@pytest.mark.parametrize("name", FORGETS)
def test_losses_against_a_scalar_loop(name):
    examples = batch(0)
    forget, retain = METHODS[name].losses(examples, examples)
    parts = [examples.logits, examples.original, examples.incompetent]
    for b in range(2):
        for i in range(7):
            logits, original, incompetent = (part[b, i].tolist() for part in parts)
            label, wrong = int(examples.labels[b, i]), int(examples.wrong[b, i])
            expected = forget_loss(name, logits, original, incompetent, label, wrong)
            assert float(forget[b, i]) == pytest.approx(expected, rel=1e-4, abs=1e-5)
            if name not in ALONE:
                kept = retain_loss(name, logits, original, label)
                assert float(retain[b, i]) == pytest.approx(kept, rel=1e-4, abs=1e-5)
    assert (retain is None) == (name in ALONE)


@pytest.mark.parametrize("name", ["retrain", "retrain_same", "finetune", "l1_sparse"])
def test_methods_without_forget_term(name):
    examples = batch(1)
    forget, retain = METHODS[name].losses(examples, examples)
    assert forget is None
    kept = [
        [nll(examples.logits[b, i].tolist(), examples.labels[b, i]) for i in range(7)]
        for b in (0, 1)
    ]
    torch.testing.assert_close(retain, torch.tensor(kept), rtol=1e-4, atol=1e-5)


def test_saliency_is_the_whole_forget_gradient(theta, task):
    """Autograd on an ordinary module, in one batch, and a sort."""
    mask = salient(theta, task, 0.5)
    for b in range(len(task)):
        module = theta.module(b)
        x, y = (part[b] for part in task.split("forget"))
        torch.nn.functional.cross_entropy(module(x), y).backward()
        gradient = torch.cat([p.grad.flatten().abs() for p in module.parameters()])
        half = gradient.sort().values[len(gradient) // 2]
        assert mask[b].float().mean() == pytest.approx(0.5, abs=1e-3)
        assert gradient[mask[b]].min() >= half * 0.999 and gradient[~mask[b]].max() <= half * 1.001


def test_salun_leaves_the_other_weights_alone(theta, task):
    changed = mcu.unlearn(theta, task, "salun").rows != theta.rows
    mask = salient(theta, task, 0.5)
    assert not changed[~mask].any()
    assert changed[mask].float().mean() > 0.99


def test_saluns_objective_on_a_curve_is_that_of_the_models_on_it(theta, oracle, task):
    masked = unlearning_objective("salun", theta, task)
    plain = unlearning_objective(replace(METHODS["salun"], saliency=1.0), theta, task)
    rows = oracle.rows.clone().requires_grad_()
    one, other = (objective.start(0, 1)(rows) for objective in (masked, plain))
    assert torch.equal(one, other)
    own, whole = (torch.autograd.grad(loss.sum(), rows)[0] for loss in (one, other))
    torch.testing.assert_close(own, whole.where(masked.mask, 0.0))


def test_the_oracle_is_trained_at_the_rate_that_is_asked_for(theta, task):
    slow = mcu.unlearn(theta, task, "retrain", epochs=1, lr=1e-5)
    usual = mcu.unlearn(theta, task, "retrain", epochs=1)
    moved = [(stack.rows - stack.initial).norm() for stack in (slow, usual)]
    assert moved[0] < 0.05 * moved[1]


@pytest.mark.parametrize("turns", [{"forget_every": 2}, {"forget_until": 0.5}], ids=str)
def test_a_method_without_a_retain_term_may_pause(theta, task, turns):
    @mcu.method("by turns", lr=1e-4, steps=4, **turns)
    def ascent(forget, retain):
        return -forget.loss, None

    try:
        assert not mcu.unlearn(theta, task, "by turns").diverged.any()
    finally:
        del METHODS["by turns"]


def test_wrong_labels_are_wrong_and_drawn_per_seed(theta, task):
    place = torch.arange(task.forget.shape[1]).expand(len(task), -1)
    own, again = (_examples(theta, task, "forget", task.forget)(place, theta.rows) for _ in "ab")
    assert torch.equal(own.labels, task.labels.gather(1, task.forget))
    assert (own.wrong != own.labels).all()
    assert torch.equal(own.wrong, again.wrong)
    shift = (own.wrong - own.labels) % 10
    assert not torch.equal(shift[0], shift[1])


def terms_over(steps, name, losses, theta, task):
    """Losses at each of the steps, of a method with other terms, without a step."""
    objective = unlearning_objective(replace(METHODS[name], losses=losses), theta, task)
    loss = objective.start(0, steps)
    return torch.stack([loss(theta.rows) for _ in range(steps)])


def test_scrubs_forget_term_comes_by_turns_and_ends_early(theta, task):
    def ten(forget, retain):
        return 0 * forget.loss + 10, 0 * retain.loss

    values = terms_over(10, "scrub", ten, theta, task)
    weight = METHODS["scrub"].forget_weight
    expected = [10 * weight * on for on in (1, 0, 1, 0, 1, 0, 0, 0, 0, 0)]
    torch.testing.assert_close(values, torch.tensor(expected)[:, None].expand(-1, 2))


def test_the_l1_penalty_decays_to_nothing(theta, task):
    values = terms_over(4, "l1_sparse", lambda f, r: (None, 0 * r.loss), theta, task)
    whole = METHODS["l1_sparse"].l1 * theta.rows.abs().sum(1)
    torch.testing.assert_close(values, torch.stack([whole * (1 - step / 4) for step in range(4)]))


@pytest.mark.parametrize("name", ["npo", "finetune", "gradient_ascent"])
def test_a_curriculum_changes_the_result_and_reports_its_weights(name, theta, task):
    plain, weighted = (mcu.unlearn(theta, task, name, curriculum=c) for c in (0, True))
    assert not torch.equal(plain.rows, weighted.rows)
    assert plain.spread is None
    assert (weighted.spread[:, 0] < 1).all() and (weighted.spread[:, 1] > 1).all()


def test_the_second_order_descends_and_is_deterministic(theta, task):
    one, two = (mcu.unlearn(theta, task, "npo", order=2) for _ in range(2))
    assert torch.equal(one.rows, two.rows)
    assert not torch.equal(one.rows, mcu.unlearn(theta, task, "npo").rows)
    table = mcu.evaluate(one, task, metrics=["loss"]).query("split == 'forget'")
    before = mcu.evaluate(theta, task, metrics=["loss"]).query("split == 'forget'")
    assert table.value.mean() > before.value.mean()


@pytest.mark.parametrize("name", list(METHODS))
def test_every_method_forgets(name, theta, task):
    stack = mcu.unlearn(theta, task, name, epochs=20)
    table = mcu.evaluate(stack, task, metrics=["loss"]).query("split == 'forget'")
    before = mcu.evaluate(theta, task, metrics=["loss"]).query("split == 'forget'")
    assert stack.origin is theta and stack.label == name
    assert (table.value.to_numpy() > before.value.to_numpy()).all()


def test_retraining_starts_where_it_says(theta, task):
    other, same = (mcu.unlearn(theta, task, m, epochs=1) for m in ("retrain", "retrain_same"))
    assert torch.equal(same.initial, theta.initial)
    assert not torch.equal(other.initial, theta.initial)


def test_a_new_method_is_one_function(theta, task):
    @mcu.method("hinge", forget_weight=0.1, steps=5, source="test")
    def hinge(forget, retain):
        """Raise the forget loss up to 2 nats."""
        return (2 - forget.loss).relu(), retain.loss

    try:
        assert not torch.equal(mcu.unlearn(theta, task, "hinge").rows, theta.rows)
    finally:
        del METHODS["hinge"]


def test_the_oracle_itself_has_no_distance_to_it(oracle, task):
    value = oracle_objective(oracle, task).start(0, 1)(oracle.rows)
    torch.testing.assert_close(value, torch.zeros(2), atol=1e-5, rtol=0)


def test_bad_input_is_named(theta, task):
    with pytest.raises(ValueError, match="'npo'"):
        mcu.unlearn(theta, task, "wish")
    with pytest.raises(ValueError, match="'lr', 'steps', 'forget_weight'"):
        mcu.unlearn(theta, task, "npo", speed=3)
    with pytest.raises(ValueError, match="order"):
        mcu.unlearn(theta, task, "npo", order=3)
    with pytest.raises(ValueError, match="retrains"):
        mcu.unlearn(theta, task, "retrain", curriculum=True)
    with pytest.raises(ValueError, match="3 splits"):
        mcu.unlearn(theta, mcu.load_task("digits", seeds=3), "npo")
    with pytest.raises(ValueError, match="initialisation"):
        nowhere = mcu.Stack(theta.architecture, theta.rows)
        mcu.unlearn(nowhere, task, "retrain_same")


@pytest.mark.parametrize(
    ("method", "options", "named"),
    [
        (
            "retrain",
            {"lr": 0.01, "steps": 5},
            "no curriculum, order or recipe but lr",
        ),
        ("npo", {"curriculum": -1.0}, "curriculum"),
        ("npo", {"curriculum": math.inf}, "curriculum"),
        ("npo", {"curriculum": math.nan}, "curriculum"),
        ("npo", {"lr": 0.0}, "lr must be > 0"),
        ("npo", {"lr": math.inf}, "lr must be finite"),
        ("npo", {"forget_weight": math.inf}, "forget_weight must be finite"),
        ("npo", {"forget_weight": math.nan}, "forget_weight must be finite"),
        ("npo", {"seed": -1}, "seed must be at least 0, got -1"),
        ("retrain", {"seed": -1}, "seed must be at least 0, got -1"),
    ],
)
def test_what_does_not_apply_is_refused(theta, task, method, options, named):
    with pytest.raises(ValueError, match=named):
        mcu.unlearn(theta, task, method, **options)


@pytest.mark.parametrize(
    "wrong",
    [{"begins": "nope"}, {"forget_every": 0}, {"saliency": 0.0}, {"lr": -1.0}, {"l1": -1.0}],
    ids=str,
)
def test_a_method_that_cannot_run_is_not_registered(wrong):
    with pytest.raises(ValueError, match="beginning|must"):
        mcu.method("wrong", **wrong)(print)
    assert "wrong" not in mcu.METHODS


@pytest.mark.parametrize("name", ["retain", "original", ""])
def test_a_method_may_not_have_a_name_that_means_something_else(name):
    with pytest.raises(ValueError, match=f"name must not be {name!r}"):
        mcu.method(name)(print)


def test_only_two_teachers_are_known(theta, task, monkeypatch):
    monkeypatch.setitem(
        mcu.METHODS, "asks", Method("asks", lambda f, r: (None, r.kl_from(r.teacher("orig"))))
    )
    with pytest.raises(ValueError, match="unknown teacher 'orig'"):
        mcu.unlearn(theta, task, "asks", steps=1)


def test_a_batch_has_an_example(theta, oracle, task):
    a = mcu.Stack(theta.architecture, theta.rows)
    with pytest.raises(ValueError, match="batch must be at least 1, got 0"):
        mcu.connect(a, a, task, objective=mcu.oracle_objective(oracle, task, size=0), steps=1)


def test_the_original_takes_no_switch():
    with pytest.raises(ValueError, match="θo itself"):
        mcu.Endpoint("original", curriculum=1.0)


def test_the_same_seed_twice_is_refused():
    with pytest.raises(ValueError, match="none twice"):
        mcu.load_task("digits", seeds=[0, 0])


def test_l1_acts_inside_the_mask_only(theta, task):
    sparse = replace(METHODS["l1_sparse"], saliency=0.3)
    objective = unlearning_objective(sparse, theta, task)
    rows = theta.rows.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(objective.start(0, 2)(rows).sum(), rows)
    assert (gradient[~objective.mask] == 0).all() and (gradient[objective.mask] != 0).any()


def test_a_curve_is_not_fitted_on_the_batches_of_its_ends(theta, task):
    """Batches show in the losses of one and the same model: all differ, end by end."""
    seen = {}

    def spied(objective, name):
        def start(seed, steps):
            loss = objective.start(seed, steps)

            def spy(rows):
                seen.setdefault(name, []).append(loss(theta.rows).detach())
                return loss(rows)

            return spy

        return replace(objective, start=start)

    objective = unlearning_objective("npo", theta, task)
    mcu.connect(theta, theta, task, objective=spied(objective, "curve"), steps=4)
    own = objective.start(0, 4)
    end = [(own(theta.rows), own(theta.rows))[0] for _ in range(4)]
    assert not any(torch.allclose(a, b) for a, b in zip(seen["curve"], end))
