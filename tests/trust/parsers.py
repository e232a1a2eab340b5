"""Everything that reads what somebody wrote or sent, each as a function of bytes: hypothesis and atheris feed them.

Each may refuse its input with a ValueError (of which ours are kinds), and with nothing else.
"""

import io
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor

from pack.charts.sheets import contact_sheet
from pack.demo_models.words import find_words
from pack.encoders.openclip import read_config
from pack.encoders.text_embeds import phrases
from pack.ipadapter.checkpoint import read_checkpoint, read_file
from pack.ipadapter.embeds_file import load_embeds
from pack.ipadapter.families import SD15, SDXL
from pack.ipadapter.names import inside
from pack.ipadapter.peek import describe
from pack.masks.regions import parse_colours, parse_shares, split_canvas
from pack.model_files.errors import DownloadError
from pack.model_files.names import check_repository, check_suffix, target
from pack.weight_schedules.frames import Strategy, parse_weights, prompt_schedule, timeline
from pack.weight_schedules.layer_text import parse_layer_text
from pack.weight_schedules.schedule_json import from_json, to_json
from pack.weight_schedules.steps import StepCurve, parse_points

FOLDER = Path("folder")
LONGEST = 2000  # characters of a message


def layers(text: str) -> None:
    factors = parse_layer_text(text, SDXL.blocks)
    assert len(factors) == len(SDXL.blocks) and all(map(math.isfinite, factors))


def points(text: str) -> None:
    curve = StepCurve(points=parse_points(text))
    assert all(math.isfinite(curve.at(percent / 7)) for percent in range(8))


def weights(text: str) -> None:
    made, _ = timeline(Strategy(weights=text, timing="ease_in", frames=4), 2)
    assert len(made.weights) == 8 and all(map(math.isfinite, [*made.weights, *parse_weights(text)]))


def schedule(text: str) -> None:
    read = from_json(text)
    assert from_json(to_json(read)) == read
    assert all(map(math.isfinite, read.resolve(SD15.blocks).at(0.3)))


def shares(text: str) -> None:
    found = parse_shares(text)
    if 0 < len(found) <= 8:
        assert float(split_canvas([1.0], found, 4, 64).sum()) == 4 * 64


def colours(text: str) -> None:
    assert all(0 <= part <= 1 for colour in parse_colours(text) for part in colour)


def file_name(text: str) -> None:
    path = inside(FOLDER, text)
    assert path.parts[: len(FOLDER.parts)] == FOLDER.parts and ".." not in path.parts and path.name


def download(text: str) -> None:
    check_suffix(text, True)
    assert target(FOLDER, text).parent == FOLDER
    check_repository(text, text)


def captions(text: str) -> None:
    from PIL import Image

    contact_sheet([Image.new("RGB", (4, 4))], [text.replace("\n", " ")], title=text, cell=32)


def words(text: str) -> None:
    assert len(find_words(text)) < 4


def subtracted(text: str) -> None:
    assert all(part.strip() == part and part for part in phrases(text))


def prompts(text: str) -> None:
    prompt_schedule(Strategy(frames=3), 2, text)


TEXTS: dict[str, Callable[[str], None]] = {
    "layers": layers, "points": points, "weights": weights, "schedule": schedule, "shares": shares, "colours": colours,
    "file name": file_name, "download": download, "captions": captions, "words": words, "subtracted": subtracted,
    "prompts": prompts,
}  # fmt: skip


def adapter(path: Path) -> None:
    state, metadata = read_file(path)
    read_checkpoint(state, path.name, metadata)


def embeds(path: Path) -> None:
    found = load_embeds(path)
    assert isinstance(found, Tensor) and bool(found.isfinite().all())


FILES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "adapter.bin": (".bin", adapter),
    "adapter.safetensors": (".safetensors", adapter),
    "old embeds": (".ipadpt", embeds),
    "embeds": (".ipadpt.safetensors", embeds),
    "what a file is": (".safetensors", lambda path: describe(path.name, path)),
    "what a pickle is": (".pt", lambda path: describe(path.name, path)),
    "open_clip_config": (".json", read_config),
}


def feed_text(name: str, text: str) -> None:
    """Let a parser read a text; AssertionError where it gives nonsense or a message of many lines."""
    try:
        TEXTS[name](text)
    except (ValueError, DownloadError) as error:
        assert len(str(error)) < LONGEST, f"{name}: a message of {len(str(error))} characters"
        assert type(error) is not UnicodeDecodeError


def feed_file(name: str, content: bytes) -> None:
    """Let a reader open a file with this content, as `feed_text`."""
    suffix, read = FILES[name]
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"file{suffix}"
        path.write_bytes(content)
        try:
            read(path)
        except ValueError as error:
            assert path.stem in str(error) and len(str(error)) < LONGEST, f"{name}: {error!s:.200}"
            assert "weights_only" not in str(error)


def pickled_archive(pickle: bytes, data: bytes) -> bytes:
    """A file as torch.save writes it, with this pickle and one storage."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as files:
        for name, content in (("data.pkl", pickle), ("byteorder", b"little"), ("data/0", data), ("version", b"3\n")):
            files.writestr(f"archive/{name}", content)
    return buffer.getvalue()
