"""Workflows as the page saves them, converted by the page."""

import json

import pytest

from harness.host import ROOT
from headless import run_batch

WORKFLOW = ROOT / "workflows" / "try_it_no_downloads.json"


def test_a_workflow_from_the_page_runs_as_it_is_with_its_own_titles(server, tmp_path):
    pytest.importorskip("playwright")
    assert "nodes" in json.loads(WORKFLOW.read_text("utf-8"))
    grid = {"KSampler.seed": [1, 2], "KSampler.steps": [2]}
    report = run_batch(WORKFLOW, None, tmp_path, grid=grid, servers=[server.url], progress=False)
    assert len(report.outcomes) == 2 and not report.failed
    first, second = ((tmp_path / outcome.files[0]).read_bytes() for outcome in report.outcomes)
    assert first != second
