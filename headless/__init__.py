"""One graph, a table of values, one machine or many: ComfyUI through its API. Nothing here is imported by ComfyUI.

report = run_batch("graph.json", "rows.csv", "output/film", grid={"seed": [1, 2, 3]}, servers=["http://gpu-1:8188"])
"""

from .batch import Report, run_batch
from .errors import BatchError, Problem

__all__ = ["BatchError", "Problem", "Report", "run_batch"]
