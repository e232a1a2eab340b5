"""Packs on disk, providers, and what the user reads when something is missing or broken."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from faces import assets
from pack.encoders.face_models import (
    PROVIDER_PACKAGES,
    PROVIDERS,
    choose_providers,
    fallback_note,
    find_pack,
    import_face_module,
    load_pack,
    pack_fault,
)
from pack.encoders.faces import face_features
from pack.encoders.onnx_files import network_role
from pack.ipadapter.errors import FaceError

AVAILABLE = ["AzureExecutionProvider", "CPUExecutionProvider"]


def test_only_detection_and_recognition_are_loaded(analysis):
    assert sorted(analysis.models) == ["detection", "recognition"]


def test_a_pack_in_use_is_not_loaded_twice(analysis, face_root):
    assert load_pack(face_root / "models" / assets.PACK, "CPU") is analysis


def test_every_provider_of_the_user_interface_has_onnxruntime_s_own_name():
    from onnxruntime import get_all_providers  # pyright: ignore[reportAttributeAccessIssue] - it is there

    assert all(set(names) & set(get_all_providers()) for names in PROVIDERS.values())
    assert PROVIDERS["DirectML"] == ("DmlExecutionProvider",)


def test_a_wished_provider_comes_first_and_the_cpu_last():
    cuda = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert choose_providers("CUDA", ["CUDAExecutionProvider", *AVAILABLE]) == cuda
    assert choose_providers("CPU", AVAILABLE) == ["CPUExecutionProvider"]


@pytest.mark.parametrize("wished", [name for name in PROVIDERS if name != "CPU"])
def test_a_provider_that_onnxruntime_lacks_becomes_the_cpu_and_what_to_install_is_said(wished):
    assert choose_providers(wished, AVAILABLE) == ["CPUExecutionProvider"]
    note = fallback_note(wished, AVAILABLE)
    assert note and note.startswith("Faces run on the CPU: ")
    assert f"does not offer {wished} ({PROVIDERS[wished][0]}" in note
    assert f"install {PROVIDER_PACKAGES[wished]}" in note


def test_a_provider_that_is_there_needs_no_note():
    assert fallback_note("CPU", AVAILABLE) is None
    assert fallback_note("CUDA", ["CUDAExecutionProvider", *AVAILABLE]) is None


def test_a_pack_for_a_missing_provider_is_loaded_and_the_log_says_so_once(tmp_path, face_root, caplog):
    shutil.copytree(face_root / "models" / assets.PACK, tmp_path / "pack")
    first, again = load_pack(tmp_path / "pack", "ROCM"), load_pack(tmp_path / "pack", "ROCM")
    assert again is first and first.det_model.session.get_providers() == ["CPUExecutionProvider"]
    assert [record.message for record in caplog.records] == [fallback_note("ROCM")]


def test_an_unknown_provider_is_an_error():
    with pytest.raises(FaceError, match="Unknown provider 'Vulkan'"):
        choose_providers("Vulkan", AVAILABLE)


def test_a_missing_pack_names_the_folder_the_source_and_the_licence(tmp_path, face_root):
    with pytest.raises(FileNotFoundError) as error:
        find_pack("buffalo_l", [tmp_path, face_root])
    text = str(error.value)
    assert str(tmp_path / "models" / "buffalo_l") in text and "non-commercial" in text and "buffalo_l.zip" in text
    assert f"Packs found: {assets.PACK}" in text and "Nothing is downloaded" in text


def test_a_pack_is_found_in_any_root_and_inside_the_folder_its_zip_made(tmp_path, face_root):
    assert find_pack(assets.PACK, [tmp_path, face_root]) == face_root / "models" / assets.PACK
    nested = tmp_path / "models" / "mine" / "mine"
    shutil.copytree(face_root / "models" / assets.PACK, nested)
    assert find_pack("mine", [tmp_path]) == nested


def test_a_pack_that_is_half_there_says_what_it_lacks_and_where_its_files_belong(tmp_path, face_root):
    whole = face_root / "models" / assets.PACK
    assert pack_fault(whole) is None
    half = tmp_path / "models" / "buffalo_l"
    half.mkdir(parents=True)
    shutil.copy(whole / "det_yunet.onnx", half)
    assert find_pack("buffalo_l", [tmp_path]) == half, "a detector alone crops faces"
    for text in (str(half), "no recogniser", "its files: det_yunet.onnx", "buffalo_l.zip"):
        assert text in str(pack_fault(half))
    (half / "w600k_r50.onnx").write_bytes(
        (whole / "rec_sface512.onnx").read_bytes()[:-1000]
    )  # as a download breaks off
    assert "no recogniser, and w600k_r50.onnx cannot be read" in str(pack_fault(half))
    shutil.copytree(whole, half / "buffalo_l")
    assert find_pack("buffalo_l", [tmp_path]) == half / "buffalo_l", "the zip's own folder has all of it"


def test_packs_left_packed_and_networks_in_no_folder_are_named_with_where_they_belong(tmp_path, face_root):
    models = tmp_path / "models"
    models.mkdir()
    shutil.copy(face_root / "models" / assets.PACK / "rec_sface512.onnx", models / "glintr100.onnx")
    (tmp_path / "antelopev2.zip").touch()
    with pytest.raises(FileNotFoundError) as error:
        find_pack("antelopev2", [tmp_path])
    target = models / "antelopev2"
    assert f"{tmp_path / 'antelopev2.zip'} is still packed: unpack it into {target}." in str(error.value)
    assert f"{models} itself holds glintr100.onnx: move what is of this pack into {target}." in str(error.value)


def test_a_network_s_role_is_what_insightface_takes_it_for(tmp_path, face_root, analysis):
    from onnx import TensorProto, helper, save

    for role, network in analysis.models.items():
        assert network_role(Path(network.model_file)) == role
    shapes = {"other": [(192, 192), (96, 96), (64, 64)], "recognition": [(112, 112), (128, 128)]}
    for role, sides in shapes.items():
        for side in sides:
            ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 3, *side]) for name in ("in", "out")]
            node = helper.make_node("Identity", ["in"], ["out"])
            save(helper.make_model(helper.make_graph([node], "graph", ends[:1], ends[1:])), tmp_path / "net.onnx")
            assert network_role(tmp_path / "net.onnx") == role, side
    assert network_role(tmp_path / "none.onnx") is None


def test_a_detector_without_recogniser_loads_and_faceid_says_what_is_missing(tmp_path, face_root, photo):
    shutil.copy(face_root / "models" / assets.PACK / "det_yunet.onnx", tmp_path)
    analysis = load_pack(tmp_path, "CPU")
    with pytest.raises(FaceError, match="no recognition network"):
        face_features(analysis, photo("astronaut"), 224)


def test_a_pack_without_detector_is_an_error_that_lists_its_files(tmp_path, face_root):
    shutil.copy(face_root / "models" / assets.PACK / "rec_sface512.onnx", tmp_path)
    with pytest.raises(FaceError, match="no network that insightface takes for a detector: rec_sface512.onnx"):
        load_pack(tmp_path, "CPU")


def test_a_missing_package_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "insightface", None)
    (tmp_path / "face_package_for_test.py").write_text("import a_package_that_nobody_has")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(FaceError, match="'a_package_that_nobody_has' is missing"):
        import_face_module("face_package_for_test")


def test_a_broken_package_tells_its_own_cause(monkeypatch, tmp_path):
    (tmp_path / "broken_face_package.py").write_text("raise RuntimeError('compiled against numpy 1.x')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(FaceError, match="fails to import: RuntimeError: compiled against numpy 1.x"):
        import_face_module("broken_face_package")


@pytest.mark.parametrize("content", [b"", b"no network", b"\x08\x07\x12\x04"])
def test_a_damaged_network_is_said_to_be_one_with_its_pack(tmp_path, content):
    (tmp_path / "det.onnx").write_bytes(content)
    with pytest.raises(FaceError, match=f"face pack {tmp_path}") as error:
        load_pack(tmp_path, "CPU")
    assert len(str(error.value)) < 500


def test_a_pack_whose_networks_were_replaced_is_opened_again(tmp_path, face_root):
    pack = shutil.copytree(face_root / "models" / assets.PACK, tmp_path / "pack")
    first = load_pack(pack, "CPU")
    network = next(pack.glob("*.onnx"))
    status = network.stat()
    network.write_bytes(network.read_bytes())
    os.utime(network, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert load_pack(pack, "CPU") is not first
