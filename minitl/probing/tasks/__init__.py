"""The tasks of probing, from data to questions: one idea a file, and a table of all."""

from minitl.probing.tasks.table import TASKS, probing_tasks

__all__ = ["TASKS", "probing_tasks"]
