"""Pure functions on arrays and tensors; they know nothing of tasks."""
