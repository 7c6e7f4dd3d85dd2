"""Trains any task: one loop, one `optimizer.step()`, a state that a resume takes up to the bit."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from visiontasks.config import TrainConfig
from visiontasks.engine.checkpoint import RunFolder, save_state
from visiontasks.engine.device import default_workers
from visiontasks.engine.distributed import Group
from visiontasks.engine.evaluate import Measured, Setting, evaluate
from visiontasks.engine.loader import Batches, Pictures, build_loader, checked
from visiontasks.engine.log import MetricsLog, Report, duration
from visiontasks.engine.optim import MovingAverage, build_optimizer, learning_rate_factor, set_learning_rate
from visiontasks.engine.signals import Stop
from visiontasks.errors import Interrupted, RunError, UsageError, unknown_name
from visiontasks.types import Batch, Source, Task, Transform

LOWER_IS_BETTER = ("loss", "log_loss", "ECE")  # metrics that `train.monitor` wants small


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is made of; nothing in it changes while it runs.

    transform_at: the training transform of an epoch. val: None = no validation, the last weights are best.
    sample_weights: (N,) chance of each training picture to be drawn, summing to 1; None = each once an epoch.
    export(network, name, numbers): writes the weights `name` ("best", "last") as a one-file model.
    """

    task: Task[Any, Any]
    config: TrainConfig
    seed: int
    folder: RunFolder
    setting: Setting
    train: Source[Any]
    val: Source[Any] | None
    transform_at: Callable[[int], Transform[Any]]
    val_transform: Transform[Any]
    sample_weights: NDArray[np.float64] | None
    export: Callable[[nn.Module, str, Mapping[str, float]], None]
    group: Group
    stop: Stop
    report: Report


@dataclass(slots=True)
class Position:
    """How far a run has come. `step` counts within `epoch`; sums are over this epoch's pictures so far."""

    epoch: int = 0
    step: int = 0
    images: int = 0
    loss_sums: dict[str, float] = field(default_factory=dict)
    best: float = -math.inf
    best_epoch: int = -1
    evaluations_since_best: int = 0


class Run:
    """What changes while a run runs: all of it is its state."""

    def __init__(self, plan: Plan, network: nn.Module) -> None:
        self.plan, self.network = plan, network
        self.optimizer = build_optimizer(network, plan.config.optimizer)
        self.average = MovingAverage(network, plan.config.ema) if plan.config.ema else None
        self.scaler = torch.amp.GradScaler(
            plan.setting.device.device.type, enabled=plan.setting.device.precision == "fp16"
        )
        self.position = Position()
        self.saved_at = time.monotonic()

    @property
    def evaluated(self) -> nn.Module:
        """The network that is measured and exported: the moving average where there is one."""
        return self.average.network if self.average else self.network

    def state_dict(self) -> dict[str, Any]:
        position = self.position
        return {
            "fingerprint": self.plan.train.fingerprint,
            "classes": list(self.plan.train.classes.names),
            "position": {name: getattr(position, name) for name in Position.__slots__},
            "network": self.network.state_dict(),
            "average": self.average and self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.position = Position(**state["position"])
        if (
            not self.plan.group.leads
        ):  # the sums are over all processes' pictures when the first saved its own
            self.position.loss_sums, self.position.images = {}, 0
        self.network.load_state_dict(state["network"])
        if self.average:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])

    def save(self) -> None:
        if self.plan.group.leads:
            save_state(self.plan.folder, self.state_dict())
        self.saved_at = time.monotonic()


class TrainStep(nn.Module):
    """The network, then its loss, as one module: DDP then sees every parameter used in its forward."""

    def __init__(self, network: Any, setting: Setting) -> None:
        super().__init__()
        self.network, self.setting = network, setting

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        with self.setting.device.autocast():
            raw = self.network(batch)
        losses: dict[str, Tensor] = self.network.loss(raw, batch)
        return losses


def fit(plan: Plan, network: nn.Module, state: Mapping[str, Any] | None, rows: list[dict[str, Any]]) -> None:
    """Train a network to the end of its plan.

    Args:
        plan: the run.
        network: on the plan's device.
        state: of an earlier part of the run, to go on from; None = from the beginning.
        rows: the epochs in metrics.jsonl so far.

    Raises:
        Interrupted: a signal came; the state is saved.
        RunError: the loss is not finite, memory ran out, a worker was killed, the disk is full.
        DataError: too many pictures are unreadable, or a label is wrong.
    """
    run, config = Run(plan, network), plan.config
    _check_monitor(plan)
    if state is not None:
        run.load_state_dict(state)
    rows = [row for row in rows if row["epoch"] <= run.position.epoch]
    log = MetricsLog(plan.folder, rows) if plan.group.leads else None
    step_module: Any = TrainStep(network, plan.setting)
    if plan.group.world > 1:
        step_module = DistributedDataParallel(step_module)
    batches = Batches(
        len(plan.train), config.batch_size, plan.seed, plan.sample_weights, plan.group.rank, plan.group.world
    )
    loader = build_loader(
        Pictures(plan.train, plan.transform_at, plan.seed, replace=True),
        batches,
        plan.task.collate,
        workers=default_workers(plan.setting.device) if config.workers is None else config.workers,
        pin_memory=plan.setting.device.device.type == "cuda",
    )
    while run.position.epoch < config.epochs and not _is_exhausted(run):
        began = time.monotonic()
        images_per_second = _train_epoch(run, step_module, loader, batches)
        plan.group.share_buffers(run.evaluated)
        row = _epoch_row(run, images_per_second)
        measured = _validate(run) if plan.val is not None and _is_due(run.position.epoch, config) else None
        improved = _note_best(run, measured)
        run.position = Position(
            run.position.epoch + 1,
            best=run.position.best,
            best_epoch=run.position.best_epoch,
            evaluations_since_best=run.position.evaluations_since_best,
        )
        numbers = measured.numbers if measured else {}
        row.update({f"val/{name}": value for name, value in numbers.items()})
        if log is not None:
            plan.export(run.evaluated, "last", numbers)
            if improved:
                plan.export(run.evaluated, "best", numbers)
            log.write({**row, "seconds": round(time.monotonic() - began, 1)})
        run.save()
        plan.report.line(_epoch_line(row, config, time.monotonic() - began, improved))
    if _is_exhausted(run):
        plan.report.line(f"stopped early: no better validation in {config.early_stopping}")


def _check_monitor(plan: Plan) -> None:
    """Raises: UsageError when there is no metric of that name."""
    names = ["loss", *plan.task.build_evaluator(plan.train.classes).compute()]
    if plan.config.monitor is not None and plan.config.monitor not in names:
        raise UsageError(f"train.monitor: {unknown_name('metric', plan.config.monitor, names)}")


def _train_epoch(run: Run, step_module: Any, loader: Any, batches: Batches) -> float:
    """The rest of the epoch from the run's position on. Returns images a second."""
    plan, config, position = run.plan, run.plan.config, run.position
    batches.set(position.epoch, position.step)
    run.network.train()
    title = f"epoch {position.epoch + 1}/{config.epochs}"
    with plan.report.progress(title, len(batches), position.step) as meter:
        for loaded in checked(loader, plan.train):
            assert loaded.batch is not None  # unreadable pictures were replaced
            batch = plan.setting.device.load(loaded.batch, plan.setting.mean, plan.setting.std)
            epoch = position.epoch + position.step / len(batches)
            set_learning_rate(
                run.optimizer,
                config.optimizer.lr * learning_rate_factor(epoch, config.epochs, config.schedule),
            )
            torch.manual_seed(_step_seed(plan.seed, position, plan.group.rank))
            losses = _gradients(run, step_module, batch)
            _update_weights(run)
            position.step += 1
            position.images += loaded.images
            for name, value in losses.items():
                position.loss_sums[name] = position.loss_sums.get(name, 0.0) + value * loaded.images
            meter.advance(loaded.images * plan.group.world, f"loss {sum(losses.values()):.3f}")
            _save_if_asked(run)
        for entries in plan.group.gather(list(plan.train.ledger.entries)):
            plan.train.ledger.extend(entries)
        plan.train.ledger.check_skips(len(plan.train), config.max_skip)
        return meter.images_per_second


def _step_seed(seed: int, position: Position, rank: int) -> int:
    """Dropout's random numbers are a function of the step, so there is no generator's state to save."""
    return int(np.random.SeedSequence([seed, position.epoch, position.step, rank]).generate_state(1)[0])


def _gradients(run: Run, step_module: Any, batch: Batch) -> dict[str, float]:
    """Forward and backward, in `accumulate` parts. Returns the batch's mean loss terms."""
    plan, parts = run.plan, _split(batch, run.plan.config.accumulate)
    global_size = min(plan.config.batch_size, len(plan.train))
    run.optimizer.zero_grad(set_to_none=True)
    totals: dict[str, float] = {}
    for number, part in enumerate(parts):
        share = len(part.infos) * plan.group.world / global_size
        last = number == len(parts) - 1
        try:
            with nullcontext() if last or plan.group.world == 1 else step_module.no_sync():
                _use_batch_statistics(run.network, len(part.infos) > 1)
                losses = step_module(part)
                total = torch.stack(list(losses.values())).sum()
                _check_finite(total.item(), plan, run.position, part)
                torch.autograd.backward(run.scaler.scale(total * share))
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise _out_of_memory(batch, plan.config) from error
        except RuntimeError as error:
            if "alloc" not in str(error):
                raise
            raise _out_of_memory(batch, plan.config) from error
        for name, value in losses.items():
            totals[name] = totals.get(name, 0.0) + value.item() * len(part.infos) / len(batch.infos)
    return totals


def _use_batch_statistics(network: nn.Module, use: bool) -> None:
    """One picture has no batch statistics: batch norm then uses, and keeps, its running ones."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training != use:
            module.train(use)


def _split(batch: Batch, parts: int) -> list[Batch]:
    size = math.ceil(len(batch.infos) / parts)
    starts = range(0, len(batch.infos), size)
    return [
        Batch(batch.images[n : n + size], batch.infos[n : n + size], batch.targets[n : n + size])
        for n in starts
    ]


def _check_finite(total: float, plan: Plan, position: Position, part: Batch) -> None:
    if not math.isfinite(total):
        ids = ", ".join(str(info.image_id) for info in part.infos[:8])
        raise RunError(
            f"the loss became {total} in epoch {position.epoch + 1}, step {position.step + 1} "
            f"(pictures: {ids}{', ...' if len(part.infos) > 8 else ''}); "
            f"the last good weights are in {plan.folder.path / 'weights'}; "
            f"lower train.optimizer.lr, set train.clip_norm, or use train.precision fp32"
        )


def _out_of_memory(batch: Batch, config: TrainConfig) -> RunError:
    height, width = batch.images.shape[-2:]
    return RunError(
        f"memory ran out with {len(batch.infos)} pictures of {height}x{width} a step; "
        f"raise train.accumulate (now {config.accumulate}) or lower train.batch_size"
    )


def _update_weights(run: Run) -> None:
    if run.plan.config.clip_norm:
        run.scaler.unscale_(run.optimizer)
        nn.utils.clip_grad_norm_(run.network.parameters(), run.plan.config.clip_norm)
    run.scaler.step(run.optimizer)
    run.scaler.update()
    if run.average:
        run.average.update(run.network)


def _save_if_asked(run: Run) -> None:
    """Save when it is time to, or when a signal came; every process decides the same.

    Raises: Interrupted, after saving.
    """
    plan = run.plan
    signum = plan.group.any(plan.stop.signum)
    due = plan.group.leads and time.monotonic() - run.saved_at > 60 * plan.config.checkpoint_minutes
    if signum or due:
        run.save()
    if signum:
        raise Interrupted(signum, f"the run's state is saved; go on with --resume -o {plan.folder.path}")


def _is_exhausted(run: Run) -> bool:
    patience = run.plan.config.early_stopping
    return patience > 0 and run.position.evaluations_since_best >= patience


def _is_due(epoch: int, config: TrainConfig) -> bool:
    return (epoch + 1) % config.evaluate_every == 0 or epoch + 1 == config.epochs


def _validate(run: Run) -> Measured:
    plan = run.plan
    assert plan.val is not None
    network = run.evaluated.eval()
    try:
        return evaluate(
            plan.task,
            network,
            plan.val,
            plan.val_transform,
            plan.setting,
            batch_size=plan.config.batch_size,
            workers=plan.config.workers,
            max_skip=plan.config.max_skip,
            group=plan.group,
            stop=plan.stop,
            report=plan.report,
        )
    except Interrupted as stopped:
        run.save()
        raise Interrupted(
            stopped.signum, f"the run's state is saved; go on with --resume -o {plan.folder.path}"
        ) from None


def _note_best(run: Run, measured: Measured | None) -> bool:
    """Whether these weights are the best so far; without validation the latest are."""
    position, config = run.position, run.plan.config
    if run.plan.val is None:
        position.best_epoch = position.epoch
        return True
    if measured is None:
        return False
    name = config.monitor or run.plan.task.headline
    value = measured.numbers[name]
    score = -math.inf if math.isnan(value) else -value if name in LOWER_IS_BETTER else value
    if score > position.best or position.best_epoch < 0:
        position.best, position.best_epoch, position.evaluations_since_best = score, position.epoch, 0
        return True
    position.evaluations_since_best += 1
    return False


def _epoch_row(run: Run, images_per_second: float) -> dict[str, Any]:
    position = run.position
    sums: dict[str, float] = {}
    images = 0
    for other_sums, other_images in run.plan.group.gather((position.loss_sums, position.images)):
        images += other_images
        for name, value in other_sums.items():
            sums[name] = sums.get(name, 0.0) + value
    return {
        "epoch": position.epoch + 1,
        "lr": run.optimizer.param_groups[0]["lr"],
        "train/loss": sum(sums.values()) / max(images, 1),
        **{f"train/loss/{name}": value / max(images, 1) for name, value in sums.items()},
        "images_per_second": round(images_per_second, 1),
    }


def _epoch_line(row: Mapping[str, Any], config: TrainConfig, seconds: float, improved: bool) -> str:
    shown = [
        f"{name} {value:.4f}"
        for name, value in row.items()
        if name.startswith("val/") and name.count("/") == 1
    ]
    shown = [text.removeprefix("val/") for text in shown if "@" not in text][:5]
    parts = [f"epoch {row['epoch']}/{config.epochs}", f"train loss {row['train/loss']:.4f}"]
    parts += [f"val {'  '.join(shown)}"] if shown else []
    parts += [f"{row['images_per_second']:.0f} img/s", duration(seconds)]
    return "  ".join(parts) + ("  (best)" if improved and shown else "")
