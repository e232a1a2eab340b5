"""The nodes that ComfyUI sees. Each module lists its own in NODES."""

from comfy_api.latest import ComfyExtension, io

from . import (
    apply,
    apply_detail,
    apply_embeds,
    apply_first,
    apply_style,
    apply_tiled,
    attention_map,
    demo,
    doctor,
    download,
    embeds,
    face,
    face_crop,
    face_keypoints,
    face_loader,
    instantid,
    instantid_halves,
    instantid_loaders,
    legacy,
    loaders,
    masks,
    openclip,
    params,
    pictures,
    pulid,
    pulid_flux,
    reference,
    reference_attention,
    references,
    regions,
    rescale,
    schedules,
    scores,
    study,
    subtract_text,
    sweep,
    unified,
    weights,
)
from .conflicts import watch_for_other_packs, without_unwanted
from .live.route import add_route
from .loading.files import register_folder
from .loading.pulid import FOLDERS as PULID_FOLDERS
from .old.forms import register_removed_nodes

MODULES = (  # in the order in which ComfyUI lists their nodes
    reference,
    loaders,
    apply_first,
    apply,
    apply_style,
    apply_embeds,
    apply_detail,
    apply_tiled,
    masks,
    params,
    weights,
    embeds,
    pictures,
    schedules,
    rescale,
    sweep,
    regions,
    attention_map,
    references,
    reference_attention,
    face_loader,
    face,
    face_crop,
    face_keypoints,
    instantid_loaders,
    instantid,
    instantid_halves,
    pulid,
    pulid_flux,
    unified,
    doctor,
    download,
    demo,
    openclip,
    subtract_text,
    scores,
    study,
    legacy,
)
NODES: list[type[io.ComfyNode]] = [node for module in MODULES for node in module.NODES]


class IPAdapterAtelier(ComfyExtension):
    async def on_load(self) -> None:
        for name in ("ipadapter", "open_clip", "instantid", *PULID_FOLDERS):
            register_folder(name)
        await register_removed_nodes()
        watch_for_other_packs({node.GET_SCHEMA().node_id: node for node in without_unwanted(NODES)})
        add_route()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return without_unwanted(NODES)
