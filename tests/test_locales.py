"""Every node, input and output is explained in every language; English is in the nodes themselves."""

import re
import warnings
from urllib.request import urlopen

import pytest
from PIL import Image, ImageChops, ImageStat

pytest.importorskip("comfy_api.latest", reason="needs ComfyUI; set COMFYUI_PATH")

from authoring.help_pages import HEADINGS, PAGES, PICTURES, around, pages, pictures, read_advice
from authoring.locales import definitions, label, languages, our_nodes, read_definitions, read_words, texts
from harness.host import ROOT
from harness.process import PACK

# Inputs of other nodes that advice names: those of a node that comes before.
ELSEWHERE = {"IPAdapterCombineEmbeds": {"weight"}}
WORDS = {"all", "plus", "concat"}  # in italics, and no choice of a list


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
    assert written == definitions(nodes, read_words(language)), "run: python -m authoring.locales"


def test_the_server_serves_the_translations(server):
    served = server.call("/i18n")
    for language in languages():
        written = read_definitions(language)
        assert {id: served[language]["nodeDefs"][id] for id in written} == written


def test_every_node_has_a_help_page_none_is_out_of_date_and_what_is_not_translated_is_reported(nodes):
    written = {file.relative_to(PAGES).as_posix(): file.read_text("utf-8") for file in PAGES.rglob("*.md")}
    assert written == pages(nodes), "run: python -m authoring.help_pages"
    wanted = {f"{node.GET_SCHEMA().node_id}/{language}.md" for node in nodes for language in HEADINGS}
    if missing := sorted(wanted - written.keys()):
        warnings.warn(f"to translate in help/: {missing}", stacklevel=1)
    assert not [name for name in missing if name.endswith("/en.md")]
    assert set(languages()) | {"en"} == set(HEADINGS)


def test_the_picture_of_a_help_page_shows_its_node_as_the_lesson_has_it_now():
    kept = {file.stem: file for file in (PAGES / PICTURES).glob("*.jpg")}
    now = pictures()
    assert kept.keys() == now.keys(), "run: python -m authoring.help_pages"
    for node_id, file in kept.items():
        with Image.open(file) as picture:
            assert picture.size == now[node_id].size, node_id
            differences = ImageChops.difference(picture.convert("RGB"), now[node_id])
        assert max(ImageStat.Stat(differences).mean) < 4, node_id  # of 255; JPEG loses a little, another crop gives 10
    with pytest.raises(StopIteration):
        around("IPAdapterUnifiedLoader", "try_it_no_downloads")


@pytest.mark.parametrize("language", HEADINGS)
def test_advice_names_inputs_choices_and_nodes_that_there_are(nodes, language):
    schemas = {node.GET_SCHEMA().node_id: node.GET_SCHEMA() for node in nodes}
    inputs = [item for schema in schemas.values() for item in schema.inputs]
    slots = {item.id for item in inputs} | {label(item) for schema in schemas.values() for item in schema.outputs}
    choices = {str(choice) for item in inputs for choice in getattr(item, "options", None) or ()} | WORDS
    advice = read_advice(language)
    assert advice.keys() <= schemas.keys()
    for node_id, one in advice.items():
        assert set(one.related) <= schemas.keys() - {node_id}, node_id
        own = {item.id for item in schemas[node_id].inputs} | {label(item) for item in schemas[node_id].outputs}
        for line in one.values.splitlines():
            first = re.match(r"- `([a-z_]+)`", line)
            assert first is None or first[1] in own, (node_id, line)
            named = {name for name in re.findall(r"`([a-z_]+)`", line)} & slots
            assert named <= own | ELSEWHERE.get(node_id, set()), (node_id, line)
            picked = re.findall(r"(?<![*])[*]([^*]+)[*](?![*])", line)
            assert all(any(choice.startswith(name) for choice in choices) for name in picked), (node_id, line)
        assert one.picture is None or (PAGES / PICTURES / f"{node_id}.jpg").is_file()


def test_chinese_texts_name_nodes_as_comfyui_s_chinese_page_does():
    words = read_words("zh")
    other = sorted((name for name, chinese in words["titles"].items() if name != chinese), key=len, reverse=True)
    english = re.compile("|".join(re.escape(name) for name in other if name.startswith("IPAdapter ")))
    files = [*(ROOT / "docs" / "zh").glob("*.md"), *(ROOT / "help" / "zh").glob("*.md")]
    for place, text in ({str(file): file.read_text("utf-8") for file in files} | words["sentences"]).items():
        assert not english.findall(text), place
        assert set(re.findall(r"“(IPAdapter[^”]*)”", text)) <= set(words["titles"].values()), place


def test_the_server_serves_the_help_pages(server):
    with urlopen(f"{server.url}/extensions/{PACK}/docs/IPAdapterApply/zh.md", timeout=60) as answer:
        assert answer.read().decode() == (PAGES / "IPAdapterApply" / "zh.md").read_text("utf-8")
