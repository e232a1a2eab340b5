"""What a lesson stands on: SD1.5, SDXL, or the demo's models. The same lesson is written for any of them."""

from typing import Any

from harness.demo_graph import SAMPLER

from .files import named
from .lesson import Canvas, Link, Node

VIT_H = "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors"
NEGATIVE = "blurry, low quality, text, watermark"
OWN_PICTURES = "First choose pictures of your own in **Load Image**; a missing model is offered for download."
OWN_PICTURES_ZH = "先在 **Load Image** 里选自己的图片；缺少的模型会提示下载。"


class Parts(Canvas):
    """What each kit brings of its own: models, pictures and words."""

    model: Link
    vision: Link
    ipadapter: Link
    vae: Link
    suffix = ""
    size = (512, 512)  # of the canvas
    wide = (768, 512)
    cell = 192  # pixels of a picture on a large sheet
    looking = "late"  # layers where a picture looks at a reference that rides along
    sampling: dict[str, Any]
    adapters: dict[str, str]
    begin: tuple[str, str]  # first words of every note, English and Chinese

    def models(self, adapter: str = "plus") -> None:
        """The loaders."""
        raise NotImplementedError

    def bare_models(self) -> None:
        """The loaders of a lesson that needs no adapter."""
        raise NotImplementedError

    def picture(self, name: str, title: str = "Reference") -> Link:
        """A reference; which one is for each kit to say."""
        raise NotImplementedError

    def text(self, real: str, demo: str, title: str = "") -> Link:
        """A prompt: in a sentence, or in the demo's ten words."""
        raise NotImplementedError

    def nothing(self) -> Link:
        """The negative prompt."""
        raise NotImplementedError

    def scorer(self) -> Link:
        """An encoder with words, to measure with."""
        raise NotImplementedError


class Kit(Parts):
    """Models, words and sampling of one kind; the names are those of the parts of every lesson."""

    def lesson(self, english: str, chinese: str) -> None:
        """The note: how to begin, what the picture shows, what to try next."""
        first, first_zh = self.begin
        self.note(f"{first}\n\n{english.strip()}\n\n---\n\n{first_zh}\n\n{chinese.strip()}")

    def latent(self, wide: bool = False, batch: int = 1) -> Link:
        width, height = self.wide if wide else self.size
        return self.add("EmptyLatentImage", width=width, height=height, batch_size=batch)[0]

    def apply(self, image: Link, title: str = "", /, **more: Any) -> Link:
        """IPAdapter Advanced, which is the node to know."""
        common = {"model": self.model, "ipadapter": self.ipadapter, "clip_vision": self.vision, "image": image}
        return self.add("IPAdapterAdvanced", title, **(common | more))[0]

    def conditions(self, real: str, demo: str) -> dict[str, Link]:
        """Both prompts, for `sample`."""
        return {"positive": self.text(real, demo), "negative": self.nothing()}

    def sampler(self, model: Link, title: str = "", /, **more: Any) -> Link:
        settings = {"seed": 42, "control_after_generate": "fixed", **self.sampling}
        return self.add("KSampler", title, **(settings | {"model": model} | more))[0]

    def decode(self, latent: Link) -> Link:
        return self.add("VAEDecode", samples=latent, vae=self.vae)[0]

    def sample(self, model: Link, title: str = "", /, **more: Any) -> Link:
        """The picture that comes out."""
        return self.decode(self.sampler(model, title, **more))

    def save(self, image: Link, title: str = "") -> Node:
        return self.add("SaveImage", title, images=image, filename_prefix="atelier")

    def batch(self, *pictures: Link) -> Link:
        return self.add("BatchImagesNode", **{f"images.image{i}": picture for i, picture in enumerate(pictures)})[0]

    def sheet(self, pictures: list[Link], captions: list[str]) -> Link:
        """Pictures side by side on one sheet; the batch of them."""
        self.next()
        batch = self.batch(*pictures)
        text = "\n".join(captions)
        sheet = self.add(
            "IPAdapterContactSheet", images=batch, captions=text, title="", columns=len(captions), cell=288
        )
        sheet.part["size"] = [640, 460]
        return batch


class StableDiffusion(Kit):
    """SD1.5 with its published adapters."""

    begin = (OWN_PICTURES, OWN_PICTURES_ZH)
    checkpoint = "v1-5-pruned-emaonly-fp16.safetensors"
    encoder = VIT_H
    sampling = {"steps": 25, "cfg": 6.0, "sampler_name": "dpmpp_2m", "scheduler": "karras", "denoise": 1.0}
    adapters = {
        "standard": "ip-adapter_sd15.safetensors",
        "light": "ip-adapter_sd15_light_v11.bin",
        "plus": "ip-adapter-plus_sd15.safetensors",
        "plus face": "ip-adapter-plus-face_sd15.safetensors",
        "full face": "ip-adapter-full-face_sd15.safetensors",
        "FaceID": "ip-adapter-faceid_sd15.bin",
        "FaceID Plus V2": "ip-adapter-faceid-plusv2_sd15.bin",
    }
    pictures = {
        "style": "coffee.png", "second": "chelsea.png", "person": "astronaut.png", "content": "chelsea.png",
        "second person": "grace_hopper.jpg",
    }  # fmt: skip
    clip: Link

    def load(self, kind: str, widget: str, name: str) -> Node:
        """A loader that says where its file is had."""
        node = self.add(kind, **{widget: name})
        node.part["models"] = named(name)
        return node

    def open_clip(self, name: str, title: str = "") -> Link:
        node = self.load("IPAdapterOpenCLIPLoader", "file", name)
        node.part |= {"title": title} if title else {}
        return node[0]

    def adapter(self, name: str) -> Link:
        return self.load("IPAdapterModelLoader", "ipadapter_file", self.adapters[name])[0]

    def bare_models(self) -> None:
        checkpoint = self.load("CheckpointLoaderSimple", "ckpt_name", self.checkpoint)
        self.model, self.clip, self.vae = (checkpoint[slot] for slot in range(3))

    def models(self, adapter: str = "plus") -> None:
        self.bare_models()
        self.ipadapter = self.adapter(adapter)
        self.vision = self.load("CLIPVisionLoader", "clip_name", self.encoder)[0]

    def picture(self, name: str, title: str = "Reference") -> Link:
        return self.add("LoadImage", title, image=self.pictures.get(name, name))[0]

    def text(self, real: str, demo: str, title: str = "") -> Link:
        return self.add("CLIPTextEncode", title, clip=self.clip, text=real)[0]

    def nothing(self) -> Link:
        return self.text(NEGATIVE, "", "Negative")

    def scorer(self) -> Link:
        node = self.open_clip("open_clip_ViT-L-14_openai.safetensors", "The encoder that scores")
        self.nodes[node.source]["widgets"]["activation"] = "quick_gelu"  # as OpenAI trained it
        return node

    def control_net(self, name: str, positive: Link, negative: Link, image: Link, **more: Any) -> dict[str, Link]:
        """Both prompts, with a ControlNet that holds the layout."""
        net = self.load("ControlNetLoader", "control_net_name", name)[0]
        node = self.add(
            "ControlNetApplyAdvanced", positive=positive, negative=negative, control_net=net, image=image, **more
        )
        return {"positive": node[0], "negative": node[1]}


class SDXL(StableDiffusion):
    size = (1024, 1024)
    checkpoint = "sd_xl_base_1.0.safetensors"
    adapters = {"plus": "ip-adapter-plus_sdxl_vit-h.safetensors", "standard": "ip-adapter_sdxl_vit-h.safetensors"}


class Demo(Kit):
    """The tiny models that come with the pack: lessons that run anywhere."""

    suffix = "_no_downloads"
    begin = (
        "Press **Run**: tiny models that come with this pack draw it within seconds. They know these words: circle, "
        "triangle, star, heart, moon, house, tree, fish, boat, mountains.",
        "点 **运行**：随插件附带的微型模型几秒钟就能画完，不用下载。它们只认识上面这十个英文词。",
    )
    cell = 96
    looking = "all"
    size = wide = (96, 96)  # the only size they were trained on
    sampling = SAMPLER
    adapters = {name: name for name in ("standard", "plus")}
    pictures = {
        "style": "yellow on rings", "second": "red on strokes", "person": "yellow on rings",
        "content": "blue on checks",
    }  # fmt: skip

    def models(self, adapter: str = "plus") -> None:
        loaded = self.add("IPAdapterDemoLoader", adapter=adapter if adapter in self.adapters else "plus")
        self.model, self.vision, self.ipadapter, self.vae = (loaded[slot] for slot in range(4))

    def bare_models(self) -> None:
        self.models()

    def picture(self, name: str, title: str = "Reference") -> Link:
        return self.add("IPAdapterDemoReference", title, picture=self.pictures[name])[0]

    def text(self, real: str, demo: str, title: str = "") -> Link:
        return self.add("IPAdapterDemoPrompt", title, words=demo)[0]

    def nothing(self) -> Link:
        return self.text("", "", "Negative: nothing")

    def scorer(self) -> Link:
        return self.vision

    def save(self, image: Link, title: str = "") -> Node:
        sharp = {"upscale_method": "nearest-exact", "scale_by": 3.0}  # each pixel becomes a square
        larger = self.add("ImageScaleBy", "Larger, to look at", image=image, **sharp)
        return super().save(larger[0], title)
