"""Every node, input and output is explained in every language; English is in the nodes themselves."""

import warnings
from urllib.request import urlopen

import pytest

pytest.importorskip("comfy_api.latest", reason="needs ComfyUI; set COMFYUI_PATH")

from harness.locales import LOCALES, definitions, languages, our_nodes, read_definitions, read_words, texts
from harness.process import PACK

PAGES = LOCALES.parent / "web" / "docs"


@pytest.fixture(scope="module")
def nodes():
    return our_nodes()


def test_chinese_is_among_the_languages():
    assert "zh" in languages()


@pytest.mark.parametrize("language", languages())
def test_no_translation_is_left_over_and_what_is_missing_is_reported(nodes, language):
    """What is missing is shown in English, so a node can be added by somebody who writes no Chinese."""
    words = read_words(language)
    for kind, english in texts(nodes).items():
        if missing := english - words[kind].keys():
            warnings.warn(f"to translate in locales/{language}.json, {kind}: {sorted(missing)}", stacklevel=1)
        assert not words[kind].keys() - english, f"not used any more in locales/{language}.json, {kind}"
        assert all(words[kind].values())


@pytest.mark.parametrize("language", languages())
def test_comfyui_reads_what_the_words_say(nodes, language):
    written = read_definitions(language)
    assert written == definitions(nodes, read_words(language)), "run: python tests/harness/locales.py"


def test_the_server_serves_the_translations(server):
    served = server.call("/i18n")
    for language in languages():
        written = read_definitions(language)
        assert {id: served[language]["nodeDefs"][id] for id in written} == written


@pytest.mark.parametrize("page", sorted(PAGES.rglob("*.md")), ids=lambda page: page.relative_to(PAGES).as_posix())
def test_a_help_page_belongs_to_a_node_and_explains_each_of_its_inputs(nodes, page):
    node_id = page.stem if page.parent == PAGES else page.parent.name
    schema = {node.GET_SCHEMA().node_id: node.GET_SCHEMA() for node in nodes}[node_id]
    text = page.read_text("utf-8")
    assert [item.id for item in schema.inputs if f"`{item.id}`" not in text] == []
    assert (PAGES / f"{node_id}.md").exists()
    assert all((PAGES / node_id / f"{language}.md").exists() for language in languages())


def test_the_server_serves_the_help_pages(server):
    with urlopen(f"{server.url}/extensions/{PACK}/docs/IPAdapterApply/zh.md", timeout=60) as answer:
        assert answer.read().decode() == (PAGES / "IPAdapterApply" / "zh.md").read_text("utf-8")
