"""The doctor's report, as text for people and as JSON for programs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..encoders.face_models import loose_networks, pack_fault, packed
from ..ipadapter.catalog import FACE_PACKS
from ..ipadapter.families import FAMILIES
from ..ipadapter.model_folders import OTHER_FOLDERS, model_folders
from .packages import Package, packages
from .survey import BROKEN, DOUBTFUL, FINE, Found, survey
from .verdicts import Verdict, partners, verdicts

NETWORKS = "*.onnx"


@dataclass(frozen=True)
class Report:
    """The doctor's results: model folders, files, face packs, verdicts on presets, Python packages."""

    places: Mapping[str, Sequence[Path]]
    files: Sequence[Found]
    packs: Sequence[Found]
    verdicts: Sequence[Verdict]
    packages: Sequence[Package]

    @property
    def running(self) -> int:
        """The number of presets, counted by family, that would run now."""
        return sum(verdict.runs for verdict in self.verdicts)

    @property
    def doubtful(self) -> list[Found]:
        """Files and face packs with a problem."""
        return [file for file in [*self.files, *self.packs] if file.state != FINE]

    @property
    def summary(self) -> str:
        """The counts of files, face packs, problems and presets, as a sentence."""
        known = sum(bool(file.kind) for file in self.files)
        whole = sum(pack.state == FINE for pack in self.packs)
        return (
            f"{_count(known, 'file')} and {_count(whole, 'face pack')} understood, {len(self.doubtful)} to look at; "
            f"{self.running} of {len(self.verdicts)} presets would run now"
        )


def examine_all(places: Mapping[str, Sequence[Path]], face_roots: Sequence[Path]) -> Report:
    """The report on model folders (by ComfyUI's name of each) and on face packs (in models/ below each face root).

    Of model files, only headers are read. insightface and onnxruntime are imported, which may take seconds.
    """
    packs = face_packs(face_roots)
    return Report(places, survey(places), packs, verdicts(model_folders(places), face_roots), packages())


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def face_packs(roots: Sequence[Path]) -> list[Found]:
    """The folders of face packs that the loaders list, each with its .onnx networks or a fault; zips of packs that are
    not there, and networks outside of every pack's folder.
    """
    found: dict[str, Found] = {}
    for folder in (path for root in roots for path in sorted(root.glob("models/[!.]*")) if path.is_dir()):
        found.setdefault(folder.name, _face_pack(folder))
    return [*found.values(), *_misplaced_packs(roots, [name for name, pack in found.items() if pack.state == FINE])]


def _face_pack(folder: Path) -> Found:
    parts = [part for part in (folder, folder / folder.name) if any(part.glob(NETWORKS))]
    whole = next((part for part in parts if pack_fault(part) is None), parts[0] if parts else folder)
    networks = sorted(whole.glob(NETWORKS))
    sizes = {path.name: path.stat().st_size if path.is_file() else 0 for path in networks}  # 0: a broken link
    title = f"{_count(len(networks), 'network')}: {', '.join(path.stem for path in networks)}"
    empty = [name for name, size in sizes.items() if not size]
    fault = f"{', '.join(empty)} is empty" if empty else pack_fault(whole) or ""
    state = BROKEN if empty or not networks else DOUBTFUL if fault else FINE
    return Found(folder, "insightface", folder.name, sum(sizes.values()), "face pack", title, state, fault)


def _misplaced_packs(roots: Sequence[Path], complete: Sequence[str]) -> list[Found]:
    """Zips of packs that are not `complete`, and networks in a root, its `models`, or a pack's folder in the root."""
    found = []
    for root in roots:
        models = root / "models"
        zips = [path for path in packed(root) if path.stem not in complete]
        notes = [(path, f"still packed: unpack it into {models / path.stem}") for path in zips]
        beside = (root / pack.name for pack in FACE_PACKS)
        loose = [path for folder in (root, models, *beside) for path in loose_networks(folder)]
        notes += [(path, f"in no pack's folder: move it into the folder of its pack in {models}") for path in loose]
        for path, note in notes:
            name = path.relative_to(root).as_posix()
            found.append(Found(path, "insightface", name, state=DOUBTFUL, note=note))
    return found


def as_json(report: Report) -> str:
    """The report as JSON for programs: files, presets and packages, with absolute paths."""
    packs = [pack.name for pack in report.packs if pack.state == FINE]
    whole = {
        "summary": report.summary,
        "places": {folder: [str(place) for place in places] for folder, places in report.places.items()},
        "files": [_file(file, report.files, packs) for file in [*report.files, *report.packs]],
        "presets": [_preset(verdict) for verdict in report.verdicts],
        "packages": [vars(package) for package in report.packages],
    }
    return json.dumps(whole, indent=1, ensure_ascii=False)


def _file(file: Found, files: Sequence[Found], packs: Sequence[str]) -> dict[str, Any]:
    there, missing = partners(file, files, packs)
    facts = {"path": str(file.path), "folder": file.folder, "name": file.name, "bytes": file.size, "kind": file.kind}
    return facts | {
        "what": file.title, "state": file.state, "note": file.note, "works_with": there, "misses": missing
    }  # fmt: skip


def _preset(verdict: Verdict) -> dict[str, Any]:
    return {
        "preset": verdict.preset, "family": verdict.family, "runs": verdict.runs, "why": verdict.why,
        "note": verdict.note, "files": [str(path) for path in verdict.files],
        "missing": [
            {"name": file.name, "folder": file.folder, "from": str(file.source), "url": file.url}
            for file in verdict.missing
        ],
    }  # fmt: skip


def as_text(report: Report) -> str:
    """The report as text for people: presets, files, packages, and for each problem what to do."""
    packs = [pack.name for pack in report.packs if pack.state == FINE]
    lines = [report.summary, "", "Presets"]
    for verdict in report.verdicts:
        mark = "+" if verdict.runs else "-"
        lines.append(f" {mark} {verdict.preset}, {FAMILIES[verdict.family].title}: {_outcome(verdict)}")
    lines += ["", "Files"]
    for file in report.files:
        there, missing = partners(file, report.files, packs)
        need = f" with {', '.join(there)}" if there else ""
        need += f"; misses {', '.join(missing)}" if missing else ""
        note = f" ({file.state}: {file.note})" if file.note else ""
        mark = "+" if file.state == FINE and not missing else "!"
        lines.append(f" {mark} {file.folder}/{file.name}: {file.title or 'not understood'}{need}{note}")
    lines += [
        f" {'+' if pack.state == FINE else '!'} {pack.kind or pack.folder} {pack.name}: {pack.note or pack.title}"
        for pack in report.packs
    ]
    lines += ["", "Packages"]
    for package in report.packages:
        said = package.fault or f"{package.version} {package.note}".strip()
        lines.append(f" {'-' if package.fault else '+'} {package.name}: {said}")
    names = ("ipadapter", *(other.name for other in OTHER_FOLDERS), "clip_vision", "loras", "insightface")
    searched = [f"{folder}: {place}{'' if place.is_dir() else ' (not there)'}" for folder in names
                for place in report.places.get(folder, ())]  # fmt: skip
    return "\n".join([*lines, "", "Searched", *(f"   {place}" for place in searched)])


def _outcome(verdict: Verdict) -> str:
    if verdict.runs:
        note = f"; {verdict.note}" if verdict.note else ""
        return f"runs with {', '.join(path.name for path in verdict.files)}{note}"
    if verdict.missing and verdict.cause == "missing":
        return "misses " + "; ".join(f"{file.name} in {file.folder}, from {file.source}" for file in verdict.missing)
    return verdict.why
