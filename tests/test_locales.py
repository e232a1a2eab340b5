"""Every node, input and output is explained in every language; English is in the nodes themselves."""

import pytest

pytest.importorskip("comfy_api.latest", reason="needs ComfyUI; set COMFYUI_PATH")

from harness.locales import definitions, languages, our_nodes, read_definitions, read_words, texts


@pytest.fixture(scope="module")
def nodes():
    return our_nodes()


def test_chinese_is_among_the_languages():
    assert "zh" in languages()


@pytest.mark.parametrize("language", languages())
def test_every_text_is_translated_and_no_translation_is_left_over(nodes, language):
    words = read_words(language)
    for kind, english in texts(nodes).items():
        assert not english - words[kind].keys(), f"to translate in locales/{language}.json, {kind}"
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
