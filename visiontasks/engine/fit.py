"""Trains any task: one loop, one `optimizer.step()`, a state that a resume takes up to the bit."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from visiontasks.config import TrainConfig
from visiontasks.engine.device import default_workers
from visiontasks.engine.distributed import Group
from visiontasks.engine.evaluate import Measured, adjust, evaluate
from visiontasks.engine.faults import run_faults
from visiontasks.engine.infer import Setting, infer
from visiontasks.engine.loader import Batches, Pictures, build_loader, checked
from visiontasks.engine.log import MetricsLog, duration
from visiontasks.engine.optim import learning_rate_factor, set_learning_rate
from visiontasks.engine.run import Plan, Position, Run
from visiontasks.errors import Interrupted, RunError, UsageError, unknown_name
from visiontasks.types import Batch, ImageInfo

LOWER_IS_BETTER = ("loss", "log_loss", "ECE")  # metrics that `train.monitor` wants small


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
    loader = None
    while run.position.epoch < config.epochs and not _is_exhausted(run):
        began = time.monotonic()
        if _refresh(run) or loader is None:  # the workers of a loader hold copies of what they know
            loader = _training_loader(run, batches)
        images_per_second = _train_epoch(run, step_module, loader, batches)
        plan.group.share_buffers(run.evaluated)
        _check_weights(run)
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
    if plan.config.monitor is None:
        return
    names = ["loss", *plan.task.build_evaluator(plan.train.classes).compute()]
    if plan.config.monitor not in names:
        raise UsageError(f"train.monitor: {unknown_name('metric', plan.config.monitor, names)}")


def _training_loader(run: Run, batches: Batches) -> Any:
    plan, workers = run.plan, run.plan.config.workers
    return build_loader(
        Pictures(plan.train, plan.transforms(run.memory), plan.seed, replace=True),
        batches,
        plan.task.collate,
        workers=default_workers(plan.setting.device) if workers is None else workers,
        pin_memory=plan.setting.device.device.type == "cuda",
    )


def _refresh(run: Run) -> bool:
    """Let the task look at the training pictures between epochs; whether that changed what it remembers.

    Raises: Interrupted, after saving; the resumed run looks again.
    """
    plan, position = run.plan, run.position
    if plan.refresh is None or position.epoch == run.refreshed:
        return False

    def look() -> Iterator[tuple[Any, Any, ImageInfo]]:
        inferred = infer(
            plan.task,
            run.evaluated.eval(),
            plan.train,
            plan.val_transform,
            plan.setting,
            batch_size=plan.config.batch_size,
            workers=plan.config.workers,
            group=plan.group,
            stop=plan.stop,
            report=plan.report,
            title="refresh",
        )
        mine = [
            row
            for batch in inferred
            for row in zip(batch.predictions, batch.truths, batch.infos, strict=True)
        ]
        rows = [row for part in plan.group.gather(mine) for row in part]
        yield from sorted(rows, key=lambda row: str(row[2].image_id))

    try:
        found = plan.refresh(position.epoch - 1, run.memory, look)
    except Interrupted as stopped:
        run.save()
        raise _resumable(plan, stopped.signum) from None
    run.refreshed = position.epoch
    run.memory = run.memory if found is None else found
    return found is not None


def _check_weights(run: Run) -> None:
    """Before weights are written. Raises: RunError when a number in them is not finite."""
    for name, tensor in run.evaluated.state_dict().items():
        if not bool(torch.isfinite(tensor).all()):
            raise RunError(
                f"the weights diverged in epoch {run.position.epoch + 1} ({name} is not finite); "
                f"{_last_good(run.plan)}; "
                "lower train.optimizer.lr, or set train.clip_norm"
            )


def _train_epoch(run: Run, step_module: Any, loader: Any, batches: Batches) -> float:
    """The rest of the epoch from the run's position on. Returns images a second."""
    plan, config, position = run.plan, run.plan.config, run.position
    batches.set(position.epoch, position.step)
    run.network.train()
    title = f"epoch {position.epoch + 1}/{config.epochs}"
    with plan.report.progress(title, len(batches), position.step) as meter:
        for loaded in checked(loader, plan.train):
            (batch,) = loaded.batches  # unreadable pictures were replaced
            batch = plan.setting.device.load(batch, plan.setting.mean, plan.setting.std)
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
        alone = nullcontext() if last or plan.group.world == 1 else step_module.no_sync()
        with run_faults(_less_memory(batch, plan.config)), alone:
            _use_batch_statistics(run.network, len(part.infos) > 1)
            losses = step_module(part)
            total = torch.stack(list(losses.values())).sum()
            _check_finite(total.item(), plan, run.position, part)
            torch.autograd.backward(run.scaler.scale(total * share))
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
    return [batch.part(slice(n, n + size)) for n in range(0, len(batch.infos), size)]


def _check_finite(total: float, plan: Plan, position: Position, part: Batch) -> None:
    if not math.isfinite(total):
        ids = ", ".join(str(info.image_id) for info in part.infos[:8])
        raise RunError(
            f"the loss became {total} in epoch {position.epoch + 1}, step {position.step + 1} "
            f"(pictures: {ids}{', ...' if len(part.infos) > 8 else ''}); "
            f"{_last_good(plan)}; "
            f"lower train.optimizer.lr, set train.clip_norm, or use train.precision fp32"
        )


def _last_good(plan: Plan) -> str:
    """Where the weights are that were written before, if any were."""
    file = plan.folder.weights("last")
    return f"the last good weights are in {file}" if file.exists() else "no weights were written before"


def _less_memory(batch: Batch, config: TrainConfig) -> str:
    """What to do when a step takes too much."""
    height, width = batch.images.shape[-2:]
    return (
        f"a step has {len(batch.infos)} pictures of {height}x{width}: "
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
        raise _resumable(plan, signum)


def _resumable(plan: Plan, signum: int) -> Interrupted:
    return Interrupted(signum, f"the run's state is saved; go on with --resume -o {plan.folder.path}")


def _is_exhausted(run: Run) -> bool:
    patience = run.plan.config.early_stopping
    return patience > 0 and run.position.evaluations_since_best >= patience


def _is_due(epoch: int, config: TrainConfig) -> bool:
    return (epoch + 1) % config.evaluate_every == 0 or epoch + 1 == config.epochs


def _validate(run: Run) -> Measured:
    try:
        return validate(run.plan, run.evaluated.eval(), run.plan.group)
    except Interrupted as stopped:
        run.save()
        raise _resumable(run.plan, stopped.signum) from None


def validate(plan: Plan, network: nn.Module, group: Group, *, keep: bool = False) -> Measured:
    """Measure a network, in evaluation mode, on the validation split of a run. keep: as `evaluate`."""
    return evaluate(**_over_val(plan, network), max_skip=plan.config.max_skip, group=group, keep=keep)


def adjust_to_val(plan: Plan, network: nn.Module) -> None:
    """Suit a finished network to the validation split of a run, as its task knows how."""
    adjust(**_over_val(plan, network))


def _over_val(plan: Plan, network: nn.Module) -> dict[str, Any]:
    """What going over the validation split takes, by the names of `evaluate`'s parameters."""
    assert plan.val is not None
    return {
        "task": plan.task,
        "network": network,
        "source": plan.val,
        "transform": plan.val_transform,
        "setting": plan.setting,
        "batch_size": plan.config.batch_size,
        "workers": plan.config.workers,
        "stop": plan.stop,
        "report": plan.report,
    }


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
