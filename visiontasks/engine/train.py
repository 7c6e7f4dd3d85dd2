"""From a config to a trained run: opens the data, builds the network, and hands both to `fit`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from visiontasks.classes import ClassMap
from visiontasks.config_files import to_yaml
from visiontasks.drawing import contact_sheet
from visiontasks.engine.checkpoint import (
    RunFolder,
    check_same_data,
    load_state,
    read_metrics,
)
from visiontasks.engine.device import Device, choose_device, environment, keep_freed_memory
from visiontasks.engine.distributed import Group, processes
from visiontasks.engine.evaluate import Measured, was_trained_on
from visiontasks.engine.faults import run_faults
from visiontasks.engine.fit import adjust_to_val, fit, validate
from visiontasks.engine.loader import Pictures, epoch_order
from visiontasks.engine.log import Report
from visiontasks.engine.model_files import (
    initialise,
    open_model,
    read_model,
    record_of,
    save_model,
    setting_of,
)
from visiontasks.engine.results import write_measurements, write_skipped
from visiontasks.engine.run import Plan
from visiontasks.engine.signals import Stop, stop_signals
from visiontasks.errors import UsageError, number_of
from visiontasks.io.files import write_atomic, write_json
from visiontasks.io.images import encode
from visiontasks.io.weights import save_weights
from visiontasks.ledger import Ledger
from visiontasks.operating_point import OperatingPoint
from visiontasks.plots import plot_curves
from visiontasks.types import Task, Transform

SAMPLES = 25  # pictures drawn as the network is fed with them, at the start of a run


def train(
    task: Task[Any, Any],
    config: Any,
    path: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    allow_data_change: bool = False,
    strict: bool = False,
    report: Report | None = None,
) -> None:
    """Train a task's model by a config, into the run folder `path` (design section 6).

    Args:
        task: what to train.
        config: the task's resolved config; of a resumed run, that run's.
        path: the run's folder.
        resume: go on with the run in it. overwrite: replace that run.
        allow_data_change: resume although the data changed.
        strict: stop at what would be skipped or repaired.
        report: where to speak; None = stderr.

    Raises:
        UsageError: the folder exists (or does not, to resume), the device does not exist.
        DataError, WeightsError, RunError, Interrupted: see `fit`.
    """
    keep_freed_memory()
    device = choose_device(config.train.device, config.train.precision)
    with processes(device.device.type) as group, stop_signals() as stop:
        report = report if report is not None and group.leads else Report(speaks=group.leads)
        folder = RunFolder(path)
        if group.world > 1 and device.device.type == "cuda":
            device = Device(torch.device("cuda", group.local_rank), device.precision)
        if resume:
            folder.open()
        else:
            folder.check_free(overwrite=overwrite)
        state = load_state(folder) if resume else None
        with run_faults("lower input.size, or what makes the network large"):
            plan, network = _prepare(task, config, folder, device, group, stop, report, strict, state)
        if state is not None:
            check_same_data(state, plan.fingerprints, allow=allow_data_change)
        group.wait()
        if group.leads and not resume:
            folder.create()
        if group.leads and state is None:
            _write_beginning(plan, config)
        elif group.leads:
            write_atomic(folder.config, to_yaml(config))
        group.wait()
        report.line(_overview(task, config, plan, network))
        try:
            if state is not None and state["position"]["epoch"] >= config.train.epochs:
                report.line(f"nothing to train: {state['position']['epoch']} epochs are done")
            with run_faults("lower train.batch_size, input.size or train.workers"):
                fit(plan, network, state, read_metrics(folder) if resume else [])
                if group.leads:
                    _write_end(plan)
        finally:
            _tell_skipped(plan)


def _prepare(
    task: Task[Any, Any],
    config: Any,
    folder: RunFolder,
    device: Device,
    group: Group,
    stop: Stop,
    report: Report,
    strict: bool,
    state: Mapping[str, Any] | None,
) -> tuple[Plan, nn.Module]:
    began_with = None if state is None else ClassMap(tuple(state["classes"]), tuple(state["file_ids"]))
    train_source = task.open_source(config.data, "train", Ledger(strict), began_with)
    train_source.ledger.check_skips(len(train_source), config.train.max_skip)
    val_source = None
    if has_split(config.data, "val"):
        val_source = task.open_source(config.data, "val", Ledger(strict), train_source.classes)
    if min(config.train.batch_size, len(train_source)) < group.world:
        raise UsageError(
            f"expected train.batch_size of at least {group.world}, one a process, "
            f"found {config.train.batch_size}"
        )
    torch.manual_seed(config.seed)
    network = task.build_model(config.model, train_source.classes, config.loss, train_source)
    if config.model.weights is not None and state is None:
        report.line(initialise(network, config.model.weights, task, train_source.classes, config.input))
    if config.train.transfer == "feature_extraction":
        from visiontasks.backbones import freeze

        freeze(network.get_submodule("backbone"))
    device.place(network)

    def export(network: nn.Module, name: str, numbers: Mapping[str, float]) -> None:
        record = record_of(task, config, train_source, numbers)
        save_model(folder.weights(name), network, record)

    plan = Plan(
        task=task,
        config=config.train,
        seed=config.seed,
        folder=folder,
        setting=setting_of(task, config.input, device, task.evaluate_options),
        train=train_source,
        val=val_source,
        transforms=partial(TransformAt, task, config, train_source.classes),
        refresh=None if task.refresh is None else partial(task.refresh, config),
        val_transform=task.build_transform(config.input, None, train_source.classes, None),
        sample_weights=task.sample_weights and task.sample_weights(config, train_source),
        export=export,
        group=group,
        stop=stop,
        report=report,
    )
    return plan, network


def has_split(data: Any, split: str) -> bool:
    """Whether a data section names a split, or keeps pictures back for it."""
    return getattr(data, split) is not None or (split == "val" and data.holdout > 0)


class TransformAt:
    """The training transform of an epoch: `train.resolutions` makes pictures small at first.

    Source: progressive resizing as in Tan & Le 2021 (arXiv 2104.00298, section 4).
    """

    def __init__(self, task: Task[Any, Any], config: Any, classes: ClassMap, memory: Any) -> None:
        stages = [(until, (size, size)) for until, size in config.train.resolutions]
        stages.append((float("inf"), config.input.size))
        self.stages = [
            (
                until,
                task.build_transform(
                    config.input.model_copy(update={"size": size}), config.augment, classes, memory
                ),
            )
            for until, size in stages
        ]

    def __call__(self, epoch: int) -> Transform[Any]:
        return next(transform for until, transform in self.stages if epoch < until)


def _overview(task: Task[Any, Any], config: Any, plan: Plan, network: nn.Module) -> str:
    parameters = sum(parameter.numel() for parameter in network.parameters())
    trained = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    frozen = f" ({trained / 1e6:.2f} M trained)" if trained < parameters else ""
    val = f", {len(plan.val)} to validate" if plan.val is not None else ", no validation"
    return (
        f"{task.name}: {number_of(len(plan.train), 'picture')}{val}, {len(plan.train.classes)} classes; "
        f"{config.model.backbone}, {parameters / 1e6:.2f} M parameters{frozen}; {plan.setting.device}"
        f"{f', {plan.group.world} processes' if plan.group.world > 1 else ''}; {plan.folder.path}"
    )


def _write_beginning(plan: Plan, config: Any) -> None:
    """The files of a run that are there before its first step."""
    folder = plan.folder
    write_atomic(folder.config, to_yaml(config))
    write_json(folder.path / "env.json", environment(plan.setting.device))
    write_json(folder.path / "classes.json", list(plan.train.classes.names))
    pictures = Pictures(plan.train, plan.transforms(None), plan.seed, replace=True)
    order = epoch_order(plan.seed, 0, len(plan.train), plan.sample_weights)[:SAMPLES]
    examples = [pictures[0, int(index)][0] for index in order]
    drawn = [
        plan.task.draw_example(example, plan.train.classes) for example in examples if example is not None
    ]
    if drawn:
        write_atomic(folder.path / "samples" / "train.png", encode(contact_sheet(drawn), ".png"))


def _tell_skipped(plan: Plan) -> None:
    """What could not be used as it was: counted on the terminal, listed in skipped.json."""
    ledgers = {"train": plan.train.ledger, "val": plan.val.ledger if plan.val is not None else Ledger()}
    for split, ledger in ledgers.items():
        for line in ledger.summary():
            plan.report.line(f"{split}: {line}")
    if plan.group.leads and plan.folder.config.exists():
        write_skipped(plan.folder.path, ledgers)


def _write_end(plan: Plan) -> None:
    """Curves; what suits the best weights to val, into their file; what they then measure there."""
    folder = plan.folder
    write_atomic(folder.path / "plots" / "curves.png", plot_curves(read_metrics(folder)))
    if plan.val is None:
        return
    tensors, record = read_model(str(folder.weights("best")), {})
    opened = open_model(plan.task, record, tensors, plan.setting.device, name="best.safetensors", options={})
    unseen = not was_trained_on(plan.val, plan.train)
    if unseen:
        adjust_to_val(plan, opened.network)
    options, measured = _find_options(plan, opened.network, plan.task.operating_point if unseen else None)
    numbers = {name: value for name, value in measured.numbers.items() if name != "loss"}
    overall = {name: value for name, value in measured.numbers.items() if "/" not in name}
    if unseen:
        provenance = {**record.provenance, "metrics": overall}
        save_weights(
            folder.weights("best"),
            opened.network.state_dict(),
            record.model_copy(update={"options": options, "provenance": provenance}),
        )
    write_measurements(folder.path, plan.task, numbers, measured.evaluator)  # the loss is in metrics.jsonl
    plan.report.line(
        f"best weights: {plan.task.headline} {measured.numbers[plan.task.headline]:.4f} on val; {folder.path}"
    )


def _find_options(
    plan: Plan, network: nn.Module, choose: Callable[..., OperatingPoint | None] | None
) -> tuple[dict[str, float], Measured]:
    """The options to store with the best weights, and what these measure on val with them."""
    task, options = plan.task, dict(plan.task.decode_options)
    measured = validate(plan, network, Group(), keep=choose is not None)
    chosen = choose(measured.predictions, measured.truths) if choose is not None else None
    if chosen is not None:
        plan.report.line(f"operating point from val: {chosen}")
        options |= chosen.options
        if not set(chosen.options) <= set(task.evaluate_options):  # an evaluation uses what was chosen
            setting = replace(plan.setting, options={**options, **task.evaluate_options})
            measured = validate(replace(plan, setting=setting), network, Group())
    return options, measured
