"""A lesson is a graph in columns: what stands where is said here, exact places are found when it is drawn."""

from typing import Any, NamedTuple

Part = dict[str, Any]
WIDTHS = {"MarkdownNote": 400, "SaveImage": 420, "PreviewImage": 300}
HEIGHTS = {  # of nodes that show more than their widgets
    "LoadImage": 330, "CLIPTextEncode": 130, "SaveImage": 460, "PreviewImage": 290, "IPAdapterDemoReference": 330,
    "IPAdapterContactSheet": 460, "IPAdapterSchedulePreview": 380, "IPAdapterLayerSweep": 900, "IPAdapterStudy": 900,
    "IPAdapterWeightSchedule": 440, "SaveAnimatedWEBP": 460, "IPAdapterAttentionMap": 420,
    "IPAdapterSaveEmbeds": 110, "IPAdapterWeights": 330, "IPAdapterReference": 330, "TextEncodeQwenImageEditPlus": 190,
    "IPAdapterFaceKeypoints": 480,
}  # fmt: skip


class Link(NamedTuple):
    """An output of a node."""

    source: str
    slot: int


class Outside(NamedTuple):
    """An input of a blueprint: the node connected to it, or the value of its widget."""

    name: str
    value: Any = None


class Node:
    """A node that was added; `node[i]` is its output i."""

    def __init__(self, name: str, part: Part) -> None:
        self.name, self.part = name, part

    def __getitem__(self, slot: int) -> Link:
        return Link(self.name, slot)

    def mute(self) -> "Node":
        """As Ctrl+M does: it is there to be switched on."""
        self.part["mode"] = 2
        return self


def widget_values(inputs: dict[str, Any]) -> dict[str, Any]:
    """What widgets are set to, also of those that a blueprint shows outside."""
    plain = {input: value.value if isinstance(value, Outside) else value for input, value in inputs.items()}
    return {input: value for input, value in plain.items() if value is not None and not isinstance(value, Link)}


def note_height(text: str) -> int:
    """Pixels that a note of 400 pixels' width takes: about 68 letters or 34 Chinese characters a line."""
    columns = [sum(2 if ord(letter) > 0x2E80 else 1 for letter in line) for line in text.splitlines()]
    return 60 + sum(8 if not width else 14 * -(-width // 68) for width in columns)


class Canvas:
    """Nodes in columns from left to right; each column grows downwards."""

    def __init__(self) -> None:
        self.nodes: dict[str, Part] = {}
        self.column = 0

    def next(self) -> None:
        """Begin a column: nodes added from now on stand to the right of all earlier ones."""
        self.column += 1

    def add(self, kind: str, title: str = "", /, **inputs: Any) -> Node:
        """A node in the present column; an input that is a Link is connected, any other is a widget's value."""
        name = f"{kind} {len(self.nodes) + 1}"
        part: Part = {
            "type": kind,
            "at": [self.column, len(self.nodes)],
            "links": {input: list(value) for input, value in inputs.items() if isinstance(value, Link)},
            "widgets": widget_values(inputs),
            "outside": {input: value.name for input, value in inputs.items() if isinstance(value, Outside)},
            "size": [WIDTHS.get(kind, 330), HEIGHTS.get(kind, 0)],
        }
        if title:
            part["title"] = title
        self.nodes[name] = part
        return Node(name, part)

    def note(self, text: str) -> None:
        """What the lesson shows and what to try next, on the far left."""
        part = self.add("MarkdownNote", "What to try", text=text.strip()).part
        part |= {"at": [-1, 0], "size": [WIDTHS["MarkdownNote"], note_height(text)]}

    def put_note_above(self) -> None:
        """Put the note above the nodes of the first column."""
        next(part for part in self.nodes.values() if part["type"] == "MarkdownNote")["at"] = [0, -1]

    @property
    def recipe(self) -> dict[str, Any]:
        return {"nodes": self.nodes}
