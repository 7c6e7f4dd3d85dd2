"""`visiontasks inspect`: what a network is made of, layer by layer."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import click

from visiontasks.cli.options import json_option
from visiontasks.errors import UsageError, unknown_name


@click.command("inspect")
@click.argument("network", metavar="WEIGHTS|BACKBONE")
@click.option(
    "--size", help="Height and width of the picture, as 224x224. [default: the model's own, or 224x224]"
)
@click.option(
    "--all", "all_layers", is_flag=True, help="List every layer; else those with weights, and pools."
)
@json_option
def command(network: str, size: str | None, all_layers: bool, as_json: bool) -> None:
    """Layer table: output size, kernel, stride, parameters, receptive field, multiply-adds.

    A BACKBONE is shown with the classifier that it was published with (1000 classes).

    \b
    visiontasks inspect resnet50
    visiontasks inspect runs/classification/cifar10 --size 64x64
    """
    wanted = parse_size(size) if size is not None else None
    from visiontasks import backbones
    from visiontasks.ops.layers import layer_table

    if network in backbones.names() or network.startswith(backbones.TIMM_PREFIX):
        table = layer_table(_whole_network(network), wanted or (224, 224))
    else:
        from visiontasks import api
        from visiontasks.io.weights import SHORT_NAMES, bundled_weights
        from visiontasks.types import Batch, ImageInfo

        known, path = [*bundled_weights(), *SHORT_NAMES, *backbones.names()], Path(network)
        if network == path.stem and network not in known and ":" not in network and not path.exists():
            raise UsageError(unknown_name("network", network, known))
        opened = api.load(network, device="cpu", precision="fp32").opened
        height, width = wanted or opened.input.size
        info = ImageInfo(0, height, width, height, width)
        table = layer_table(
            opened.network, (height, width), lambda images: Batch(images, [info]), device="cpu"
        )
    if as_json:
        click.echo(json.dumps(table.to_json()))
        return
    _print(network, table, all_layers)


def _whole_network(name: str) -> Any:
    """A backbone with the classifier that it was published with (1000 classes); no weights are made."""
    import torch

    from visiontasks import backbones

    with torch.device("meta"):
        backbone = backbones.build_backbone(name)
        if name.startswith(backbones.TIMM_PREFIX):
            return backbone
        return torch.nn.Sequential(
            OrderedDict(backbone=backbone, head=backbones.build_classifier_head(name, backbone, 1000))
        )


def parse_size(text: str) -> tuple[int, int]:
    """`480x640` -> (480, 640); `224` -> (224, 224). Raises: UsageError."""
    parts = text.lower().split("x")
    if len(parts) not in (1, 2) or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(f"expected --size HEIGHTxWIDTH, for instance 480x640, found '{text}'")
    return int(parts[0]), int(parts[-1])


def _print(name: str, table: Any, all_layers: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    grid = Table(
        title=f"{name} at {table.size[0]}x{table.size[1]}", box=None, header_style="bold", pad_edge=False
    )
    for column in (
        "layer",
        "kind",
        "output",
        "kernel",
        "stride",
        "padding",
        "parameters",
        "field",
        "step",
        "MACs",
    ):
        grid.add_column(column, justify="left" if column in ("layer", "kind") else "right")
    for row in table.rows:
        if all_layers or row.parameters or row.kernel is not None or row.kind == "cat":
            grid.add_row(
                row.name,
                row.kind,
                _pair(row.output),
                _pair(row.kernel),
                _pair(row.stride),
                _pair(row.padding),
                f"{row.parameters:,}" if row.parameters else "",
                "all" if row.receptive_field is None else _pair(row.receptive_field),
                _pair(row.cumulative_stride),
                f"{row.macs:,}" if row.macs else "",
            )
    console = Console(width=None if Console().is_terminal else 160)
    console.print(grid)
    field = "the whole picture" if table.receptive_field is None else f"{_pair(table.receptive_field)} pixels"
    if table.global_from is not None and table.receptive_field is not None:
        field += f"; from {table.global_from} on the whole picture (global pooling or squeeze-excitation)"
    console.print(
        f"{table.parameters / 1e6:.2f} M parameters, {table.macs / 1e9:.3f} G multiply-adds, "
        f"receptive field {field}",
        highlight=False,
    )


def _pair(value: tuple[int, ...] | None) -> str:
    """`(3, 3)` -> `3`, `(3, 1)` -> `3x1`; nothing for None."""
    if value is None:
        return ""
    return str(value[0]) if len(value) == 2 and value[0] == value[1] else "x".join(map(str, value))
