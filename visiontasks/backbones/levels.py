"""A backbone as a module: what all families share."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from visiontasks.errors import DataError

Stages = Sequence[Sequence[str]]  # for each level the dotted names of the layers that lead to it, in order


class BackboneModule(nn.Module):
    """The contract `visiontasks.types.Backbone` as an `nn.Module`: pictures -> feature levels.

    Level i is (B, channels[i], ~H/strides[i], ~W/strides[i]), finest first: for `resnet18` a picture of
    224x224 gives (B, 64, 112, 112), (B, 64, 56, 56), (B, 128, 28, 28), (B, 256, 14, 14), (B, 512, 7, 7).
    Strides are approximate where layers are not padded (alexnet: 224 -> 55, 27, 13, 6).

    A picture below `minimum_size` is refused: padding it in secret would shift each level against the picture
    that a decoder resizes to.

    ends: for each level the dotted name of the layer whose output it is.
    """

    def __init__(
        self,
        name: str,
        *,
        channels: Sequence[int],
        strides: Sequence[int],
        ends: Sequence[str],
        minimum_size: int = 1,
    ) -> None:
        super().__init__()
        assert len(channels) == len(strides) == len(ends)
        self.name = name
        self.ends = tuple(ends)
        self.channels = tuple(channels)
        self.strides = tuple(strides)
        self.minimum_size = minimum_size

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The feature levels of pictures.

        Args:
            images: (B, 3, H, W) float, normalised RGB; H and W at least `minimum_size`.

        Raises:
            DataError: the pictures are too small for this network.
        """
        height, width = images.shape[-2:]
        if min(height, width) < self.minimum_size:
            raise DataError(
                f"expected pictures of at least {self.minimum_size}x{self.minimum_size} pixels for the "
                f"backbone '{self.name}', found {height}x{width}; enlarge them, or take another backbone"
            )
        return self.levels(images)

    def levels(self, images: Tensor) -> tuple[Tensor, ...]:
        """`forward` without the check of the size; each family's own."""
        raise NotImplementedError


class CutNetwork(BackboneModule):
    """A feed-forward network of a library, cut into levels; its classifier is left behind.

    The layers keep their names (`layer1.0.conv1.weight`), so that the library's weights fit.

    stages: the layers from one level to the next; see `Stages`.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        stages: Stages,
        *,
        channels: Sequence[int],
        strides: Sequence[int],
        minimum_size: int = 1,
    ) -> None:
        ends = [stage[-1] for stage in stages]
        super().__init__(name, channels=channels, strides=strides, ends=ends, minimum_size=minimum_size)
        self.stages = tuple(tuple(stage) for stage in stages)
        for part in dict.fromkeys(layer.partition(".")[0] for stage in self.stages for layer in stage):
            self.add_module(part, network.get_submodule(part))

    def levels(self, images: Tensor) -> tuple[Tensor, ...]:
        """Run the layers in order; the output of the last layer of each stage is a level."""
        features, levels = images, []
        for stage in self.stages:
            for layer in stage:
                features = self.get_submodule(layer)(features)
            levels.append(features)
        return tuple(levels)


def numbered_stages(container: str, ends: Sequence[int]) -> Stages:
    """Stages of a network that is one `nn.Sequential`.

    Args:
        container: the attribute that holds it (`features`).
        ends: index of the layer after the last of each level.

    >>> numbered_stages("features", [2, 3])
    [['features.0', 'features.1'], ['features.2']]
    """
    starts = [0, *ends[:-1]]
    return [[f"{container}.{i}" for i in range(start, end)] for start, end in zip(starts, ends, strict=True)]
