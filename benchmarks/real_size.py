"""Make the run that the chapter "At real size" shows, on a GPU, and keep its results."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import pandas as pd
import torch

import mcu_lite as mcu
from mcu_lite.book.photograph_study import on_photographs
from mcu_lite.studies.conditions import ORACLE
from mcu_lite.unlearning.methods import RECIPE

MEASURED = Path(__file__).resolve().parents[1] / "mcu_lite" / "book" / "measured"
# Photographs that were cropped and flipped are hardly remembered after so few epochs.
SETTING = mcu.Setting(
    seeds=3,
    ts=11,
    epochs=10,
    task="cifar10",
    model="resnet18",
    options={"train": 25_000, "augment": None},
    metrics=("loss", "accuracy", "mia_auc"),
    device="cuda",
)
FORGETTING = (
    *((lr, 90, 0.1) for lr in (1e-4, 3e-4, 1e-3, 3e-3)),
    *((1e-3, 90, 0.3), (1e-3, 90, 1.0), (3e-4, 180, 1.0), (1e-3, 180, 0.3)),
)
TRIALS = [{"method": m} | dict(zip(RECIPE, v)) for m in ("npo", "graddiff") for v in FORGETTING]
TRIALS += [
    {"method": "finetune", "lr": lr, "steps": steps}
    for lr, steps in ((1e-3, 90), (2e-3, 90), (3e-3, 90), (1e-2, 90), (1e-3, 180), (2e-3, 180))
]


def main() -> None:
    """Tune on seeds of their own, or make the run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", choices=["tune", "run"])
    parser.add_argument("--out", type=Path, default=MEASURED)
    given = parser.parse_args()
    given.out.mkdir(exist_ok=True)
    with torch.autocast(SETTING.device, torch.bfloat16):
        {"tune": tune, "run": run}[given.job](SETTING, given.out)


def tune(setting: mcu.Setting, out: Path) -> None:
    """Measure how near to the oracle each recipe comes, as the chapter on tuning does."""
    task = mcu.load_task(setting.task, mcu.TUNING_SEEDS[:1], **setting.options).to(setting.device)
    theta = mcu.train(task, setting.model, epochs=setting.epochs)
    oracle = mcu.unlearn(theta, task, "retrain", seed=ORACLE.seed, epochs=setting.epochs)
    lines = [{"method": "original"} | _read(theta, task, oracle)]
    lines.append({"method": "retrain"} | _read(oracle, task, oracle))
    for trial in TRIALS:
        lines.append(trial | _read(mcu.unlearn(theta, task, **trial), task, oracle))
    _keep(pd.DataFrame(lines), out / "tuning.csv")
    print(pd.DataFrame(lines).round(4).to_string(index=False))


def _read(stack: mcu.Stack, task: mcu.Task, oracle: mcu.Stack) -> dict[str, float]:
    table = mcu.evaluate(stack, task, metrics=["accuracy", "js_to_oracle"], oracle=oracle)
    value = table.set_index(["metric", "split"]).value
    return {f"{metric} {split}": value[metric, split] for metric, split in value.index}


def run(setting: mcu.Setting, out: Path) -> None:
    """Train, unlearn, fit and measure, and write down after each path what there is."""
    conditions, took = on_photographs(), {}
    ends = dict.fromkeys([mcu.Endpoint("original"), ORACLE])
    ends |= dict.fromkeys(end for c in conditions for end in (c.a, c.b))
    stacks = {}
    for end in ends:
        began = time.perf_counter()
        stacks |= mcu.endpoints([end], setting)
        took[str(end)] = time.perf_counter() - began
        print(f"{end}: {took[str(end)]:.1f} s", flush=True)
    tables = []
    for condition in conditions:
        began = time.perf_counter()
        tables.append(mcu.run([condition], setting))
        took[" ".join(condition.columns.values())] = time.perf_counter() - began
        print(f"{condition.columns}: {time.perf_counter() - began:.1f} s", flush=True)
        _keep(pd.concat(tables), out / "real-size.csv")
        about = {
            "device": torch.cuda.get_device_name() if setting.device == "cuda" else "CPU",
            "torch": torch.__version__,
            "setting": vars(setting),
            "parameters": stacks[ORACLE].architecture.size,
            "seconds": took,
        }
        (out / "real-size.json").write_text(
            json.dumps(about, indent=2, default=str), encoding="utf-8"
        )
    task = mcu.load_task(setting.task, setting.seeds, **setting.options).to(setting.device)
    given = {"metrics": [*setting.metrics, "js_to_oracle"], "oracle": stacks[ORACLE]}
    alone = (mcu.evaluate(s, task, **given).assign(model=str(end)) for end, s in stacks.items())
    _keep(pd.concat(alone), out / "real-size-ends.csv")


def _keep(table: pd.DataFrame, file: Path) -> None:
    table.to_csv(file, index=False, float_format="%.5g")


if __name__ == "__main__":
    main()
