"""Write locales/<language>/nodeDefs.json, which ComfyUI reads, from the nodes and the words in locales/<language>.json.

COMFYUI_PATH=... PYTHONPATH=tests python -m authoring.locales
The words are kept once: titles by display name, labels by input or output name, sentences by their English text.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

LOCALES = Path(__file__).parents[1] / "locales"
Words = dict[str, dict[str, str]]


def languages() -> list[str]:
    return sorted(file.stem for file in LOCALES.glob("*.json"))


def read_words(language: str) -> Words:
    return json.loads((LOCALES / f"{language}.json").read_text("utf-8"))


def read_definitions(language: str) -> dict[str, Any]:
    return json.loads((LOCALES / language / "nodeDefs.json").read_text("utf-8"))


def our_nodes() -> list[Any]:
    """The node classes of this pack; needs ComfyUI and the pack importable, as tests/conftest.py makes them."""
    from pack.nodes import IPAdapterAtelier
    from pack.nodes.loading.files import register_folder

    register_folder("ipadapter")
    return asyncio.run(IPAdapterAtelier().get_node_list())


def label(slot: Any) -> str:
    """What the page shows beside a slot: an output's name, or an input's id."""
    return slot.display_name or slot.id


def texts(nodes: list[Any]) -> dict[str, set[str]]:
    """Everything there is to translate, by the kinds of Words."""
    schemas = [node.GET_SCHEMA() for node in nodes]
    slots = [slot for schema in schemas for slot in (*schema.inputs, *schema.outputs)]
    return {
        "titles": {schema.display_name for schema in schemas},
        "labels": {label(slot) for slot in slots},
        "sentences": {schema.description for schema in schemas} | {slot.tooltip for slot in slots},
    }


def definitions(nodes: list[Any], words: Words) -> dict[str, Any]:
    """What nodeDefs.json holds; a text without a translation stays as it is, in English."""

    def said(kind: str, english: str) -> str:
        return words[kind].get(english, english)

    def slot(item: Any) -> dict[str, str]:
        return {"name": said("labels", label(item)), "tooltip": said("sentences", item.tooltip)}

    found = {}
    for schema in sorted((node.GET_SCHEMA() for node in nodes), key=lambda schema: schema.node_id):
        found[schema.node_id] = {
            "display_name": said("titles", schema.display_name),
            "description": said("sentences", schema.description),
            "inputs": {item.id: slot(item) for item in schema.inputs},
            "outputs": {str(number): slot(item) for number, item in enumerate(schema.outputs)},
        }
    return found


def main() -> None:
    import conftest  # noqa: F401  # makes ComfyUI and the pack importable

    nodes = our_nodes()
    for language in languages():
        file = LOCALES / language / "nodeDefs.json"
        file.parent.mkdir(exist_ok=True)
        made = json.dumps(definitions(nodes, read_words(language)), ensure_ascii=False, indent=1)
        file.write_text(made + "\n", "utf-8")
        print(f"{file.relative_to(LOCALES.parent)}: {len(nodes)} nodes")


if __name__ == "__main__":
    main()
