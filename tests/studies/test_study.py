import math
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tqdm import tqdm

import mcu_lite as mcu
from mcu_lite.studies import conditions, study
from mcu_lite.studies.results import ResultStore, cache_folder

SETTING = mcu.Setting(seeds=2, ts=3, epochs=2)
CONDITIONS = [
    mcu.Condition("Rand", mcu.Endpoint(m, 0), mcu.Endpoint(m, 1), curve)
    for m in ("npo", "graddiff", "finetune")
    for curve in ("linear", "bezier")
]
RUN = "import sys; sys.path.insert(0, 'tests/studies'); import test_study as t; "
RUN += "t.everything(sys.argv[1])"


def everything(folder):
    return mcu.run(CONDITIONS, SETTING, cache=folder)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A cache that holds every condition, and the table that came out of it."""
    folder = tmp_path_factory.mktemp("cache")
    return folder, everything(folder)


def entries(folder):
    return {p.name: p.stat().st_mtime_ns for p in folder.iterdir() if p.suffix != ".part"}


def test_the_table_is_what_the_functions_measure(finished):
    """Although a study measures the ends once, for all curves that share them."""
    _, table = finished
    task = mcu.load_task("digits", seeds=2)
    theta = mcu.train(task, epochs=2)
    a, b = (mcu.unlearn(theta, task, "npo", seed=s) for s in (0, 1))
    path = mcu.connect(a, b, task, objective="npo")
    oracle = mcu.unlearn(theta, task, "retrain", seed=conditions.ORACLE.seed, epochs=2)
    expected = mcu.evaluate(path, task, ts=3, oracle=oracle)
    own = table.query("a == 'npo seed=0' and curve == 'bezier'")[list(expected)]
    pd.testing.assert_frame_equal(own.reset_index(drop=True), expected, rtol=1e-3, atol=1e-4)
    assert table.groupby(["a", "b", "curve"]).ngroups == len(CONDITIONS)
    assert not table.duplicated().any()


def test_conditions_fitted_together_equal_conditions_fitted_alone(finished, tmp_path):
    _, together = finished
    chosen = CONDITIONS[3]
    alone = mcu.run([chosen], SETTING, cache=tmp_path)
    own = together[(together.a == str(chosen.a)) & (together.curve == chosen.curve)]
    assert own.value.to_numpy() == pytest.approx(alone.value.to_numpy(), rel=1e-4, abs=1e-4)


def test_a_second_run_computes_nothing(finished, monkeypatch):
    folder, table = finished
    before = entries(folder)
    monkeypatch.setattr(study, "train", None)
    monkeypatch.setattr(study, "unlearn", None)
    monkeypatch.setattr(study, "connect", None)
    pd.testing.assert_frame_equal(everything(folder), table)
    assert entries(folder) == before


def test_a_killed_study_resumes_where_it_was(finished, tmp_path):
    running = subprocess.Popen([sys.executable, "-c", RUN, str(tmp_path)])
    while len(kept := entries(tmp_path)) < 4:
        assert running.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    kept = entries(tmp_path)
    assert len(kept) < len(entries(finished[0]))
    pd.testing.assert_frame_equal(everything(tmp_path), finished[1])
    assert kept.items() <= entries(tmp_path).items()


def test_two_processes_share_one_folder(finished, tmp_path):
    both = [subprocess.Popen([sys.executable, "-c", RUN, str(tmp_path)]) for _ in range(2)]
    assert [one.wait() for one in both] == [0, 0]
    assert entries(tmp_path).keys() == entries(finished[0]).keys()
    assert not list(tmp_path.glob("*.part"))
    pd.testing.assert_frame_equal(everything(tmp_path), finished[1])


@pytest.mark.parametrize("place", [0, 40, -1])
def test_a_flipped_byte_is_noticed_and_computed_again(finished, place):
    folder, table = finished
    name = store().table_key(CONDITIONS[0])
    content = bytearray((folder / name).read_bytes())
    content[place] ^= 1
    (folder / name).write_bytes(content)
    with pytest.warns(UserWarning, match="damaged"):
        again = everything(folder)
    pd.testing.assert_frame_equal(again, table, rtol=1e-4, atol=1e-4)


def test_models_that_are_damaged_are_computed_again(finished):
    folder, end = finished[0], mcu.Endpoint("npo")
    file = folder / store().endpoint_key(end)
    before = mcu.endpoints([end], SETTING, cache=folder)[end]
    file.write_bytes(file.read_bytes()[:-9] + bytes(9))
    with pytest.warns(UserWarning, match=f"{file.name} cannot be read and is computed again"):
        again = mcu.endpoints([end], SETTING, cache=folder)[end]
    torch.testing.assert_close(again.rows, before.rows, rtol=1e-4, atol=1e-4)
    assert ResultStore(SETTING, folder).load(file.name, before.architecture)


def test_an_empty_entry_is_noticed(tmp_path):
    results = ResultStore(SETTING, tmp_path)
    results.save("one", pd.DataFrame({"x": [1]}))
    (tmp_path / "one").write_bytes(b"")
    with pytest.warns(UserWarning, match="damaged"):
        assert results.load("one") is None


def store(**changes):
    return ResultStore(replace(SETTING, **changes), Path())


def test_changed_parameters_have_another_key():
    end = mcu.Endpoint("npo")
    keys = {
        store().endpoint_key(end),
        store().endpoint_key(mcu.Endpoint("npo", lr=1e-2)),
        store().endpoint_key(mcu.Endpoint("npo", seed=1)),
        store(seeds=3).endpoint_key(end),
        store(options={"forget": 0.2}).endpoint_key(end),
        store(epochs=3).endpoint_key(end),
    }
    assert len(keys) == 6


class Scaled:
    def __init__(self, by):
        self.by = by

    def __call__(self, x, rng):
        return x * self.by

    scaled = __call__


@dataclass
class Named(Scaled):
    by: float


@dataclass
class OtherNamed(Named):
    source: str = ""


def scaled(by):
    def augment(x, rng, by=by):
        return x * by

    return augment


def executed(text):
    names = {}
    exec(f"def augment(x, rng):\n    return {text}", names)
    return names["augment"]


def augment_key(augment):
    own = mcu.Setting(task="patches", options={"augment": augment})
    return ResultStore(own, Path()).endpoint_key(mcu.Endpoint("original"))


def test_functions_that_differ_have_different_keys():
    pairs = (
        [(lambda x, rng: x * 0), (lambda x, rng: x * 1)],
        [scaled(0), scaled(1)],
        [executed("x * 0"), executed("x * 1")],
        [executed("x.sin()"), executed("x.cos()")],
        [Named(0.0), Named(1.0)],
        [Named(0.0).scaled, Named(1.0).scaled],
        [OtherNamed(0.0, "a"), OtherNamed(0.0, "b")],
        [partial(scaled, 0), partial(scaled, 1)],
    )
    for one, other in pairs:
        assert augment_key(one) != augment_key(other)
    assert augment_key(scaled(1)) == augment_key(scaled(1))
    assert augment_key(executed("x * 1")) == augment_key(executed("x * 1"))
    assert augment_key(Named(1.0)) == augment_key(Named(1.0))


@pytest.mark.parametrize("option", [Scaled(1), Scaled(1).scaled, object(), [torch.ones(2)]])
def test_an_option_whose_state_has_no_name_is_refused(option):
    with pytest.raises(ValueError, match="augment must be a plain value, function"):
        augment_key(option)


def test_an_entry_belongs_to_its_key(tmp_path):
    results = ResultStore(SETTING, tmp_path)
    for key in "ab":
        results.save(key, pd.DataFrame({"value": [key]}))
    (tmp_path / "a").rename(tmp_path / "c")
    (tmp_path / "b").rename(tmp_path / "a")
    (tmp_path / "c").rename(tmp_path / "b")
    for key in "ab":
        with pytest.warns(UserWarning, match="damaged"):
            assert results.load(key) is None


@pytest.mark.parametrize("content", [b"{}", b"[]", b"null", b"3"])
def test_an_entry_that_holds_no_table_is_computed_again(content, tmp_path):
    results = ResultStore(SETTING, tmp_path)
    (tmp_path / "key").write_bytes(sha256(b"key" + content).digest() + content)
    with pytest.warns(UserWarning, match="computed again"):
        assert results.get("key", lambda: pd.DataFrame({"value": [1]})).value.tolist() == [1]


def test_a_folder_in_place_of_an_entry_is_moved_aside(tmp_path):
    results = ResultStore(SETTING, tmp_path)
    (tmp_path / "key").mkdir()
    with pytest.warns(UserWarning, match="computed again"):
        results.get("key", lambda: pd.DataFrame({"value": [1]}))
    assert results.load("key").value.tolist() == [1] and (tmp_path / "key.folder").is_dir()


def test_equal_settings_have_equal_keys():
    def key(seeds, ts, curriculum, metrics):
        ends = [mcu.Endpoint("npo", seed, curriculum=curriculum) for seed in (0, np.int64(1))]
        setting = {"seeds": seeds, "ts": ts, "metrics": metrics, "options": {"noise": [ts]}}
        return store(**setting).table_key(mcu.Condition("any", *ends))

    plain = key(2, 5, 1.0, ["loss"])
    assert key(np.int64(2), np.int64(5), True, ("loss",)) == plain
    assert key([0, 1], 5, np.float64(1), ["loss"]) == plain
    assert key([1, 0], 5, 1.0, ["loss"]) != plain
    assert hash(mcu.Setting(options={"forget": 0.2}, seeds=[1, 2]))


@pytest.mark.parametrize(
    ("changes", "names", "trained", "fitted", "stored"),
    [
        ({"ts": 5}, "Rand", 0, 0, 1),
        ({"metrics": ["accuracy"]}, "Rand", 0, 0, 3),
        ({"steps": 2}, "Rand", 0, 1, 2),
        ({}, "another name", 0, 0, 0),
        ({"epochs": 1}, "Rand", 4, 1, 8),
    ],
)
def test_nothing_is_trained_again_for_what_it_does_not_depend_on(
    changes, names, trained, fitted, stored, tmp_path, monkeypatch
):
    ends = mcu.Endpoint("npo"), mcu.Endpoint("npo", seed=1)
    small = mcu.Setting(seeds=1, ts=3, epochs=2, steps=1)
    mcu.run([mcu.Condition("Rand", *ends)], small, cache=tmp_path)
    before, calls = entries(tmp_path), []
    for name in ("train", "unlearn", "connect"):
        real = getattr(study, name)
        spy = partial(lambda real, name, *a, **k: calls.append(name) or real(*a, **k), real, name)
        monkeypatch.setattr(study, name, spy)
    own = replace(small, **changes)
    table = mcu.run([mcu.Condition(names, *ends)], own, cache=tmp_path)
    assert (len(calls) - calls.count("connect"), calls.count("connect")) == (trained, fitted)
    assert before.items() <= entries(tmp_path).items()
    assert len(entries(tmp_path)) == len(before) + stored
    fresh = mcu.run([mcu.Condition(names, *ends)], own, cache=tmp_path / "fresh")
    pd.testing.assert_frame_equal(table, fresh)


def test_precision_and_device_are_part_of_every_key():
    keys = {store(device=d).endpoint_key(mcu.Endpoint("original")) for d in ("cpu", "cuda")}
    with torch.autocast("cpu", torch.bfloat16):
        keys.add(store().endpoint_key(mcu.Endpoint("original")))
    torch.set_default_dtype(torch.float64)
    keys.add(store().endpoint_key(mcu.Endpoint("original")))
    torch.set_default_dtype(torch.float32)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium" if before != "medium" else "high")
    keys.add(store().endpoint_key(mcu.Endpoint("original")))
    torch.set_float32_matmul_precision(before)
    assert len(keys) == 5 and store().endpoint_key(mcu.Endpoint("original")) in keys


def test_code_of_ones_own_is_part_of_the_keys_of_what_it_makes(monkeypatch):
    end = mcu.Endpoint("npo")
    path = mcu.Condition("Met", end, mcu.Endpoint("scrub"))

    def keys():
        own = store()
        return [
            own.endpoint_key(mcu.Endpoint("original")),
            own.endpoint_key(end),
            own.path_key(path),
            own.table_key(path),
        ]

    def changed(registry, name, value):
        before = keys()
        with monkeypatch.context() as patch:
            patch.setitem(registry, name, value)
            return [old != new for old, new in zip(before, keys())]

    def newer(x, y=None):
        return x

    newer.version = "2"
    npo, scrub, loss = mcu.METHODS["npo"], mcu.METHODS["scrub"], mcu.METRICS["loss"]
    assert changed(mcu.METHODS, "npo", replace(npo, lr=1e-2)) == [False, True, True, True]
    assert changed(mcu.METHODS, "npo", replace(npo, losses=newer)) == [False, True, True, True]
    assert changed(mcu.METHODS, "scrub", replace(scrub, lr=1e-2)) == [False, False, True, True]
    assert changed(mcu.METRICS, "loss", replace(loss, function=newer)) == [False] * 3 + [True]
    assert all(changed(mcu.MODELS, "mlp", partial(mcu.mlp, width=8)))
    assert all(changed(mcu.TASKS, "digits", newer))
    first = monkeypatch.setitem(mcu.TASKS, "digits", newer) or keys()
    newer.version = "3"
    assert keys()[0] != first[0]


def test_a_worker_with_other_code_computes_nothing(tmp_path, monkeypatch):
    results, end = ResultStore(SETTING, tmp_path), mcu.Endpoint("npo")
    own = [results.endpoint_key(end)]
    with monkeypatch.context() as patch:
        patch.setitem(mcu.METHODS, "npo", replace(mcu.METHODS["npo"], lr=1.0))
        with pytest.raises(RuntimeError, match="something else than its caller"):
            study._work(end, own, results, 0)
        patch.delitem(mcu.METHODS, "npo")
        with pytest.raises(RuntimeError, match="unknown method 'npo'.*import the module"):
            study._work(end, own, results, 0)
    assert not entries(tmp_path)


def test_threads_give_the_same_table_and_leave_the_number_of_threads(finished, tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with ThreadPoolExecutor(2) as pool:
            table = mcu.run(CONDITIONS, SETTING, cache=tmp_path, executor=pool)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    pd.testing.assert_frame_equal(table, finished[1], rtol=1e-4, atol=1e-4)


def test_an_executor_gives_the_same_table(finished, tmp_path):
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        table = mcu.run(CONDITIONS, SETTING, cache=tmp_path, executor=pool)
    pd.testing.assert_frame_equal(table, finished[1], rtol=1e-4, atol=1e-4)


def test_a_cluster_loses_a_worker_and_nothing_else(finished, tmp_path):
    distributed = pytest.importorskip("distributed")
    # As on a machine with several GPUs: each worker knows its own by its environment.
    own = [{"nthreads": 1, "env": {"CUDA_VISIBLE_DEVICES": str(i)}} for i in range(2)]
    workers = {i: {"cls": distributed.Nanny, "options": options} for i, options in enumerate(own)}
    scheduler = {"cls": distributed.Scheduler, "options": {"dashboard_address": ":0"}}
    cluster = distributed.SpecCluster(workers, scheduler)
    with cluster, distributed.Client(cluster) as client:
        assert client.dashboard_link.endswith("/status")
        seen = client.run(lambda: os.environ["CUDA_VISIBLE_DEVICES"])
        assert sorted(seen.values()) == ["0", "1"]
        victim = next(iter(cluster.workers.values()))
        killer = threading.Thread(target=kill_midway, args=(tmp_path, victim.pid))
        killer.start()
        table = mcu.run(CONDITIONS, SETTING, cache=tmp_path, executor=client.get_executor())
        killer.join()
    pd.testing.assert_frame_equal(table, finished[1], rtol=1e-4, atol=1e-4)
    kept = dict(
        line.split() for line in (tmp_path / "kept").read_text(encoding="utf-8").splitlines()
    )
    assert kept and all(entries(tmp_path)[name] == int(when) for name, when in kept.items())


@pytest.mark.parametrize("pool", [None, ThreadPoolExecutor(1)])
def test_a_bar_counts_what_is_finished_with_any_executor(pool, tmp_path, monkeypatch, capsys):
    now = {"delay": 0, "mininterval": 0, "file": sys.stderr, "disable": False}
    monkeypatch.setattr(study, "tqdm", lambda *given, **options: tqdm(*given, **options | now))
    mcu.run(CONDITIONS[:1], SETTING, cache=tmp_path, executor=pool)
    shown = capsys.readouterr().err
    assert "endpoints" in shown and "3/3" in shown and "paths" in shown


def kill_midway(folder, pid):
    """Kill a worker once three results are kept; write down which, and when they were written."""
    while len(kept := entries(folder)) < 3:
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    (folder / "kept").write_text(
        "".join(f"{name} {when}\n" for name, when in kept.items()), encoding="utf-8"
    )


def test_the_original_can_be_an_end(tmp_path):
    line = mcu.Condition("original", mcu.Endpoint("original"), mcu.Endpoint("npo"), "linear")
    table = mcu.run([line], SETTING, cache=tmp_path)
    task = mcu.load_task("digits", seeds=2)
    expected = mcu.evaluate(mcu.train(task, epochs=2), task, metrics=["loss"]).value
    own = table.query("t == 0 and metric == 'loss'").value
    assert own.to_numpy() == pytest.approx(expected.to_numpy(), rel=1e-4)


def test_endpoints_are_the_models_of_the_study(finished):
    folder, _ = finished
    end = mcu.Endpoint("npo", 1)
    stack = mcu.endpoints([end], SETTING, cache=folder)[end]
    task = mcu.load_task("digits", seeds=2)
    expected = mcu.unlearn(mcu.train(task, epochs=2), task, "npo", seed=1)
    torch.testing.assert_close(stack.rows, expected.rows, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(stack.origin.rows, expected.origin.rows, rtol=1e-4, atol=1e-4)


PAPER = {
    "Rand": lambda a, b: (a.method, a.seed != b.seed) == (b.method, True),
    "Met": lambda a, b: a.method != b.method,
    "CL": lambda a, b: (a.curriculum, b.curriculum, a.order, b.order) == (0, 1, 1, 1),
    "CL–CL": lambda a, b: a.curriculum == b.curriculum == 1 and a.seed != b.seed,
    "SO": lambda a, b: (a.curriculum, b.curriculum, a.order, b.order) == (0, 0, 1, 2),
    "SO–SO": lambda a, b: a.order == b.order == 2 and a.seed != b.seed,
    "CL×SO": lambda a, b: {a.curriculum, b.curriculum} <= {0, 1} and (a != b),
    "Oracle": lambda a, b: a.method in ("retrain", "retrain_same"),
    "Original": lambda a, b: a.method == "original",
}


@pytest.mark.parametrize("name", PAPER)
def test_the_grid_has_every_row_of_the_papers_table(name):
    own = [c for c in mcu.grid() if c.name == name]
    methods = {c.b.method for c in own} & set(mcu.COMPARED)
    assert {c.curve for c in own} == {"linear", "bezier"}
    assert all(PAPER[name](c.a, c.b) for c in own)
    # Of all pairs the first method is never second.
    assert methods == set(mcu.COMPARED[name == "Met" :])
    settings = {(c.a.curriculum, c.a.order, c.b.curriculum, c.b.order) for c in own}
    assert name != "CL×SO" or len(settings) == 4
    assert name != "Met" or len(own) == 2 * math.comb(len(mcu.COMPARED), 2)


def test_the_default_folder_comes_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("MCU_LITE_CACHE", str(tmp_path / "here"))
    # As for a user without a home, who needs none.
    monkeypatch.setattr(Path, "home", lambda: pytest.fail("nobody needs it"))
    assert cache_folder(tmp_path / "given") == tmp_path / "given"
    assert cache_folder() == tmp_path / "here"


def test_bad_input_is_named(tmp_path):
    with pytest.raises(ValueError, match="at least one Condition"):
        mcu.run([], SETTING, cache=tmp_path)
    with pytest.raises(ValueError, match="'npo'"):
        mcu.Endpoint("wish")
    with pytest.raises(TypeError, match="a must be Endpoint, got 'npo'"):
        mcu.Condition("x", "npo", mcu.Endpoint())
    for wrong in ({"seeds": 2.5}, {"ts": 3.5}, {"steps": "many"}):
        with pytest.raises((TypeError, ValueError), match=f"{next(iter(wrong))} must be"):
            mcu.Setting(**wrong)
    with pytest.raises(ValueError, match="'linear'"):
        mcu.Condition("x", mcu.Endpoint(), mcu.Endpoint(), "circle")
    with pytest.raises(ValueError, match="'book'"):
        mcu.load_profile("huge")
    for wrong in ({"seeds": 0}, {"epochs": -1}, {"steps": -1}, {"metrics": "loss"}):
        with pytest.raises((TypeError, ValueError), match=f"{next(iter(wrong))}.* must be"):
            mcu.Setting(**wrong)
    with pytest.raises(ValueError, match="unknown device 'cdua'"):
        mcu.Setting(device="cdua")
    with pytest.raises(ValueError, match=r"options must be .* arrays \['forget'\]"):
        mcu.Setting(options={"forget": np.ones(2)})
    for wrong in ({"model": "x"}, {"metrics": ["x"]}, {"options": {"x": 1}}):
        with pytest.raises(ValueError, match="unknown .* 'x'"):
            mcu.Setting(**wrong)
    for wrong in (
        {"order": 3},
        {"curriculum": -1},
        {"lr": 0.0},
        {"steps": 0},
        {"forget_weight": -1},
        {"seed": -1},
        {"lr": np.inf},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            mcu.Endpoint("npo", **wrong)
    for wrong in ({"order": 2}, {"curriculum": 1.0}, {"steps": 5}):
        with pytest.raises(ValueError, match="'retrain' retrains"):
            mcu.Endpoint("retrain", **wrong)
    with pytest.raises(ValueError, match="unknown metric 'acc'"):
        mcu.run(CONDITIONS[:1], mcu.Setting(metrics=["acc"]), cache=tmp_path / "none")
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match="cannot be written"):
        mcu.run(CONDITIONS, SETTING, cache=tmp_path / "file" / "below")
    if os.geteuid() != 0:
        tmp_path.chmod(0o500)
        with pytest.raises(ValueError, match="cannot be written"):
            cache_folder(tmp_path)


def test_an_option_that_is_the_default_makes_no_other_study():
    plain, said = mcu.Setting(), mcu.Setting(options={"forget": 0.1, "forget_class": None})
    assert said == plain
    other = mcu.Setting(options={"forget": 0.2, "train": 600})
    assert other.options == {"forget": 0.2}
    small = mcu.Setting(task="patches", options={"size": 8, "noise": 0.1})
    assert small.options == {"noise": 0.1}, "what a task passes on has no default that is known"


def test_a_setting_names_a_task_that_exists():
    with pytest.raises(ValueError, match="task"):
        mcu.Setting(task="digit")


def test_a_curve_with_a_lost_end_is_lost_as_a_whole(tmp_path):
    lost = mcu.Endpoint("finetune", lr=1e30, steps=3)
    pair = mcu.Condition("Met", mcu.Endpoint("npo"), lost, "linear")
    alone = mcu.Condition("Original", mcu.Endpoint("original"), mcu.Endpoint("npo"), "linear")
    table = mcu.run([pair, alone], SETTING, cache=tmp_path)
    assert table[table.condition == "Met"].value.isna().all()
    assert table[table.condition == "Original"].value.notna().all()


def test_a_curve_is_measured_between_its_ends():
    with pytest.raises(ValueError, match="ts must be at least 3"):
        mcu.Setting(ts=2)


def test_a_task_is_loaded_once_for_all_steps_until_it_is_another(tmp_path):
    @mcu.task("counted")
    def counted(seeds, train=60):
        with (tmp_path / "made").open("a", encoding="utf-8") as file:
            print(train, file=file)
        return mcu.load_task("digits", seeds, train=train)

    try:
        pair = mcu.Condition("Rand", mcu.Endpoint("npo"), mcu.Endpoint("npo", seed=1), "linear")
        for train in (60, 60, 80):
            setting = mcu.Setting(
                seeds=1, ts=3, epochs=1, steps=1, task="counted", options={"train": train}
            )
            mcu.run([pair], setting, cache=tmp_path / "cache")
        assert (tmp_path / "made").read_text(encoding="utf-8").split() == ["60", "80"]
    finally:
        del mcu.TASKS["counted"]
