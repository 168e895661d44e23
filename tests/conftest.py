import pytest

import mcu_lite as mcu


@pytest.fixture(scope="session")
def task():
    return mcu.load_task("digits", seeds=2)


@pytest.fixture(scope="session")
def theta(task):
    return mcu.train(task, epochs=30)


@pytest.fixture(scope="session")
def oracle(theta, task):
    return mcu.unlearn(theta, task, "retrain", epochs=30)


@pytest.fixture(scope="session")
def path(theta, task):
    a, b = (mcu.unlearn(theta, task, "npo", seed=seed) for seed in (0, 1))
    return mcu.connect(a, b, task, objective="npo", steps=30)
