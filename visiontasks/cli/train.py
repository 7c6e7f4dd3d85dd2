"""`visiontasks train`: a run from a config."""

from __future__ import annotations

import json
from typing import Any

import click

from visiontasks.config_files import describe_keys
from visiontasks.errors import UsageError
from visiontasks.tasks import TASKS, load_task


class _WithKeys(click.Command):
    """Lists the keys of the configs below the flags."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for name in TASKS:
            with formatter.section(f"Keys of a {name} config (default; meaning)"):
                formatter.write_dl(
                    [
                        (key, f"({default}) {meaning}")
                        for key, default, meaning in describe_keys(load_task(name).config)
                    ],
                    col_max=32,
                )


def _print_schema(ctx: click.Context, _: click.Parameter, task: str | None) -> None:
    if task is not None and not ctx.resilient_parsing:
        click.echo(json.dumps(load_task(task).config.model_json_schema(), indent=2))
        ctx.exit()


@click.command("train", cls=_WithKeys)
@click.argument("config", required=False, type=click.Path())
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Replace a value of the config (repeatable).",
)
@click.option("-o", "--out", type=click.Path(), help="Folder of the run. [default: runs/<task>/<name>]")
@click.option("--resume", is_flag=True, help="Go on with a run that stopped; CONFIG may be left out with -o.")
@click.option("--overwrite", is_flag=True, help="Replace a run that exists.")
@click.option("--allow-data-change", is_flag=True, help="Resume although the data changed.")
@click.option("--strict", is_flag=True, help="Stop at what would be skipped or repaired.")
@click.option("--no-check", is_flag=True, help="Begin without the quick check of the data (see: data check).")
@click.option(
    "--schema",
    type=click.Choice(list(TASKS)),
    is_eager=True,
    expose_value=False,
    callback=_print_schema,
    help="Print a config's JSON schema (for editors) and stop.",
)
def command(config: str | None, settings: tuple[str, ...], out: str | None, **flags: Any) -> None:
    """Train from CONFIG, a YAML file; `configs/...` of the package are found from anywhere.

    \b
    visiontasks train configs/classification/cifar10.yaml
    visiontasks train my.yaml --set train.epochs=5 --set model.backbone=resnet18
    visiontasks train --resume -o runs/classification/cifar10
    torchrun --nproc_per_node 2 -m visiontasks train my.yaml
    """
    if config is None and not (flags["resume"] and out):
        raise UsageError("expected a CONFIG (or --resume with -o RUN), found none; visiontasks train --help")
    from visiontasks import api
    from visiontasks.config_files import parse_settings

    run = api.train(config, parse_settings(settings), out=out, **flags)
    click.echo(run)
