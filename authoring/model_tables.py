"""Write the tables of docs/model_files.md from the one table of what exists, ipadapter/catalog.py.

PYTHONPATH=tests python -m authoring.model_tables

Between the marks nothing is written by hand.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "model_files.md"
BEGIN, END = "<!-- {} from ipadapter/catalog.py: begin -->\n", "<!-- {} from ipadapter/catalog.py: end -->"
TITLES = {"sd15": "SD1.5", "sdxl": "SDXL", "kolors": "Kolors", "flux": "Flux", "sd3.5": "SD3.5"}


def row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = list(heads)
    return "\n".join([row(heads), f"|{'---|' * len(heads)}", *map(row, rows)]) + "\n"


def source(file: Any) -> str:
    return f"[{file.source.repository}](https://{file.source.page}), {file.source.licence}"


def adapters(catalog: Any) -> str:
    """One row for files of one source that need the same and are good at the same."""
    groups: dict[Any, list[Any]] = {}
    for file in catalog.ADAPTERS:
        groups.setdefault((file.source, file.encoder, file.face_pack, file.good_at), []).append(file)
    titles = {file.name: file.title for file in catalog.ENCODERS}
    rows = []
    for (_, encoder, pack, good_at), files in groups.items():
        needs = [titles.get(encoder, ""), f"`{pack}`" if pack else ""]
        families = dict.fromkeys(TITLES[file.family] for file in files)
        presets = dict.fromkeys(file.preset for file in files if file.preset)
        own_loader = "with IPAdapter Model Loader"
        rows.append([
            ", ".join(f"`{file.name}`" for file in files), ", ".join(families), " and ".join(filter(None, needs)),
            good_at, ", ".join(presets) or own_loader, source(files[0]),
        ])  # fmt: skip
    return table(("adapter", "for", "needs", "good at", "preset", "from, licence"), rows)


def others(catalog: Any) -> str:
    """Encoders, face packs, files beside adapters and LoRAs."""
    rows = [[f"`{file.name}`", file.title, "`models/clip_vision`", source(file)] for file in catalog.ENCODERS]
    rows += [[f"`{file.name}`", file.title, "`models/open_clip`", source(file)] for file in catalog.TOWERS]
    for pack in catalog.FACE_PACKS:
        rows.append([f"`{pack.name}`", "face pack", "`models/insightface/models`", source(pack)])
    for file in catalog.BESIDE:
        rows.append([f"`{file.name}`", file.title, f"`models/{file.folder}`", source(file)])
    for lora in catalog.LORAS:
        rows.append([f"`{lora.name}`", "LoRA, which is also in the adapter's file", "`models/loras`", source(lora)])
    return table(("file", "what", "goes into", "from, licence"), rows)


def recognised(catalog: Any) -> str:
    """Files that are named and not run."""
    rows = [[f"`{file.name}`", file.title, file.why, source(file)] for file in catalog.RECOGNISED]
    return table(("file", "what", "why, or where it runs", "from, licence"), rows)


TABLES = {"adapters": adapters, "other files": others, "recognised": recognised}


def between(text: str, name: str) -> str:
    """What stands between a table's marks."""
    return text.partition(BEGIN.format(name))[2].partition(END.format(name))[0]


def main() -> None:
    import conftest  # noqa: F401  # makes the pack importable
    from pack.ipadapter import catalog

    text = PAGE.read_text("utf-8")
    for name, make in TABLES.items():
        old = BEGIN.format(name) + between(text, name) + END.format(name)
        assert old in text, f"{PAGE.name} has no marks for {name}"
        text = text.replace(old, BEGIN.format(name) + make(catalog) + END.format(name))
    PAGE.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
