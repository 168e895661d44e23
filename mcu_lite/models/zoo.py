"""Small architectures that train in seconds; any other `nn.Module` works as well."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


def mlp(inputs: int = 64, classes: int = 10, width: int = 128) -> nn.Module:
    """Two hidden layers of ReLU units on flattened inputs.

    Parameters
    ----------
    inputs, classes, width : int
        Numbers in an input, outputs, and units of each hidden layer.

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


class Block(nn.Module):
    """Attention to what stands before, then two dense layers, each added to its input.

    The attention is written out: `torch.func.vmap` runs fused attention model by model, and
    ``softmax`` takes six times as long as its definition on rows as short as these, on a CPU.
    Its powers are those of 2: there, ``exp`` of minus infinity takes ten times as long.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.look, self.gather = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return states shaped as `x`, (n, L, width)."""
        n, length, width = x.shape
        heads = self.look(self.before(x)).view(n, length, 3 * self.heads, -1).transpose(1, 2)
        query, key, value = heads.chunk(3, 1)
        later = torch.full((length, length), -torch.inf, device=x.device).triu(1)
        scale = math.sqrt(self.heads / width) / math.log(2)
        score = query @ key.transpose(-1, -2) * scale + later
        weight = (score - score.detach().amax(-1, keepdim=True)).exp2()
        seen = weight / weight.sum(-1, keepdim=True) @ value
        x = x + self.gather(seen.transpose(1, 2).reshape(n, length, width))
        return x + self.narrow(self.widen(self.after(x)).relu())


class Transformer(nn.Module):
    """Predict the next token from those before it; some 50,000 parameters."""

    def __init__(
        self,
        vocabulary: int = 115,
        longest: int = 16,
        width: int = 40,
        layers: int = 2,
        heads: int = 4,
    ) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(vocabulary, width), nn.Embedding(longest, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits (n, L, vocabulary) of the token after each of `tokens` (n, L)."""
        places = torch.arange(tokens.shape[-1], device=tokens.device)
        return self.head(self.norm(self.blocks(self.words(tokens) + self.places(places))))


class ChannelsLast(nn.Module):
    """Lay the numbers of each pixel side by side: convolutions are faster so, on any device."""

    def forward(self, x: Tensor) -> Tensor:
        """Return `x`, (n, C, H, W), in this layout."""
        return x.contiguous(memory_format=torch.channels_last)


def resnet(
    classes: int = 10, channels: int = 3, width: int = 64, blocks: Sequence[int] = (2, 2, 2, 2)
) -> nn.Module:
    """Residual network with batch norm for small images; by default torchvision's ResNet-18.

    Its beginning is that for CIFAR: one 3x3 convolution, no pooling. `blocks` are the residual
    blocks of each stage, `width` the channels of the first, doubled at each further one.
    """
    from torchvision.models.resnet import BasicBlock, conv1x1, conv3x3

    layers = [ChannelsLast(), conv3x3(channels, width), nn.BatchNorm2d(width)]
    layers.append(nn.ReLU(inplace=True))
    before = width
    for stage, number in enumerate(blocks):
        after = width * 2**stage
        for block in range(number):
            stride, way = (2 if stage and not block else 1), None
            if stride > 1:
                way = nn.Sequential(conv1x1(before, after, stride), nn.BatchNorm2d(after))
            layers.append(BasicBlock(before, after, stride, way))
            before = after
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes)
    net = nn.Sequential(*layers, *head)
    # A stack of convolutions would be one with groups, for which no library has fast code.
    net.vectorised = False
    return net


def resnet_small() -> nn.Module:
    """Two residual blocks of 16 and 32 channels, for 8 classes: what two cores can train."""
    return resnet(8, width=16, blocks=(1, 1))


MODELS = {"mlp": mlp, "transformer": Transformer, "resnet18": resnet, "resnet_small": resnet_small}
