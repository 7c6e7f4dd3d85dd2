"""Makes a bundled model of a finished run: suited to val, in fp16, measured, with a card to fill in."""

from __future__ import annotations

import tempfile
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from visiontasks import api
from visiontasks.bundled import (
    MOST_MB,
    SECTIONS,
    TO_DO,
    Figures,
    Notes,
    figure_rows,
    interval_text,
    machine_paths,
    megabytes,
    number_text,
)
from visiontasks.config_files import flatten, parse_config
from visiontasks.errors import UsageError
from visiontasks.io.files import read_document
from visiontasks.io.weights import BUNDLED, SUFFIX, ModelRecord, read_record, resolve_weights, save_weights
from visiontasks.ledger import Ledger
from visiontasks.model import Model, data_section, load

if TYPE_CHECKING:
    from visiontasks.engine.log import Report

OF_THE_MACHINE: Final = (  # keys of a config in which a run may differ from its recipe
    "name",
    "data.root",
    "data.lists",
    "data.max_pixels",
    "model.weights",
    "train.device",
    "train.precision",
    "train.workers",
    "train.checkpoint_minutes",
    "train.max_skip",
)
STARTS: Final = ("data.lists", "model.weights")  # of them: may be at another path, but not in one alone
WIDTH: Final = 110  # of a card's lines of text


@dataclass(frozen=True, slots=True)
class About:
    """What only a person knows of a model.

    summary: what it knows. data_name, licence: its data and their terms. recipe: configs/... that makes it.
    """

    summary: str
    data_name: str
    licence: str
    recipe: str


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundled model: its file, record and notes, and all that was measured: {split: numbers}."""

    file: Path
    record: ModelRecord
    notes: Notes
    numbers: Mapping[str, Mapping[str, float]]


def bundle(
    run: Path,
    name: str,
    about: About,
    *,
    folder: Path = BUNDLED,
    device: str = "auto",
    precision: str = "auto",
    report: Report,
) -> Bundle:
    """Store a run's best weights as a bundled model, in fp16, and measure it on val and test.

    Args:
        run: the run's folder. name: of the model.
        about: see there.
        folder: where bundled models are.
        device, precision: to measure with.
        report: where to speak.

    Raises:
        UsageError: the run is not its recipe's, there is no split to measure on, or the file is too large.
        DataError, WeightsError, RunError: as `api.measure`.
    """
    record = read_record(Path(str(resolve_weights(str(run)))))
    config = matching_recipe(record.provenance["config"], about.recipe)
    epochs = len(_epochs(run))
    if epochs < config["train"]["epochs"]:
        report.line(f"{run}: {epochs} of {config['train']['epochs']} epochs are trained; say so in the card")
    trained = load(run, device=device, precision=precision)
    splits = unseen_splits(trained)
    if not splits:
        raise UsageError(f"{run}: expected a val or test split that was not trained on, found none")
    options, suited = suit_to_val(trained, report) if "val" in splits else ({}, "")
    tensors = trained.opened.network.state_dict()
    record = record.model_copy(update={"options": {**trained.task.decode_options, **options}})
    numbers: dict[str, dict[str, float]] = {}
    figures: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory() as temporary:
        files = {half: Path(temporary) / f"{name}-fp{16 if half else 32}{SUFFIX}" for half in (False, True)}
        for half, file in files.items():
            save_weights(file, tensors, record, half=half)
        if megabytes(files[True]) > MOST_MB:
            raise UsageError(
                f"{name}: expected at most {MOST_MB:g} MB, found {megabytes(files[True]):.1f}; "
                "take a smaller network"
            )
        for split in splits:
            numbers[split], figures[split] = _measure(files, split, device, precision, report)
    notes = Notes(
        summary=about.summary,
        data_name=about.data_name,
        licence=about.licence,
        recipe=about.recipe,
        command=f"visiontasks train {about.recipe}",
        measured=figures,
        operating_point=suited,
        parameters=sum(parameter.numel() for parameter in trained.opened.network.parameters()),
        minutes=round(_minutes(run), 3),
        trained_on=_device_of(run),
        config=config,
        **{key: record.provenance[key] for key in ("data", "date", "visiontasks")},
    )
    record = record.model_copy(update={"provenance": notes.model_dump(mode="json")})
    file = folder / f"{name}{SUFFIX}"
    save_weights(file, tensors, record, half=True)
    return Bundle(file, record, notes, numbers)


def matching_recipe(config: Mapping[str, Any], recipe: str) -> dict[str, Any]:
    """The recipe, resolved, after a look that a run followed it but for what belongs to the machine.

    Raises: UsageError listing the differences, or the recipe's own paths of a machine.
    """
    task, resolved = api.load_config(Path(recipe), {})
    wanted: dict[str, Any] = resolved.model_dump(mode="json")
    as_run = parse_config(task.config, config, file="the run's config")  # with what keys it did not know yet
    ours, theirs = flatten(as_run.model_dump(mode="json")), flatten(wanted)
    different = [
        f"{key}: recipe {theirs.get(key)!r}, run {ours.get(key)!r}"
        for key in dict.fromkeys((*theirs, *ours))
        if ours.get(key) != theirs.get(key)
        and (key not in OF_THE_MACHINE or (key in STARTS and None in (ours.get(key), theirs.get(key))))
    ]
    if different:
        raise UsageError(f"expected a run of {recipe}, found another; {'; '.join(different)}")
    if paths := machine_paths(wanted):
        raise UsageError(f"{recipe}: expected paths relative to the data, found {', '.join(paths)}")
    return wanted


def unseen_splits(model: Model[Any]) -> list[str]:
    """Which of val and test the model's data has, without those that share pictures with train."""
    from visiontasks.engine.evaluate import was_trained_on
    from visiontasks.engine.train import has_split

    section = data_section(model, None, {})
    open_split = model.task.open_source
    train = open_split(section, "train", Ledger(), model.classes)
    return [
        split
        for split in ("val", "test")
        if has_split(section, split)
        and not was_trained_on(open_split(section, split, Ledger(), model.classes), train)
    ]


def suit_to_val(model: Model[Any], report: Report) -> tuple[Mapping[str, float], str]:
    """Adjust a model to its val split, and choose options there, as its task knows how.

    Returns:
        The options, and in words what was done; empty where its task has nothing of the kind.
    """
    from visiontasks.engine.distributed import Group
    from visiontasks.engine.evaluate import adjust, evaluate
    from visiontasks.engine.signals import stop_signals

    task, opened = model.task, model.opened
    options = {**task.decode_options, **task.evaluate_options}  # what was chosen before is left aside
    over_val: dict[str, Any] = {
        "task": task,
        "network": opened.network,
        "source": task.open_source(data_section(model, None, {}), "val", Ledger(), model.classes),
        "transform": opened.transform,
        "setting": replace(opened.setting, options=options),
        "batch_size": task.batch_size,
        "workers": None,
        "report": report,
    }
    with stop_signals() as stop:
        adjusted = adjust(**over_val, stop=stop) or ""
        if task.operating_point is None:
            return {}, adjusted
        measured = evaluate(**over_val, stop=stop, max_skip=0.01, group=Group(), keep=True)
    chosen = task.operating_point(measured.predictions, measured.truths)
    if chosen is None:
        return {}, adjusted
    report.line(f"operating point from val: {chosen}")
    return chosen.options, "; ".join(filter(None, (adjusted, str(chosen))))


def _measure(
    files: Mapping[bool, Path], split: str, device: str, precision: str, report: Report
) -> tuple[dict[str, float], Figures]:
    """What the fp16 file measures on a split, beside the fp32 file's headline figure."""
    values: dict[bool, dict[str, float]] = {}
    for half, file in files.items():
        model = load(file, device=device, precision=precision)
        values[half], protocol = api.measure(model, split, report=report)
    numbers, name = values[True], model.task.headline
    report.line(
        f"{split}: {name} {values[False][name]:.4f} in fp32, {numbers[name]:.4f} in fp16 "
        f"({100 * (numbers[name] - values[False][name]):+.2f} points)"
    )
    source = model.task.open_source(data_section(model, None, {}), split, Ledger(), model.classes)
    return numbers, Figures(
        pictures=len(source),
        protocol=protocol,
        device=str(model.opened.setting.device),
        metrics={key: value for key, value in numbers.items() if "/" not in key},
        full_precision=values[False][name],
    )


def _epochs(run: Path) -> list[dict[str, Any]]:
    """What a run's log says of each epoch."""
    from visiontasks.engine.checkpoint import RunFolder, read_metrics

    return read_metrics(RunFolder(run))


def _minutes(run: Path) -> float:
    """The sum over a run's epochs, validation included; what an interruption lost is not in it."""
    return sum(float(row["seconds"]) for row in _epochs(run)) / 60


def _device_of(run: Path) -> str:
    env = read_document(run / "env.json")
    return f"{env['device_name']} ({env['device']} {env['precision']}, {env['cores']} cores)"


def write_card(bundle: Bundle) -> str:
    """A card in Markdown; what only a person can say is marked."""
    name, record, notes = bundle.file.stem, bundle.record, bundle.notes
    options = ", ".join(f"{key} {value:.3g}" for key, value in record.options.items()) or "none"
    chosen = f"; chosen on val: {notes.operating_point}" if notes.operating_point else ""
    facts = {
        "network": f"{record.model.get('name', 'classifier')} on {record.model['backbone']}, "
        f"{notes.parameters / 1e6:.2f} M parameters, {megabytes(bundle.file):.1f} MB (fp16, norms fp32)",
        "input": ", ".join(f"{key} {record.input[key]}" for key in ("size", "resize") if key in record.input),
        "operating point": options + chosen,
    }
    texts = {
        "Data and its terms": f"{notes.data_name}; its terms: {notes.licence}.",
        "How it was made": f"    {notes.command}\n\n"
        f"{notes.minutes:.0f} minutes on {notes.trained_on}, {notes.date}, visiontasks {notes.visiontasks}. "
        f"Recipe: `{notes.recipe}`.",
        "Figures": "\n\n".join(_figures(split, bundle) for split in notes.measured),
        "Limits": f"{TO_DO}: what it does not see, and what was tried.",
        "Must not be used for": TO_DO,
    }
    assert tuple(texts) == SECTIONS
    classes = textwrap.fill(", ".join(record.classes), WIDTH)
    parts = [f"# {name}", f"{notes.summary}:", classes]
    parts.append(
        "\n".join(["| | |", "| --- | --- |", *(f"| {key} | {text} |" for key, text in facts.items())])
    )
    parts += [f"## {title}\n\n{text}" for title, text in texts.items()]
    return "\n\n".join(parts) + "\n"


def _figures(split: str, bundle: Bundle) -> str:
    """The figures of one split, overall and by class, and how they were counted."""
    figures, numbers = bundle.notes.measured[split], bundle.numbers[split]
    chosen = " The epoch that was kept was the best of those measured on these pictures."
    fitted = (
        " What depends on the operating point (ECE, log_loss) is measured on the pictures that it was chosen "
        "by: one number, but not a stranger's judgement."
    )
    adjusted = " The class offsets were fitted on these pictures too: the figures flatter it."
    said = (
        f"On {split}, {figures.pictures} pictures, {figures.device} (95% intervals); before rounding to fp16 "
        f"the headline figure was {number_text(figures.full_precision)}."
        + (chosen if split == "val" else "")
        + (fitted if split == "val" and "temperature" in bundle.notes.operating_point else "")
        + (adjusted if split == "val" and "offsets" in bundle.notes.operating_point else "")
    )
    overall = ["| figure | value |", "| --- | --- |", *figure_rows(figures.metrics)]
    kinds = list(dict.fromkeys(key.split("/")[0] for key in numbers if "/" in key))
    by_class = [f"| class | {' | '.join(kinds)} |", "| --- |" + " --- |" * len(kinds)]
    for label in bundle.record.classes:
        cells = [
            number_text(numbers[f"{kind}/{label}"]) + interval_text(numbers, f"{kind}/{label}")
            for kind in kinds
        ]
        by_class.append(f"| {label} | {' | '.join(cells)} |")
    protocol = textwrap.fill(f"Protocol: {figures.protocol}.", WIDTH)
    return "\n\n".join([textwrap.fill(said, WIDTH), "\n".join(overall), "\n".join(by_class), protocol])
