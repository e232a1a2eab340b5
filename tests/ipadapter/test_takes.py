"""The table of IPAdapter Reference, and the pages that show it."""

import re

import pytest

from authoring import take_table
from harness.host import ROOT
from ipadapter.takes import TAKES


def test_the_page_of_the_node_has_the_present_table():
    assert take_table.PAGE.read_text("utf-8") == take_table.page(), "run: python -m authoring.take_table"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_help_explains_every_choice(language: str):
    text = (ROOT / "help" / language / "apply.md").read_text("utf-8")
    own = text[text.index("## IPAdapterReference") : text.index("## IPAdapterApply\n")]
    assert [take for take in TAKES if f"*{take}*" not in own] == []
    assert len(re.findall(r"^- `take`", own, re.M)) == 2
