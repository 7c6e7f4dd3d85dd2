"""Classifiers on top of a backbone: each family's own, with the parameter names that torchvision uses."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class ClassifierHead(nn.Module):
    """Feature levels -> logits (B, K): pools the last level and classifies the result.

    pool: (B, C, h, w) -> what the classifier expects; has no parameters.
    classifier: -> (B, K).
    name: what torchvision calls the classifier (`fc` or `classifier`).
    """

    def __init__(self, pool: nn.Module, classifier: nn.Module, *, name: str) -> None:
        super().__init__()
        self.classifier_name = name
        self.add_module("pool", pool)
        self.add_module(name, classifier)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Logits (B, K) of feature levels, finest first, of which the last is read."""
        pooled: Tensor = self.get_submodule("pool")(levels[-1])
        logits: Tensor = self.get_submodule(self.classifier_name)(pooled)
        return logits


def average_and_linear(
    channels: int, num_classes: int, dropout: float, *, std: float | None = None
) -> ClassifierHead:
    """Global average pooling, dropout and one linear layer called `fc`: ResNet, GoogLeNet, RegNet.

    Args:
        channels: of the last level.
        num_classes: K.
        dropout: probability in [0, 1).
        std: of the normal distribution of the first weights, with biases 0; None = PyTorch's default.
    """
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Dropout(dropout))
    return ClassifierHead(pool, linear(channels, num_classes, std=std), name="fc")


def linear(inputs: int, outputs: int, *, std: float | None = None) -> nn.Linear:
    """A fully connected layer; with `std`, weights are normal with that deviation and biases 0."""
    layer = nn.Linear(inputs, outputs)
    if std is not None:
        nn.init.normal_(layer.weight, std=std)
        nn.init.zeros_(layer.bias)
    return layer
