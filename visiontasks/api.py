"""What `import visiontasks` hands out and the command line calls: load, train, evaluate, check, explain."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visiontasks.config_files import flatten, override, parse_config, read_config, to_yaml
from visiontasks.errors import ConfigError, DataError, UsageError, number_of
from visiontasks.explaining.attack import attack, robustness
from visiontasks.explaining.dissect import dissect
from visiontasks.explaining.dream import dream, stylize
from visiontasks.explaining.units import maximise, top_patches
from visiontasks.explaining.worst import worst
from visiontasks.io.documents import parse_yaml
from visiontasks.io.files import read_yaml
from visiontasks.ledger import Ledger
from visiontasks.model import Model, data_section, load
from visiontasks.tasks import TASKS, load_task
from visiontasks.types import Task

if TYPE_CHECKING:  # importing this module leaves torch alone: `evaluate` on files needs none
    from visiontasks.data.check import CheckReport
    from visiontasks.engine.log import Report

__all__ = [
    "Model",
    "attack",
    "check",
    "compare",
    "dissect",
    "dream",
    "evaluate",
    "load",
    "load_config",
    "maximise",
    "measure",
    "robustness",
    "stylize",
    "top_patches",
    "train",
    "worst",
]

RESUMABLE = (  # keys in which a resumed run may differ from its beginning
    "name",
    "data.root",
    "data.max_pixels",
    "train.epochs",
    "train.evaluate_every",
    "train.early_stopping",
    "train.device",
    "train.workers",
    "train.checkpoint_minutes",
    "train.max_skip",
)


def train(
    config: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    allow_data_change: bool = False,
    strict: bool = False,
    no_check: bool = False,
) -> Path:
    """Train a model from a config file, after a quick check of its data.

    Args:
        config: path of a YAML file; `configs/...` of the package are found from anywhere. To resume it may be
            left out where `out` is given.
        settings: values to replace, `{"train.epochs": 5}`.
        out: the run's folder; default runs/<task>/<name>.
        resume: go on with a run; its own config wins, and only `RESUMABLE` keys may differ.
        overwrite: replace a run that exists.
        allow_data_change: resume although the data changed.
        strict: stop at what would be skipped or repaired.
        no_check: begin without checking the data; a resumed run does so anyway.

    Returns:
        The run's folder.

    Raises:
        ConfigError, UsageError, DataError, WeightsError, RunError, Interrupted: with what to do.
    """
    from visiontasks.engine.log import Report
    from visiontasks.engine.train import train as run_training

    if config is None:
        if out is None or not resume:
            raise UsageError("expected a config, or a run to resume (out=...), found neither")
        config = Path(out) / "config.yaml"
        if not config.exists():
            raise UsageError(f"expected a run to resume at {out}, found none; start one with a config")
    task, resolved = load_config(Path(config), settings or {})
    folder = Path(out) if out is not None else Path("runs") / task.name / resolved.name
    report = Report(speaks=os.environ.get("RANK", "0") == "0")
    if resume:
        resolved = _resumed_config(resolved, folder)
    elif not no_check and report.speaks:
        _check_before(task, resolved, report)
    run_training(
        task,
        resolved,
        folder,
        resume=resume,
        overwrite=overwrite,
        allow_data_change=allow_data_change,
        strict=strict,
        report=report,
    )
    return folder


def _check_before(task: Task[Any, Any], config: Any, report: Report) -> None:
    """A quick check of the pictures that a run is trained and validated on.

    Raises: DataError listing what it cannot be trained on.
    """
    from visiontasks.data.check import MOST_HEADERS
    from visiontasks.data.check import check as check_data
    from visiontasks.data.opening import open_section
    from visiontasks.data.report import refusals, warnings_in_brief

    section = config.data.model_copy(update={"test": None})
    opened = open_section(task, section, "the run's config says so", config)
    found = check_data(opened, quick=True, most=MOST_HEADERS, max_skip=config.train.max_skip)
    for line in warnings_in_brief(found.findings):
        report.line(f"check: {line}")
    if lines := refusals(found.findings):
        raise DataError(*lines, "visiontasks data check says more; --no-check begins without this look")


def check(
    data: str | Path, *, task: str | None = None, data_format: str | None = None, quick: bool = False
) -> CheckReport:
    """Look for what is wrong in a data set.

    Args:
        data: a folder, a file of labels, a DATA.yaml or a run's config.
        task: noun or verb; None = by what is found. data_format: a format of the task's, likewise.
        quick: at labels and headers only: decode no picture, find no copies.

    Returns:
        What was found; errors first.

    Raises:
        UsageError, ConfigError, DataError: nothing is recognised, or there is nothing to read.
    """
    from visiontasks.data.check import check as check_data
    from visiontasks.data.opening import open_data

    tasks = [load_task(name) for name in TASKS]
    return check_data(open_data(data, tasks, task=task, data_format=data_format), quick=quick)


def load_config(path: Path, settings: Mapping[str, Any]) -> tuple[Task[Any, Any], Any]:
    """Read and check a config file. Returns the task that it is for and the resolved config.

    Raises: ConfigError with all faults; DataError when the file cannot be read.
    """
    path = read_config(path)
    values, lines = read_yaml(path)
    values = override(values, settings)
    lines = {**lines, **{tuple(key.split(".")): 0 for key in settings}}
    name = values.get("task")
    if name is None:
        raise ConfigError([f"{path}: missing key 'task'; add it, for instance task: classification"])
    try:
        task = load_task(str(name))
    except UsageError as error:
        raise ConfigError([f"{path}: task: {error}"]) from None
    return task, parse_config(task.config, values, file=str(path), lines=lines)


def _resumed_config(given: Any, folder: Path) -> Any:
    """The run's own config, with the given values where they may differ.

    Raises: ConfigError listing other differences; UsageError where there is no run.
    """
    path = folder / "config.yaml"
    if not path.exists():
        raise UsageError(f"expected a run to resume at {folder}, found none; start it without --resume")
    run = flatten(load_config(path, {})[1].model_dump(mode="json"))
    written, _ = parse_yaml(to_yaml(given), str(path))  # values as the file of the run has them
    new = flatten(parse_config(type(given), written, file=str(path)).model_dump(mode="json"))
    absent = object()
    keys = [*run, *(key for key in new if key not in run)]
    different = {key: new.get(key) for key in keys if run.get(key, absent) != new.get(key, absent)}
    faults = [
        f"{path}: expected {key} = {run.get(key)!r} as the run began, found {value!r}; "
        "restore it, or start a new run with --overwrite or -o"
        for key, value in different.items()
        if key not in RESUMABLE
    ]
    if faults:
        raise ConfigError(faults)
    return load_config(path, different)[1]


def evaluate(model: str | Path | Model[Any], split: str = "test", **options: Any) -> dict[str, float]:
    """Measure a model on a split of a data set; `measure` has the options.

    Returns:
        {name: fraction in [0, 1]} (losses excepted); nan = undefined.
    """
    return measure(model if isinstance(model, Model) else load(model), split, **options)[0]


def measure(
    model: Model[Any],
    split: str = "test",
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    map_class: Mapping[str, str] | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    max_skip: float = 0.01,
    strict: bool = False,
    report: Report | None = None,
) -> tuple[dict[str, float], str]:
    """Measure a model on a split of a data set.

    Args:
        model: a loaded model.
        split: train, val or test.
        data: a DATA.yaml (the `data:` section of a config) or a config; None = what the model was trained
            with.
        out: folder for metrics.json, tables.json, skipped.json and plots; None = write nothing.
        map_class: {name in the data: name in the model}, where they differ.
        batch_size: pictures a step; None = the task's own.
        workers: processes that read pictures; None = by the machine.
        max_skip: largest tolerated share of unreadable pictures, and of unusable labels.
        strict: none, and no repairs.
        report: where to speak; None = nowhere.

    Returns:
        ({name: fraction in [0, 1], losses excepted; nan = undefined}, the protocol of the numbers).

    Raises:
        UsageError, DataError, RunError, Interrupted: with what to do.
    """
    from visiontasks.engine.distributed import Group
    from visiontasks.engine.evaluate import evaluate as run_evaluation
    from visiontasks.engine.faults import run_faults
    from visiontasks.engine.log import Report
    from visiontasks.engine.results import make_result_folder, write_measurements, write_skipped
    from visiontasks.engine.signals import stop_signals

    if out is not None:
        make_result_folder(Path(out))
    opened, task, report = model.opened, model.task, report or Report(speaks=False)
    section = data_section(model, data, map_class or {})
    source = task.open_source(section, split, Ledger(strict), opened.classes)
    report.line(f"{model.name} on {split}: {number_of(len(source), 'picture')}, {opened.setting.device}")
    with stop_signals() as stop, run_faults("lower --batch-size"):
        measured = run_evaluation(
            task,
            opened.network,
            source,
            opened.transform,
            opened.evaluation_setting,
            batch_size=task.batch_size if batch_size is None else batch_size,
            workers=workers,
            max_skip=max_skip,
            group=Group(),
            stop=stop,
            report=report,
        )
    for line in source.ledger.summary():
        report.line(line)
    if out is not None:
        write_measurements(Path(out), task, measured.numbers, measured.evaluator)
        write_skipped(Path(out), {split: source.ledger})
    return measured.numbers, measured.evaluator.protocol


def compare(
    task: str, truth: Path, predictions: Path, *, out: str | Path | None = None, **options: Any
) -> tuple[dict[str, float], str]:
    """Measure files of predictions against files of truth, without any model; torch stays unimported.

    Args:
        task: noun or verb.
        truth, predictions: files or folders in a format of the task.
        out: folder for metrics.json, tables.json and plots; None = write nothing.
        options: the task's; every task has `map_class`, {name in the predictions: name in the truth}.

    Returns:
        (numbers, protocol) as `measure`.

    Raises:
        DataError: a file or record is wrong, or the two do not fit together.
    """
    from visiontasks.engine.results import make_result_folder, write_measurements

    if out is not None:
        make_result_folder(Path(out))
    found = load_task(task)
    evaluator = found.compare(truth, predictions, options)
    numbers = evaluator.compute()
    if out is not None:
        write_measurements(Path(out), found, numbers, evaluator)
    return numbers, evaluator.protocol
