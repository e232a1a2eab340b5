"""Nodes for a first try without downloads: tiny models that draw ten things in the style of a reference."""

from comfy_api.latest import io, ui

from ..demo_models.words import WORDS, embed_prompt, weighted_words
from . import inputs
from .loading.adapters import load_adapter
from .loading.demo_models import ADAPTERS, FOLDER, DemoVAE, load_model, load_reference, load_vision, load_words
from .node import AtelierNode


class IPAdapterDemoLoader(AtelierNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        tip = "standard knows the reference as a whole; plus sees more of it, and comes nearer to it."
        return io.Schema(
            node_id="IPAdapterDemoLoader",
            display_name="IPAdapter Demo: Models",
            category="ipadapter/demo",
            description=(
                "Tiny models that come with this pack and run anywhere within seconds: pictures of 96 x 96 pixels. "
                "For real pictures, load a checkpoint, a CLIP Vision model and an adapter instead."
            ),
            inputs=[inputs.Choice("adapter", options=list(ADAPTERS), tooltip=tip)],
            outputs=[
                io.Model.Output(
                    display_name="MODEL",
                    tooltip="A diffusion model with SD1.5's layout, for any apply node and KSampler.",
                ),
                io.ClipVision.Output(
                    display_name="CLIP_VISION", tooltip="The vision encoder that the demo's adapters were trained with."
                ),
                inputs.IPAdapterType.Output(display_name="IPADAPTER", tooltip="The adapter, for any apply node."),
                io.Vae.Output(display_name="VAE", tooltip="Between pixels and the demo model's latents."),
            ],
        )

    @classmethod
    def run(cls, adapter: str) -> io.NodeOutput:
        return io.NodeOutput(load_model(), load_vision(), load_adapter(FOLDER / ADAPTERS[adapter]), DemoVAE())


class IPAdapterDemoPrompt(AtelierNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        known = f"One of: {', '.join(WORDS)}. (fish:1.5) weighs a word. Leave it empty for the negative prompt."
        return io.Schema(
            node_id="IPAdapterDemoPrompt",
            display_name="IPAdapter Demo: Prompt",
            category="ipadapter/demo",
            description="What the demo model should draw. It knows ten words, and no word for a style.",
            inputs=[io.String.Input("words", default="house", tooltip=known)],
            outputs=[
                io.Conditioning.Output(display_name="CONDITIONING", tooltip="The words as text tokens, for KSampler.")
            ],
        )

    @classmethod
    def validate_inputs(cls, words: str | None = None) -> bool | str:
        if words is None:
            return True  # arrives through a link
        try:
            weighted_words(words)
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def run(cls, words: str) -> io.NodeOutput:
        return io.NodeOutput([[embed_prompt(load_words(), words), {}]])


class IPAdapterDemoReference(AtelierNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        names = sorted(path.stem for path in (FOLDER / "references").glob("*.png"))
        return io.Schema(
            node_id="IPAdapterDemoReference",
            display_name="IPAdapter Demo: Reference",
            category="ipadapter/demo",
            description="A picture whose style the demo models can follow, though they never saw its colours. "
            "For pictures of your own, use Load Image instead.",
            inputs=[inputs.Choice("picture", options=names, tooltip="Which of the pictures that come with the pack.")],
            outputs=[io.Image.Output(display_name="IMAGE", tooltip="The picture, for an apply node.")],
        )

    @classmethod
    def run(cls, picture: str) -> io.NodeOutput:
        image = load_reference(picture)
        larger = image.repeat_interleave(3, dim=1).repeat_interleave(3, dim=2)  # the page shows pictures pixel by pixel
        return io.NodeOutput(image, ui=ui.PreviewImage(larger, cls=cls))


NODES: list[type[io.ComfyNode]] = [IPAdapterDemoLoader, IPAdapterDemoPrompt, IPAdapterDemoReference]
