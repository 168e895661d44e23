import subprocess
import sys
from pkgutil import iter_modules

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax
from scipy.stats import entropy
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.distributions import Categorical

import mcu_lite as mcu
from mcu_lite import metrics
from mcu_lite.metrics import connectivity, predictions, registry
from mcu_lite.metrics.evaluation import evaluator
from mcu_lite.metrics.similarity import disagreement


def test_js_and_kl_against_scipy():
    p, q = np.random.default_rng(0).normal(size=(2, 50, 6)) * 3
    a, b = softmax(p, -1), softmax(q, -1)
    np.testing.assert_allclose(
        predictions.js(np.log(a), np.log(b)), jensenshannon(a, b, axis=-1) ** 2, atol=1e-12
    )
    np.testing.assert_allclose(
        predictions.kl(np.log(a), np.log(b)), entropy(a, b, axis=-1), atol=1e-12
    )


def test_loss_accuracy_and_membership_against_scikit_learn(path, task):
    table = mcu.evaluate(path, task, ts=[0.0, 0.4])
    model = path.model_at(0.4, i=1)
    value = table[(table.t == 0.4) & (table.seed == 1)].set_index(["metric", "split"]).value
    for split in ("retain", "forget", "test"):
        x, y = (part[1] for part in task.split(split))
        p = model(x).detach().double().softmax(-1).numpy()
        assert value["loss", split] == pytest.approx(log_loss(y, p, labels=range(10)), abs=1e-3)
        assert value["accuracy", split] == pytest.approx((p.argmax(-1) == y.numpy()).mean())
    score = []
    for split in ("forget", "test"):
        index = getattr(task, split)[1]
        logits = model(task.inputs[index])
        score.append(logits.log_softmax(-1)[range(len(index)), task.labels[1, index]].detach())
    member = np.r_[np.ones(len(score[0])), np.zeros(len(score[1]))]
    expected = roc_auc_score(member, np.concatenate(score))
    assert value["mia_auc", "forget"] == pytest.approx(expected, abs=2e-3)


def test_zrf_is_one_minus_the_jensen_shannon_divergence_in_bits():
    own, other = np.random.default_rng(0).normal(size=(2, 1, 5, 10))
    p, q = (np.exp(z[0]) / np.exp(z[0]).sum(-1, keepdims=True) for z in (own, other))
    apart = [jensenshannon(*pair, base=2) ** 2 for pair in zip(p, q)]
    outputs = registry.Outputs(
        {"forget": own}, {}, incompetent=registry.Outputs({"forget": other}, {})
    )
    assert predictions.zrf(outputs, "forget") == pytest.approx(1 - np.mean(apart))


def huge(stack):
    """Finite weights of the first model whose outputs overflow."""
    rows = stack.rows.clone()
    rows[0] *= 1e30
    return mcu.Stack(stack.architecture, rows)


def test_outputs_that_overflow_count_as_diverged_in_every_metric(theta, oracle, task):
    names = ["loss", "accuracy", "mia_auc", "mia_fitted", "zrf", "js_to_oracle"]
    broken = mcu.evaluate(huge(theta), task, metrics=names, oracle=oracle)
    sound = mcu.evaluate(theta, task, metrics=names, oracle=oracle)
    assert broken.value[broken.seed == 0].isna().all()
    assert broken.value[broken.seed == 1].equals(sound.value[sound.seed == 1])
    assert np.isnan(disagreement(huge(theta), oracle, task)).tolist() == [True, False]


def test_an_oracle_that_diverged_is_said(theta, oracle, task):
    rows = oracle.rows.clone()
    rows[0] = np.nan
    lost = mcu.Stack(oracle.architecture, rows, diverged=torch.tensor([True, False]))
    with pytest.warns(UserWarning, match="oracle: .*2 models, 1 diverged"):
        table = mcu.evaluate(theta, task, metrics=["js_to_oracle", "loss"], oracle=lost)
    own = table[table.seed == 0].set_index("metric").value
    assert own["js_to_oracle"].isna().all() and own["loss"].notna().all()


def test_an_oracle_whose_outputs_overflow_is_said(theta, oracle, task):
    with pytest.warns(UserWarning, match="oracle: 2 models, 1 diverged"):
        table = mcu.evaluate(theta, task, metrics=["js_to_oracle"], oracle=huge(oracle))
    assert table[table.seed == 0].value.isna().all() and table[table.seed == 1].value.notna().all()


@pytest.mark.filterwarnings("error")
def test_outputs_that_overflow_are_followed_nowhere(theta, task):
    line = mcu.connect(theta, huge(theta), curve="linear")
    found = mcu.follow(line, task, [0.0, 1.0])
    for values in (found.probabilities, found.loss, found.membership):
        lost = np.isnan(values).all(tuple(range(2, values.ndim)))
        assert lost.tolist() == [[False, False], [True, False]]
        assert np.isnan(values).sum() == values[1, 0].size
    assert (found.predicted[1, 0] == -1).all() and (found.predicted[0] >= 0).all()


def test_tables_that_cannot_be_read_are_refused(path, task):
    table = mcu.evaluate(path, task, 3, metrics=["loss"])
    several = pd.concat([table, table])
    for judge in (mcu.measures, mcu.is_connected):
        with pytest.raises(ValueError, match="one value for each curve"):
            judge(several)
        with pytest.raises(TypeError, match="table must be DataFrame, got"):
            judge({"a": table})
        named = pd.concat([table.assign(curve="a"), table.assign(curve="b")])
        assert sorted(judge(named).curve.unique()) == ["a", "b"]


def test_the_fitted_attack_against_a_pipeline_of_scikit_learn(theta, task):
    def features(b, index):
        with torch.no_grad():
            logits = theta.module(b)(task.inputs[index]).double()
        p = logits.softmax(-1).sort(-1).values
        loss = torch.nn.functional.cross_entropy(logits, task.labels[b, index], reduction="none")
        return torch.stack([loss, Categorical(logits=logits).entropy(), p[:, -1] - p[:, -2]], 1)

    table = mcu.evaluate(theta, task, metrics=["mia_fitted"])
    for b, value in enumerate(table.value):
        half = task.test.shape[1] // 2
        seen, unseen = features(b, task.retain[b]), features(b, task.test[b, :half])
        asked, others = features(b, task.forget[b]), features(b, task.test[b, half:])
        attack = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
        attack.fit(torch.cat([seen, unseen]), [1] * len(seen) + [0] * len(unseen))
        scores = attack.decision_function(torch.cat([asked, others]))
        member = [1] * len(asked) + [0] * len(others)
        assert value == pytest.approx(roc_auc_score(member, scores), abs=1e-3)


def test_the_fitted_attack_tells_all_or_nothing():
    rng = np.random.default_rng(0)
    sure = rng.normal(size=(1, 40, 3)) + [20, 0, 0]
    doubtful = rng.normal(size=(1, 20, 3))
    labels = {"retain": np.zeros(40, int), "forget": np.zeros(20, int)}
    labels |= {"test": np.zeros(40, int), "nonmember": np.zeros(40, int)}

    def attack(forget):
        test = np.concatenate([doubtful, doubtful], 1)
        logits = {"retain": sure, "forget": forget, "test": test}
        return predictions.mia_fitted(registry.Outputs(logits, labels), "forget").item()

    assert attack(sure[:, :20]) == pytest.approx(1.0)
    assert attack(doubtful) == pytest.approx(0.5)


def measured(*curves, ts):
    lines = [(k, t, v) for k, curve in enumerate(curves) for t, v in zip(ts, curve)]
    return mcu.measures(pd.DataFrame(lines, columns=["curve", "t", "value"]))


def test_derived_measures_on_closed_forms():
    ts = np.linspace(0, 1, 101)
    bump = 4 * ts * (1 - ts)
    found = measured(bump + ts, bump, ts**2, 1 - ts, 0 * ts, ts=ts)
    assert found.barrier[0] == pytest.approx(1.0)
    assert found.dip[2] == pytest.approx(0.25)
    assert found.roughness[1:].tolist() == pytest.approx([2, 0, 0, 0])
    assert found.monotonicity[1:].tolist() == pytest.approx([0, 1, 1, 1])


def test_a_diverged_curve_is_not_taken_for_a_monotone_one():
    curves = [[1.0, 4.0, 3.0], [1.0, np.nan, 3.0], [np.nan] * 3]
    found = measured(*curves, ts=[0.0, 0.5, 1.0])
    np.testing.assert_equal(found.monotonicity.to_numpy(), [0.5, np.nan, np.nan])


def test_measures_summarise_every_curve_of_a_table():
    ts = np.linspace(0, 1, 101)
    bump = 4 * ts * (1 - ts)
    table = losses(bump + ts, -bump, ts)
    lines = connectivity.measures(table).set_index("split")
    assert lines.loc["retain", ["start", "middle", "end"]].tolist() == pytest.approx([0, 1.5, 1])
    assert lines.barrier.to_dict() == pytest.approx({"retain": 1.0, "forget": 0.0})
    assert lines.dip.to_dict() == pytest.approx({"retain": 0.0, "forget": 1.0})
    with pytest.raises(ValueError, match="two or more t"):
        connectivity.measures(table[table.t == 0])


def losses(retain, forget, ts):
    parts = [
        pd.DataFrame({"t": ts, "split": s, "value": v})
        for s, v in (("retain", retain), ("forget", forget))
    ]
    return pd.concat(parts).assign(seed=0, metric="loss")


def test_is_connected_names_the_inequality_the_place_and_the_amount():
    ts = np.linspace(0, 1, 11)
    flat = np.ones(11)
    assert mcu.is_connected(losses(flat, flat, ts)).connected.all()
    bump = flat + 0.5 * (np.arange(11) == 3)
    (line,) = mcu.is_connected(losses(bump, flat, ts), 0.1).itertuples()
    assert (line.connected, line.breaks, line.t) == (False, "retain", ts[3])
    assert line.by == pytest.approx(0.4)
    (line,) = mcu.is_connected(losses(flat, flat - 2 * (np.arange(11) == 8), ts), 0.1).itertuples()
    assert (line.connected, line.breaks, line.t) == (False, "forget", ts[8])
    assert mcu.is_connected(losses(flat, flat * np.nan, ts)).connected.isna().all()


def test_an_evaluator_asks_the_oracle_once_and_says_what_evaluate_says(
    path, theta, oracle, task, monkeypatch
):
    asked, predict = [], mcu.Architecture.predict

    def counted(self, rows, *inputs, **how):
        asked.append(len(rows))
        return predict(self, rows, *inputs, **how)

    names = ["js_to_oracle", "zrf", "loss"]
    alone = [mcu.evaluate(m, task, 3, metrics=names, oracle=oracle) for m in (path, theta)]
    monkeypatch.setattr(mcu.Architecture, "predict", counted)
    measure = evaluator(task, metrics=names, oracle=oracle)
    for table, models in zip(alone, (path, theta)):
        pd.testing.assert_frame_equal(measure(models, 3), table)
    # For each split: the oracle, the incompetent model, three points of the path; later one model.
    assert sorted(asked) == sorted(len(task) * [1, 1, 3, 1])


def test_the_oracle_may_be_of_another_architecture(theta, task):
    other = mcu.train(task, lambda: mcu.mlp(width=16), epochs=5)
    table = mcu.evaluate(theta, task, metrics=["kl_to_oracle"], oracle=other)
    value = table[(table.seed == 1) & (table.split == "test")].value.item()
    x, _ = task.split("test")
    p, q = (s.module(1)(x[1]).detach().double().softmax(-1).numpy() for s in (other, theta))
    assert value == pytest.approx(entropy(p, q, axis=-1).mean(), rel=1e-4)


def test_bad_input_is_named(path, task):
    with pytest.raises(ValueError, match="'accuracy'"):
        mcu.evaluate(path, task, metrics=["beauty"])
    with pytest.raises(ValueError, match="oracle"):
        mcu.evaluate(path, task, metrics=["kl_to_oracle"])
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        mcu.evaluate(path, task, ts=[-0.1])
    for none in ([], 0, -3):
        with pytest.raises(ValueError, match="at least one t"):
            mcu.evaluate(path, task, ts=none)
    with pytest.raises(ValueError, match="at least one metric"):
        mcu.evaluate(path, task, metrics=[])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda own, s: np.exp(own.oracle.log_p[s], out=own.oracle.log_p[s])[:, 0, 0], "read-only"),
        (lambda own, s: np.add(own.logits[s], 1, out=own.logits[s])[:, 0, 0], "read-only"),
        (lambda own, s: own.labels[s].sort(), "read-only"),
        (lambda own, s: own.cached(lambda o, s: o.loss(s), s).sort(), "read-only"),
        (lambda own, s: own.loss(s).mean(-1) + 0j, "real number a model"),
        (lambda own, s: ["low"] * len(own.logits[s]), "real number a model"),
    ],
)
def test_a_metric_cannot_change_what_others_are_given(
    change, says, theta, oracle, task, monkeypatch
):
    own = registry.Metric("own", "own", change, ("forget",), "lower")
    monkeypatch.setitem(mcu.METRICS, "own", own)
    with pytest.raises(ValueError, match=says):
        mcu.evaluate(theta, task, metrics=["own"], oracle=oracle)


def test_what_is_no_function_is_no_metric():
    with pytest.raises(TypeError, match="function must be .*, got 3"):
        mcu.metric("own", "own", "lower")(3)
    assert "own" not in mcu.METRICS


def test_arrays_that_outputs_are_made_of_remain_ones_own():
    logits = np.zeros((1, 2, 3))
    outputs = registry.Outputs({"test": logits}, {})
    logits += 1
    assert (outputs.logits["test"] == 1).all()


@pytest.mark.parametrize(
    ("shape", "says"),
    [((9, 10), "cannot be applied to the task's inputs"), ((64, 9), "10 classes, got 9")],
)
def test_models_of_another_task_are_refused_by_name(shape, says, theta, task):
    stack = mcu.Stack.of(*[torch.nn.Linear(*shape) for _ in range(2)])
    with pytest.raises(ValueError, match=f"models .*{says}"):
        mcu.evaluate(stack, task)
    with pytest.raises(ValueError, match=f"oracle .*{says}"):
        mcu.evaluate(theta, task, oracle=stack)
    with pytest.raises(ValueError, match=f"path .*{says}"):
        mcu.follow(mcu.connect(stack, stack, curve="linear"), task)


def test_an_oracle_with_other_classes_is_refused(theta, task):
    wide = mcu.Stack.of(*[torch.nn.Linear(64, 12) for _ in range(2)])
    with pytest.raises(ValueError, match=r"oracle must have as many classes .* \[10, 12\]"):
        mcu.evaluate(theta, task, oracle=wide)


def test_curves_at_different_ts_are_not_taken_for_diverged_ones():
    tables = [losses(ts, ts, ts).assign(a=n) for n in (3, 5) for ts in [np.linspace(0, 1, n)]]
    for judge in (mcu.is_connected, connectivity.measures):
        with pytest.raises(ValueError, match="the same ts"):
            judge(pd.concat(tables))


def test_no_metric_loads_scikit_learn_before_it_is_asked_for():
    names = [f"mcu_lite.metrics.{m.name}" for m in iter_modules(metrics.__path__)]
    code = f"import sys, {', '.join(names)}; sys.exit('sklearn' in sys.modules)"
    assert len(names) > 5 and subprocess.run([sys.executable, "-c", code]).returncode == 0
