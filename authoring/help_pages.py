"""Write web/docs/, the help pages that ComfyUI shows, from the nodes' schemas and the advice in help/<language>/.

COMFYUI_PATH=... PYTHONPATH=tests python -m authoring.help_pages
What a schema says is taken from it, so no page can be out of date; advice is written by hand, a section for each node:

    ## NodeId
    What it is for, in a paragraph or more.

    values:
    - good values to begin with
    mistakes:
    - what goes wrong often
    related: NodeId, NodeId
    picture: the name of a workflow that has the node; the page shows the part of its picture around the node
"""

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from .locales import label, our_nodes, read_words

ROOT = Path(__file__).parents[1]
ADVICE, PAGES, WORKFLOWS = ROOT / "help", ROOT / "web" / "docs", ROOT / "workflows"
# A folder beside docs' pages: the page looks for it from there, in every language. Whole workflow pictures are too
# large for the page's help, and made smaller nobody can read them.
PICTURES = "pictures"
WIDEST, HIGHEST = 640, 420  # pixels of a picture
FRAME = 20  # pixels around a graph in the picture of its workflow
BESIDE = 45  # of the graph, from a node's position to the upper edge of its badge
ENGLISH = "en"
HEADINGS = {
    "en": {
        "values": "Good values", "mistakes": "Common mistakes", "inputs": "Inputs", "outputs": "Outputs",
        "related": "See also", "input": "input", "output": "output", "does": "what it does", "default": "default",
        "optional": "optional",
    },
    "zh": {
        "values": "推荐取值", "mistakes": "常见错误", "inputs": "输入", "outputs": "输出", "related": "相关节点",
        "input": "输入", "output": "输出", "does": "作用", "default": "默认", "optional": "可选",
    },
}  # fmt: skip


@dataclass(frozen=True)
class Advice:
    """What a person says about a node."""

    purpose: str
    values: str
    mistakes: str
    related: tuple[str, ...]
    picture: str | None


def read_advice(language: str) -> dict[str, Advice]:
    """Every node's advice in a language; KeyError where a section lacks one of its parts."""
    found = {}
    for file in sorted((ADVICE / language).glob("*.md")):
        for section in re.split(r"^## ", file.read_text("utf-8"), flags=re.M)[1:]:
            node_id, text = section.split("\n", 1)
            purpose, *parts = re.split(r"^(values|mistakes|related|picture):", text, flags=re.M)
            part = {name: value.strip() for name, value in zip(parts[::2], parts[1::2], strict=True)}
            related = tuple(name.strip() for name in part["related"].split(","))
            found[node_id.strip()] = Advice(
                purpose.strip(), part["values"], part["mistakes"], related, part.get("picture")
            )
    return found


def page(schema: Any, advice: Advice, titles: dict[str, str], language: str) -> str:
    """The help page of a node; `titles` are the nodes' names in English."""
    words = read_words(language) if language != ENGLISH else {"titles": {}, "labels": {}, "sentences": {}}
    heading = HEADINGS[language]

    def said(kind: str, english: str) -> str:
        return words[kind].get(english, english)

    alt = said("titles", schema.display_name)
    picture = [f"![{alt}]({PICTURES}/{schema.node_id}.jpg)"] if advice.picture else []
    parts = [
        f"# {said('titles', schema.display_name)}",
        said("sentences", schema.description),
        advice.purpose,
        *picture,
        f"## {heading['values']}\n\n{advice.values}",
        f"## {heading['mistakes']}\n\n{advice.mistakes}",
        f"## {heading['inputs']}\n\n"
        + table(
            [heading["input"], heading["does"], heading["default"]],
            [[f"`{item.id}`", said("sentences", item.tooltip), default(item, heading)] for item in schema.inputs],
        ),
    ]
    if schema.outputs:
        rows = [[said("labels", label(item)), said("sentences", item.tooltip)] for item in schema.outputs]
        parts.append(f"## {heading['outputs']}\n\n" + table([heading["output"], heading["does"]], rows))
    others = ", ".join(f"*{said('titles', titles[name])}*" for name in advice.related)
    return "\n\n".join([*parts, f"## {heading['related']}\n\n{others}"]) + "\n"


def default(item: Any, heading: dict[str, str]) -> str:
    """An input's value in a new node, as text; "optional" for a socket that may stay free."""
    options = getattr(item, "options", None) or []
    value = getattr(item, "default", None)
    if value is None and options and not is_file_list(item):
        value = options[0]
    if value is None:
        return heading["optional"] if item.optional else ""
    return f"`{value}`" if value != "" else ""


def is_file_list(item: Any) -> bool:
    """Whether the choices are files or folders of the user's disk, which no page can know."""
    return item.id in ("ipadapter_file", "file", "embeds", "image") or "models/" in (item.tooltip or "")


def table(head: list[str], rows: list[list[str]]) -> str:
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    lines = [head, ["---"] * len(head), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def pages(nodes: list[Any]) -> dict[str, str]:
    """Every page by its path in web/docs: a folder for each node, and its English page once more as a fallback."""
    schemas = {node.GET_SCHEMA().node_id: node.GET_SCHEMA() for node in nodes}
    titles = {node_id: schema.display_name for node_id, schema in schemas.items()}
    written = {}
    for language in HEADINGS:
        advice = read_advice(language)
        missing = sorted(schemas.keys() - advice.keys())
        if missing and language == ENGLISH:  # a missing translation falls back to English
            raise KeyError(f"No advice in help/{language}/ for {', '.join(missing)}. Write a section for each.")
        for node_id in (node_id for node_id in schemas if node_id in advice):
            written[f"{node_id}/{language}.md"] = page(schemas[node_id], advice[node_id], titles, language)
    english = {f"{node_id}.md": written[f"{node_id}/{ENGLISH}.md"] for node_id in schemas}
    return written | english


def around(node_id: str, workflow: str) -> tuple[int, int, int, int]:
    """The part of a workflow's picture that shows the first node of a kind, with its neighbours left and right.

    Returns left, top, right and bottom in pixels. StopIteration if the workflow has no such node.
    """
    nodes = json.loads((WORKFLOWS / f"{workflow}.json").read_text("utf-8"))["nodes"]
    with Image.open(WORKFLOWS / f"{workflow}.jpg") as picture:
        width, height = picture.size
    left, top = min(node["pos"][0] for node in nodes), min(node["pos"][1] for node in nodes) - BESIDE
    scale = (width - 2 * FRAME) / (max(node["pos"][0] + node["size"][0] for node in nodes) - left)
    node = next(node for node in nodes if node["type"] == node_id)
    middle = FRAME + (node["pos"][0] + node["size"][0] / 2 - left) * scale
    above = FRAME + (node["pos"][1] - BESIDE - top) * scale - FRAME
    wide, high = min(WIDEST, width), min(HIGHEST, round((node["size"][1] + BESIDE) * scale) + 2 * FRAME, height)
    x, y = round(min(max(middle - wide / 2, 0), width - wide)), round(min(max(above, 0), height - high))
    return x, y, x + wide, y + high


def pictures() -> dict[str, Image.Image]:
    """The picture of each help page that has one, by the node's id."""
    found = {}
    for node_id, advice in sorted(read_advice(ENGLISH).items()):
        if advice.picture:
            with Image.open(WORKFLOWS / f"{advice.picture}.jpg") as picture:
                found[node_id] = picture.convert("RGB").crop(around(node_id, advice.picture))
    return found


def write_pictures() -> None:
    folder = PAGES / PICTURES
    folder.mkdir(parents=True, exist_ok=True)
    for node_id, picture in pictures().items():
        picture.save(folder / f"{node_id}.jpg", quality=82, optimize=True)


def main() -> None:
    import conftest  # noqa: F401  # makes ComfyUI and the pack importable

    shutil.rmtree(PAGES, ignore_errors=True)
    made = pages(our_nodes())
    for name, text in made.items():
        file = PAGES / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
    write_pictures()
    print(f"{len(made)} pages in {PAGES.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
