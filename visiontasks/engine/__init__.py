"""Runs any task: fit, evaluate, predict. Knows the layers below the tasks, and no task."""
