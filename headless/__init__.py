"""Batches: run a graph once for each row of a table, on servers or a cluster, through ComfyUI's API.

ComfyUI never imports this folder.

report = run_batch("graph.json", "rows.csv", "output/film", grid={"seed": [1, 2, 3]}, servers=["http://gpu-1:8188"])
"""

from .batch import Report, run_batch
from .errors import BatchError, Problem

__all__ = ["BatchError", "Problem", "Report", "run_batch"]
