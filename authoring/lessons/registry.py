"""All lessons by the name of their file, each with the note of notes.md."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .kits import Kit
from .lesson import Part

RECIPES: dict[str, Part] = {}
NOTES = Path(__file__).with_name("notes.md")


def read_notes() -> dict[str, tuple[str, str]]:
    """What every lesson says, English and Chinese."""
    sections = re.split(r"^# (\w+)\n", NOTES.read_text("utf-8"), flags=re.MULTILINE)[1:]
    return {
        name: (joined(english), joined(chinese))
        for name, text in zip(sections[::2], sections[1::2], strict=True)
        for english, chinese in [text.split("\n---\n")]
    }


def joined(text: str) -> str:
    """Paragraphs and items of lists as one line each, since the page's notes break lines by themselves."""
    return re.sub(r"(?<!\n)\n(?![\n-])\s*", " ", text.strip())


TEXTS = read_notes()


def lesson(name: str, *kits: type[Kit]) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Draw a lesson once for every kit; the demo's has `_no_downloads` behind its name."""

    def draw(describe: Callable[[Any], None]) -> Callable[[Any], None]:
        for kit in kits:
            canvas = kit()
            canvas.lesson(*TEXTS[name])
            describe(canvas)
            RECIPES[name + kit.suffix] = canvas.recipe | {"run": bool(kit.suffix)}
        return describe

    return draw
