"""IPAdapter Reference Attention in a running ComfyUI, on a tiny transformer of every family."""

from typing import Any

from torch import Tensor

from harness.graph import Graph, Link
from harness.transformers import half, solid

KINDS = ("Flux", "SD3.5 Medium", "Qwen-Image", "Chroma", "Z-Image", "Krea 2")
OURS: dict[str, Any] = {"weight": 1.0, "layers": "all", "start_at": 0.0, "end_at": 1.0}
SWAP = {"method": "swap"}
ROUNDING = 1e-5  # of the largest value, in float32


def gap(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max() / other.abs().max())


class Scene:
    """A graph with one model and the pictures that it draws, by their names, in one step from half of the noise: at
    the beginning, a reference is noise alone.
    """

    def __init__(self, kind: str) -> None:
        self.g, self.kind = Graph(), kind
        self.bare = self.g.add("TestTransformer", kind=kind, seed=0)
        self.positive, self.negative = (self.g.add("TestTransformer", kind=kind, seed=n)[1] for n in (10, 20))

    def ride(self, *nodes: dict[str, Any]) -> Link:
        """The model behind a node for each of these inputs; `seed` and `size` are those of the reference."""
        model = self.bare[0]
        for inputs in nodes:
            given = OURS | inputs
            height, width = given.pop("size", (8, 6))
            seen = self.g.add("TestTransformer", kind=self.kind, seed=given.pop("seed", 11), height=height, width=width)
            model = self.g.add("IPAdapterReferenceAttention", model=model, latent=seen[2], **given)[0]
        return model

    def draw(self, name: str, *nodes: dict[str, Any], cfg: float = 1.0) -> None:
        latent = self.g.add(
            "KSampler", model=self.ride(*nodes), positive=self.positive, negative=self.negative,
            latent_image=self.bare[2], seed=5, steps=1, cfg=cfg, sampler_name="euler", scheduler="simple",
            denoise=0.5,
        )  # fmt: skip
        self.g.save(name, latent[0])


def offences(server, kind: str) -> list[str]:
    """What is not as it should be in a family."""
    s = Scene(kind)
    empty, ones, left, right = solid(s.g, 0.0), solid(s.g, 1.0), half(s.g, 0), half(s.g, 32)
    schedule = {"layers": "linear", "steps": "constant", "low": 0.0, "high": 1.0, "start": 0.0, "end": 1.0}
    first, none = (s.g.add("IPAdapterWeightSchedule", **schedule, layer_text=f"0:{weight}")[0] for weight in (0.7, 0.0))
    s.draw("bare")
    s.draw("bare, cfg 3", cfg=3.0)
    silent: dict[str, dict[str, Any]] = {
        "weight 0": {"weight": 0.0}, "an empty mask": {"attn_mask": empty}, "no layer": {"schedule": none},
        "an empty mask, swap": {"attn_mask": empty, **SWAP}, "outside of its range": {"end_at": 0.1},
    }  # fmt: skip
    for name, inputs in silent.items():
        s.draw(name, inputs)
    s.draw("an empty mask, cfg 3", {"attn_mask": empty}, cfg=3.0)
    different: dict[str, dict[str, Any]] = {
        "auto": {}, "swap": SWAP, "wide": {"size": (4, 10)}, "one layer": {"schedule": first},
        "left": {"attn_mask": left}, "another": {"seed": 12}, "match": {"match": 1.0},
    }  # fmt: skip
    for name, inputs in different.items():
        s.draw(name, inputs)
    s.draw("auto, cfg 3", {}, cfg=3.0)
    s.draw("negative 0.5, cfg 3", {"negative": 0.5}, cfg=3.0)
    compete = {"method": "compete"}
    equal = {
        "compete, half": ("auto", [compete | {"weight": 0.5, "attn_mask": ones}]),
        "halves": ("auto", [{"attn_mask": left}, {"attn_mask": right}]),
        "halves, swap": ("swap", [SWAP | {"attn_mask": left}, SWAP | {"attn_mask": right}]),
        "compete at 1": ("swap", [compete]),
        "twice": ("swap", [SWAP, SWAP]),
        "the other order": ("one order", [SWAP | {"weight": 0.3, "seed": 12}, {"weight": 0.6}]),
    }
    s.draw("one order", {"weight": 0.6}, SWAP | {"weight": 0.3, "seed": 12})
    for name, (_, nodes) in equal.items():
        s.draw(name, *nodes)
    result = server.run(s.g)
    latents = {name: result.tensor(name) for name in ("bare", *silent, *different, "one order", *equal)}
    of_cfg = [result.tensor(f"{name}, cfg 3") for name in ("bare", "an empty mask", "auto", "negative 0.5")]
    wrong = [name for name in silent if not latents[name].equal(latents["bare"])]
    wrong += [] if of_cfg[0].equal(of_cfg[1]) else ["an empty mask, cfg 3"]
    wrong += [name for name, (like, _) in equal.items() if gap(latents[name], latents[like]) > ROUNDING]
    seen = {name: latents[name] for name in ("bare", *different)}
    wrong += [f"{a} is {b}" for a in seen for b in seen if a < b and gap(seen[a], seen[b]) < 1e-4]
    return wrong + [f"cfg 3: {a} is {b}" for a, b in ((0, 2), (2, 3)) if gap(of_cfg[a], of_cfg[b]) < 1e-4]


def test_shares_masks_layers_and_methods_hold_in_every_family(server):
    known = server.call("/object_info")["TestTransformer"]["input"]["required"]["kind"]
    kinds = [kind for kind in KINDS if kind in str(known)]
    assert {kind: wrong for kind in kinds if (wrong := offences(server, kind))} == {}
