"""One function checks every name that reaches the disk: none leads out of its folder, and none is more than a name."""

from pathlib import Path

import pytest

from pack.encoders.face_models import find_pack
from pack.ipadapter.errors import FileNameError
from pack.ipadapter.names import inside

OUT = ("..", "../a", "a/../../b", "a\\..\\..\\b", "/etc/passwd", "\\\\host\\share", "C:\\a", "c:a", "a/..")
NOT_NAMES = ("", " ", ".", "a/", "a/.", "a\0b", "a\nb", "x" * 256, "a/" * 600 + "b")


@pytest.mark.parametrize("name", [*OUT, *NOT_NAMES, None, 7])
def test_no_such_name_becomes_a_path(name, tmp_path: Path):
    with pytest.raises(FileNameError) as error:
        inside(tmp_path, name)
    assert len(str(error.value)) < 400 and str(tmp_path) in str(error.value)


@pytest.mark.parametrize("name", ["a", "a b.bin", "a/b/c.bin", "..a", "模型/適配器.safetensors", "a\u3000b", "x" * 255])
def test_names_of_files_and_of_files_in_folders_do(name, tmp_path: Path):
    assert inside(tmp_path, name) == tmp_path / name


def test_a_plain_name_lies_in_the_folder_itself(tmp_path: Path):
    with pytest.raises(FileNameError, match="leads out of"):
        inside(tmp_path, "a/b", plain=True)


@pytest.mark.parametrize("name", ["../elsewhere", "inner/pack", "/elsewhere"])
def test_a_face_pack_is_never_loaded_from_another_folder(name, tmp_path: Path):
    for folder in ("elsewhere", "models/inner/pack"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "det.onnx").touch()
    absolute = str(tmp_path / "elsewhere") if name.startswith("/") else name
    with pytest.raises(FileNameError):
        find_pack(absolute, [tmp_path])
