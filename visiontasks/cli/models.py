"""`visiontasks models`: what is bundled and what can be had."""

from __future__ import annotations

import json

import click

from visiontasks.tasks import load_task


@click.command("models")
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def command(as_json: bool) -> None:
    """Bundled models with their measured figures, backbones, and official weights that can be downloaded."""
    from visiontasks import backbones
    from visiontasks.detection.official import DETECTORS
    from visiontasks.io.weights import bundled_weights, read_record

    bundled = {name: read_record(path) for name, path in bundled_weights().items()}
    if as_json:
        records = {
            name: {"task": r.task, "classes": list(r.classes), **r.provenance} for name, r in bundled.items()
        }
        click.echo(json.dumps({"bundled": records, "backbones": backbones.names()}, indent=2))
        return
    click.echo("Bundled models (-w NAME):" if bundled else "Bundled models: none in this version; train one.")
    for name, record in bundled.items():
        figures = "  ".join(f"{k} {v:.3f}" for k, v in record.provenance.get("metrics", {}).items())
        click.echo(f"  {name:<16} {load_task(record.task).verb:<9} {len(record.classes)} classes  {figures}")
    click.echo(f"Backbones (model.backbone, visiontasks inspect NAME):\n  {', '.join(backbones.names())}")
    click.echo("  timm/NAME with the extra: pip install 'visiontasks[timm]'")
    click.echo(
        "Official weights, downloaded when asked for by name (-w torchvision:NAME):\n"
        f"  classify: {', '.join(backbones.torchvision_names())}\n"
        f"  detect: coco (the small one), {', '.join(DETECTORS)}"
    )
