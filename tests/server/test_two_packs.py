"""With the old pack installed beside this one: the server starts, says once what is the matter, and works."""

from pathlib import Path

import pytest

from harness.process import PACK
from harness.server import Server
from harness.wiring import Wiring

OLD = "ComfyUI_IPAdapter_plus"
# As much of a pack as matters: two of the same ids, in the form of node classes that packs of that time have.
OLD_PACK = """
class Old:
    RETURN_TYPES, FUNCTION, CATEGORY = ("MODEL",), "apply_ipadapter", "ipadapter"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",)}}

    def apply_ipadapter(self, model):
        return (model,)

NODE_CLASS_MAPPINGS = dict.fromkeys(%s, Old)
"""
PACKS = {OLD: ["IPAdapter", "IPAdapterAdvanced"], "PuLID_ComfyUI": ["PulidModelLoader", "ApplyPulid"]}


@pytest.mark.parametrize("loaded", ["first", "last"])
@pytest.mark.usefixtures("start_server")  # skips without ComfyUI
def test_packs_with_the_same_ids_start_with_a_warning_each_that_says_whose_nodes_are_used(tmp_path: Path, loaded: str):
    folder = tmp_path / "nodes"
    for pack, ids in PACKS.items():
        (folder / pack).mkdir(parents=True)
        (folder / pack / "__init__.py").write_text(OLD_PACK % ids)
    paths = tmp_path / "paths.yaml"  # ComfyUI loads a default folder before its own, and others after it
    default = str(loaded == "first").lower()
    paths.write_text(f"other:\n  is_default: {default}\n  custom_nodes: {folder.as_posix()}\n")
    with Server("--extra-model-paths-config", str(paths)) as server:
        warnings = [line for line in server.log.splitlines() if "also come from" in line]
        used = "this pack's" if loaded == "first" else "the other's"
        for (pack, ids), line in zip(PACKS.items(), warnings, strict=True):
            assert f"2 nodes of IPAdapter Atelier (such as {ids[0]}) also come from {pack}." in line
            assert f"loads last: {used} are used" in line and f"ATELIER_WITHOUT_NODES={','.join(ids)} in" in line
        owner = server.call("/object_info/IPAdapterAdvanced")["IPAdapterAdvanced"]["python_module"]
        assert owner == f"custom_nodes.{PACK if loaded == 'first' else OLD}"
        w = Wiring(server)
        latents = w.latents(ours=w.add("IPAdapterApply")[0])  # an id that only this pack has
        assert not latents["ours"].equal(latents["bare"])
