"""Which weight for this reference? Sample, measure and draw weights times weight types times references."""

from collections.abc import Sequence

from comfy_api.latest import io, ui
from torch import Tensor

import nodes as host_nodes  # the host's nodes.py

from ..charts.score_chart import Series, draw_scores
from ..charts.sheets import labelled_grid
from ..encoders.scores import Score, knee, mean_score, table
from ..ipadapter.errors import AdapterError
from ..weight_schedules.layers import WEIGHT_TYPES
from . import inputs
from .applying.apply import Request, Strength, apply_adapter
from .applying.encoding import Reference
from .applying.scoring import score_pictures, text_embeds
from .drawn import to_image, to_pictures
from .node import AtelierNode
from .notices import say_on_node
from .scores import ENCODER
from .sockets import VAE, Adapter, ClipVision, Conditioning, Latent, Model
from .sweep import sampler_inputs, swept_factors, texts, whole

PROMPT = "The prompt of positive as text, with which CLIP-T compares."
WEIGHTS = "Weights to try, one column each; three or more."
TYPES = "Weight types to try: linear, style transfer."


class IPAdapterStudy(AtelierNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterStudy",
            display_name="IPAdapter Study",
            category="ipadapter/measure",
            description="Which weight should I use for this reference? Samples every weight with every weight type and "
            "reference, measures the pictures, and names the knee: where more of the reference begins to cost more of "
            "the prompt than it brings. One queue, as many samplings as there are cells.",
            search_aliases=["xy plot", "best weight", "clip score"],
            is_output_node=True,
            inputs=[
                inputs.model(),
                inputs.ipadapter(),
                inputs.image("references", "References, one row each for every weight type."),
                io.ClipVision.Input("scorer", tooltip=ENCODER),
                *texts(),
                io.Latent.Input(
                    "latent_image", tooltip="Where every sampling starts. A batch makes steadier scores: 4 or more."
                ),
                io.Vae.Input("vae", tooltip="Makes pictures of the sampled latents."),
                io.String.Input("prompt", default="", multiline=True, tooltip=PROMPT),
                io.String.Input("weights", default="0, 0.25, 0.5, 0.75, 1", tooltip=WEIGHTS),
                io.String.Input("weight_types", default="linear", tooltip=TYPES),
                *sampler_inputs("The same noise for every cell."),
                whole("cell", 256, 32, 2048, "Pixels of a picture's longer side on the sheet."),
                inputs.clip_vision(),
            ],
            outputs=[
                io.Image.Output(display_name="sheet", tooltip="The first picture of every cell."),
                io.Image.Output(display_name="curve", tooltip="CLIP-I over CLIP-T; the knees are the large points."),
                io.String.Output(display_name="table", tooltip="CSV with one row per picture."),
                io.Float.Output(display_name="weight", tooltip="The knee of the first row; the middle weight if none."),
                io.String.Output(display_name="answer", tooltip="The knee of every row, in words."),
            ],
        )

    @classmethod
    def run(
        cls,
        model: Model,
        ipadapter: Adapter,
        references: Tensor,
        scorer: ClipVision,
        positive: Conditioning,
        negative: Conditioning,
        latent_image: Latent,
        vae: VAE,
        prompt: str,
        weights: str,
        weight_types: str,
        seed: int,
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        cell: int,
        clip_vision: ClipVision | None = None,
    ) -> io.NodeOutput:
        columns, types = studied_weights(weights), studied_types(weight_types)
        if not prompt.strip():
            raise AdapterError("The curve needs CLIP-T, so write in prompt the text of positive.")
        text_embeds(scorer, [prompt])  # before sampling, because it raises for an encoder without a text tower
        sampling = (seed, steps, cfg, sampler_name, scheduler, positive, negative, latent_image)
        rows = [(number, kind) for number in range(len(references)) for kind in types]
        cells: list[Tensor] = []
        scores: list[list[Score]] = []
        for number, kind in rows:
            reference = references[number : number + 1]
            for weight in columns:
                request = Request(Reference(images=reference), Strength(weight=weight, weight_type=kind))
                applied = apply_adapter(model, ipadapter, [request], clip_vision).model
                latents = host_nodes.common_ksampler(applied, *sampling)  # pyright: ignore[reportAttributeAccessIssue]
                cells.append(vae.decode(latents[0]["samples"]))
                scores.append(score_pictures(scorer, [cells[-1]], [reference], prompt))
        return study_output(rows, columns, cells, scores, cell, cls)


def study_output(
    rows: Sequence[tuple[int, str]],
    columns: Sequence[float],
    cells: Sequence[Tensor],
    scores: Sequence[Sequence[Score]],
    cell: int,
    cls: type[io.ComfyNode],
) -> io.NodeOutput:
    """The node's outputs for pictures and scores of every cell, row by row; `cell` is a size in pixels."""
    means = [mean_score(found) for found in scores]
    wide = len(columns)
    curves = [curve(name(*row), columns, means[i * wide : (i + 1) * wide]) for i, row in enumerate(rows)]
    first = [to_pictures(pictures[:1])[0] for pictures in cells]
    sheet = to_image(labelled_grid(first, [name(*row) for row in rows], [f"{w:g}" for w in columns], cell=cell))
    chart = to_image(draw_scores(curves))
    answer = "\n".join(answer_of(curve) for curve in curves)
    say_on_node(answer)
    best = columns[wide // 2] if curves[0].marked is None else columns[curves[0].marked]
    return io.NodeOutput(
        sheet, chart, csv_of(rows, columns, scores), best, answer,
        ui={**ui.PreviewImage(chart, cls=cls).as_dict(), **ui.PreviewText(answer).as_dict()},
    )  # fmt: skip


def studied_weights(text: str) -> list[float]:
    """Weights in rising order; a curve needs three."""
    weights = sorted(set(swept_factors(text)))
    if len(weights) < 3:
        raise AdapterError(f"A curve needs at least three different weights, such as '0, 0.5, 1'; got '{text}'.")
    return weights


def studied_types(text: str) -> list[str]:
    """The weight types of a text; AdapterError names one that does not exist."""
    types = [part.strip() for part in text.split(",") if part.strip()]
    if unknown := [kind for kind in types if kind not in WEIGHT_TYPES]:
        raise AdapterError(f"{unknown[0]!r} is no weight type. Choose among: {', '.join(WEIGHT_TYPES)}.")
    if not types:
        raise AdapterError("There are no weight types to try. Write linear, for a start.")
    return types


def name(number: int, kind: str) -> str:
    return f"{number + 1}: {kind}"


def curve(title: str, weights: Sequence[float], means: Sequence[Score]) -> Series:
    """One reference and weight type: a point per weight, the knee marked."""
    points = [(mean.clip_t or 0.0, mean.clip_i or 0.0) for mean in means]
    return Series(title, points, [f"{weight:g}" for weight in weights], knee(means))


def answer_of(series: Series) -> str:
    if series.marked is None:
        return f"{series.name}: no knee, every weight gives as much of one as it takes of the other"
    t, i = series.points[series.marked]
    more = ", the largest that was tried: try larger ones" if series.marked == len(series.points) - 1 else ""
    return f"{series.name}: weight {series.labels[series.marked]} (CLIP-I {i:.3f}, CLIP-T {t:.3f}){more}"


def csv_of(rows: Sequence[tuple[int, str]], weights: Sequence[float], scores: Sequence[Sequence[Score]]) -> str:
    """One row per picture, with its reference, weight type and weight."""
    cells = [(number, kind, weight) for number, kind in rows for weight in weights]
    names = [
        {"reference": number + 1, "weight type": kind, "weight": weight, "picture": picture + 1}
        for (number, kind, weight), found in zip(cells, scores, strict=True)
        for picture in range(len(found))
    ]
    return table(names, [one for found in scores for one in found])


NODES: list[type[io.ComfyNode]] = [IPAdapterStudy]
