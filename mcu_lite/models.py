"""Two small architectures that train in seconds; any other `nn.Module` works as well."""

from __future__ import annotations

from torch import nn


def mlp(inputs: int = 64, classes: int = 10, width: int = 128) -> nn.Module:
    """Two hidden layers of `width` ReLU units on flattened inputs.

    Examples
    --------
    >>> mlp(inputs=30, classes=2, width=16)(torch.zeros(5, 30)).shape
    torch.Size([5, 2])
    """
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(inputs, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, classes),
    )


def cnn(classes: int = 10, width: int = 16) -> nn.Module:
    """Two 3x3 convolutions with GroupNorm on 8x8 grey images, shape (n, 1, 8, 8).

    GroupNorm keeps no running statistics, so a point of a curve is a complete model.

    Examples
    --------
    >>> cnn()(torch.zeros(5, 64)).shape
    torch.Size([5, 10])
    """
    return nn.Sequential(
        nn.Unflatten(-1, (1, 8, 8)),
        nn.Conv2d(1, width, 3, padding=1),
        nn.GroupNorm(4, width),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.GroupNorm(4, 2 * width),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * width, classes),
    )


MODELS = {"mlp": mlp, "cnn": cnn}
