"""See many pictures at once: a contact sheet, and a sweep over the layers of a model."""

from collections.abc import Sequence

import comfy.samplers
import torch
from comfy_api.latest import io, ui
from torch import Tensor

import nodes as host_nodes  # the host's nodes.py

from ..charts.sheets import contact_sheet, labelled_grid
from ..ipadapter.checks import check_weight
from ..ipadapter.families import Block
from ..weight_schedules.layer_text import layer_titles, parse_layer_text
from ..weight_schedules.schedule import WeightSchedule
from .applying.rescale import reached_layers, rescale
from .drawn import to_image, to_pictures
from .inputs import Choice, model as model_input
from .node import AtelierNode
from .sampling.attach import layers_of
from .schedules import CATEGORY, number
from .sockets import VAE, Conditioning, Latent, Model


def whole(id: str, default: int, minimum: int, maximum: int, tooltip: str) -> io.Input:
    return io.Int.Input(id, default=default, min=minimum, max=maximum, tooltip=tooltip)


def texts() -> list[io.Input]:
    return [
        io.Conditioning.Input("positive", tooltip="What the picture should show."),
        io.Conditioning.Input("negative", tooltip="What it should not show."),
    ]


def sampler_inputs(seed_tip: str) -> list[io.Input]:
    """Inputs of ComfyUI's KSampler, in its order."""
    return [
        io.Int.Input("seed", default=0, min=0, max=2**64 - 1, tooltip=seed_tip, control_after_generate=True),
        whole("steps", 20, 1, 10000, "Sampling steps of every picture."),
        io.Float.Input("cfg", default=7.0, min=0.0, max=100.0, step=0.1, tooltip="Guidance of every picture."),
        Choice("sampler_name", options=comfy.samplers.KSampler.SAMPLERS, tooltip="As in KSampler."),
        Choice("scheduler", options=comfy.samplers.KSampler.SCHEDULERS, tooltip="As in KSampler."),
    ]


class IPAdapterContactSheet(AtelierNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterContactSheet",
            display_name="IPAdapter Contact Sheet",
            category=CATEGORY,
            description="Pictures side by side on one sheet, each with its caption.",
            is_output_node=True,
            is_input_list=True,
            inputs=[
                io.Image.Input("images", tooltip="The pictures: a batch, or a list of pictures of any sizes."),
                io.String.Input(
                    "captions", default="", multiline=True, tooltip="One line for every picture, in order."
                ),
                io.String.Input("title", default="", tooltip="A line above the sheet."),
                whole("columns", 0, 0, 64, "Pictures side by side; 0 makes the sheet nearly square."),
                whole("cell", 384, 32, 2048, "Pixels of a picture's longer side on the sheet."),
            ],
            outputs=[io.Image.Output(display_name="IMAGE", tooltip="The sheet.")],
        )

    @classmethod
    def run(
        cls, images: Sequence[Tensor], captions: Sequence[str], title: Sequence[str], columns: Sequence[int],
        cell: Sequence[int],
    ) -> io.NodeOutput:  # fmt: skip
        pictures = [picture for batch in images for picture in to_pictures(batch)]
        lines = [line for text in captions for line in text.strip().splitlines()]
        sheet = to_image(contact_sheet(pictures, lines, columns[0], title[0], cell[0]))
        return io.NodeOutput(sheet, ui=ui.PreviewImage(sheet, cls=cls))


class IPAdapterLayerSweep(AtelierNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        layers_tip = "The layers to try, one row each: all, 3, 6, style, 0-3, input8, up_blocks.0.attentions.1 ..."
        return io.Schema(
            node_id="IPAdapterLayerSweep",
            display_name="IPAdapter Layer Sweep",
            category=CATEGORY,
            description=(
                "What does each layer do? Samples one picture for every layer and factor, with the references that are "
                "applied to the model, and lays them out in a grid. One queue, rows times columns samplings."
            ),
            search_aliases=["layer grid", "xy plot", "layer weights"],
            is_output_node=True,
            inputs=[
                model_input(),
                *texts(),
                io.Latent.Input(
                    "latent_image", tooltip="Where every sampling starts: an empty latent, or a picture's."
                ),
                io.Vae.Input("vae", tooltip="Makes pictures of the sampled latents."),
                io.String.Input("layers", default="all", tooltip=layers_tip),
                io.String.Input("factors", default="1, 1.5, 2", tooltip="Weights of the layer, one column each."),
                number("others", 0.0, -5.0, 5.0, "Weight of all other layers. 0 shows the effect of the layer alone."),
                *sampler_inputs("The same noise for every picture."),
                number("denoise", 1.0, 0.0, 1.0, "As in KSampler: 1 starts from pure noise."),
                whole("cell", 384, 32, 2048, "Pixels of a picture's longer side in the grid."),
            ],
            outputs=[
                io.Image.Output(display_name="grid", tooltip="The labelled grid."),
                io.Image.Output(display_name="images", tooltip="Every picture in full size, row by row."),
            ],
        )

    @classmethod
    def run(
        cls,
        model: Model,
        positive: Conditioning,
        negative: Conditioning,
        latent_image: Latent,
        vae: VAE,
        layers: str,
        factors: str,
        others: float,
        seed: int,
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        denoise: float,
        cell: int,
    ) -> io.NodeOutput:
        if not (count := reached_layers(model)):
            raise ValueError(
                "No reference is applied to this model. Put this node behind the apply nodes, or behind IPAdapter "
                "Reference Weights or IPAdapter Reference Attention."
            )
        blocks = layers_of(model)[:count]
        rows, columns = swept_layers(layers, blocks), swept_factors(factors)
        cells = [rescale(model, alone(layer, factor, others)) for layer in rows for factor in columns]
        sampling = (seed, steps, cfg, sampler_name, scheduler, positive, negative, latent_image)
        sample = host_nodes.common_ksampler  # pyright: ignore[reportAttributeAccessIssue]
        latents = [sample(cell_model, *sampling, denoise=denoise)[0]["samples"] for cell_model in cells]
        images = [vae.decode(latent)[:1] for latent in latents]
        pictures = [picture for image in images for picture in to_pictures(image)]
        titles = layer_titles(blocks)
        names = [titles[layer] for layer in rows]
        grid = to_image(labelled_grid(pictures, names, [f"x{factor:g}" for factor in columns], cell=cell))
        return io.NodeOutput(grid, torch.cat(images), ui=ui.PreviewImage(grid, cls=cls))


def swept_layers(text: str, blocks: Sequence[Block]) -> list[int]:
    """The numbers of the layers that a layer text names, whatever factors it gives them."""
    return [layer for layer, factor in enumerate(parse_layer_text(text, blocks)) if factor]


def swept_factors(text: str) -> list[float]:
    """The numbers of a text such as `1, 1.5, 2`; ValueError names an entry that is not a number."""
    try:
        entries = [entry for entry in text.replace(";", ",").split(",") if entry.strip()]
        factors = [check_weight(float(entry), "a factor") for entry in entries]
    except ValueError as error:
        raise ValueError(
            f"{text!r:.80} is not a list of factors ({error!s:.120}). Expected numbers such as '1, 1.5, 2'."
        ) from error
    if not factors:
        raise ValueError("The list of factors is empty. Expected numbers such as '1, 1.5, 2'.")
    return factors


def alone(layer: int, factor: float, others: float) -> WeightSchedule:
    """The schedule of one cell: one layer stands out from all others."""
    return WeightSchedule(f"all:{others}, {layer}:{factor}")


NODES: list[type[io.ComfyNode]] = [IPAdapterContactSheet, IPAdapterLayerSweep]
