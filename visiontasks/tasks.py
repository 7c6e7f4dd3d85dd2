"""The tasks, by name. Adding one is a folder with a `TASK` in it and one line here."""

from __future__ import annotations

import importlib
from typing import Any, Final

from visiontasks.errors import UsageError, unknown_name
from visiontasks.types import Task

TASKS: Final = {  # folder -> verb
    "classification": "classify",
    "detection": "detect",
    "segmentation": "segment",
}


def official_networks() -> dict[str, Any]:
    """Of all tasks: torchvision's name -> what makes one of our models of its network."""
    return {name: adopt for task in TASKS for name, adopt in load_task(task).official.items()}


def load_task(name: str) -> Task[Any, Any]:
    """Import a task by its noun or its verb; importing one leaves torch alone.

    Raises: UsageError when there is no such task.
    """
    nouns = {verb: noun for noun, verb in TASKS.items()}
    noun = nouns.get(name, name)
    if noun not in TASKS:
        raise UsageError(unknown_name("task", name, [*TASKS, *nouns]))
    task: Task[Any, Any] = importlib.import_module(f"visiontasks.{noun}").TASK
    return task
