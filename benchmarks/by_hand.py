"""What a reader would write instead: one module, one loader, one loop over seeds."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader, TensorDataset

import mcu_lite as mcu


def train_each_seed(task: mcu.Task, epochs: int) -> list[nn.Module]:
    """Train one module after the other, with the recipe of `mcu.train`."""
    inputs, labels = task.inputs[task.train], task.labels.gather(1, task.train)
    return [train_one(x, y, epochs) for x, y in zip(inputs, labels)]


def train_one(inputs: Tensor, labels: Tensor, epochs: int) -> nn.Module:
    module = mcu.mlp()
    loader = DataLoader(TensorDataset(inputs, labels), batch_size=64, shuffle=True)
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3)
    schedule = CosineAnnealingLR(optimizer, epochs * len(loader))
    for _ in range(epochs):
        for x, y in loader:
            step(module, optimizer, x, y)
            schedule.step()
    return module


def text_gradient(module: nn.Module, tokens: Tensor, labels: Tensor) -> Tensor:
    """Gradient of the mean over texts of the mean over their labelled tokens, (P,)."""
    module.zero_grad()
    lost = cross_entropy(module(tokens).flatten(0, 1), labels.flatten(), reduction="none")
    (lost.view(labels.shape).sum(1) / (labels >= 0).sum(1)).mean().backward()
    return torch.cat([p.grad.flatten() for p in module.parameters()])


def step(module: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
    optimizer.zero_grad()
    cross_entropy(module(x), y).backward()
    nn.utils.clip_grad_norm_(module.parameters(), 1.0)
    optimizer.step()


def take_steps(task: mcu.Task, steps: int, loader: bool) -> None:
    """Ordinary training steps on batches of 96, as many examples as a step of a curve sees."""
    module = mcu.mlp()
    optimizer = torch.optim.AdamW(module.parameters(), lr=5e-3)
    x, y = task.inputs[task.train[0]], task.labels[0, task.train[0]]
    batches = loaded_batches(x, y) if loader else indexed_batches(x, y)
    for _ in range(steps):
        step(module, optimizer, *next(batches))


def loaded_batches(x: Tensor, y: Tensor) -> Iterator[list[Tensor]]:
    loader = DataLoader(TensorDataset(x, y), batch_size=96, shuffle=True, drop_last=True)
    while True:
        yield from loader


def indexed_batches(x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    full = len(x) // 96 * 96
    while True:
        for chosen in torch.randperm(len(x))[:full].split(96):
            yield x[chosen], y[chosen]


def evaluate_line(
    a: nn.Module, b: nn.Module, task: mcu.Task, points: int, batch: int | None
) -> Tensor:
    """Loss and accuracy on the three splits at each point of a line, shape (points, 3, 2).

    The splits are loaded in batches, or forwarded whole where `batch` is None.
    """
    splits = [[part[0] for part in task.split(s)] for s in ("retain", "forget", "test")]
    start, end, module = a.state_dict(), b.state_dict(), mcu.mlp().eval()
    table = []
    for t in torch.linspace(0, 1, points).tolist():
        module.load_state_dict({k: (1 - t) * start[k] + t * end[k] for k in start})
        table.append([measure(module, x, y, batch) for x, y in splits])
    return torch.tensor(table)


@torch.no_grad()
def measure(module: nn.Module, x: Tensor, y: Tensor, batch: int | None) -> tuple[float, float]:
    loss = correct = 0.0
    batches = [(x, y)] if batch is None else DataLoader(TensorDataset(x, y), batch_size=batch)
    for inputs, labels in batches:
        logits = module(inputs)
        loss += cross_entropy(logits, labels, reduction="sum").item()
        correct += (logits.argmax(1) == labels).sum().item()
    return loss / len(y), correct / len(y)
