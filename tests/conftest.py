import pytest
import torch

import mcu_lite as mcu

# Small models gain nothing from more threads, and several test processes share the cores.
torch.set_num_threads(1)


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
