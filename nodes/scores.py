"""Scores of pictures against their references and their prompt."""

from collections.abc import Sequence

from comfy_api.latest import io, ui
from torch import Tensor

from ..charts.score_chart import Series, draw_scores
from ..encoders.scores import Score, mean_score, table
from .applying.scoring import score_pictures
from .drawn import to_image
from .node import AtelierNode
from .sockets import ClipVision

ENCODER = (
    "The encoder that scores. It should not be the one that steered: an adapter writes what its own encoder reads, so "
    "that one overrates it. The prompt needs a text tower: IPAdapter OpenCLIP Loader."
)


class IPAdapterScore(AtelierNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterScore",
            display_name="IPAdapter Score",
            category="ipadapter/measure",
            description="How near pictures came to their references (CLIP-I) and to the prompt (CLIP-T). CLIP-I also "
            "rewards copying the reference's layout and subject, so the best picture is not the one that is highest.",
            search_aliases=["clip score", "similarity", "metrics"],
            is_output_node=True,
            is_input_list=True,
            inputs=[
                io.Image.Input("images", tooltip="The pictures to measure: a batch, or a list of any sizes."),
                io.ClipVision.Input("clip_vision", tooltip=ENCODER),
                io.Image.Input(
                    "references",
                    optional=True,
                    tooltip="The references of the pictures; CLIP-I is the mean over all of them.",
                ),
                io.String.Input("prompt", default="", multiline=True, tooltip=PROMPT),
            ],
            outputs=[
                io.Float.Output(display_name="CLIP_I", tooltip="The mean over the pictures; 0 without references."),
                io.Float.Output(display_name="CLIP_T", tooltip="The mean over the pictures; 0 without a prompt."),
                io.String.Output(display_name="table", tooltip="CSV with one row per picture."),
                io.Image.Output(display_name="chart", tooltip="CLIP-I over CLIP-T, one point per picture."),
            ],
        )

    @classmethod
    def run(
        cls, images: Sequence[Tensor], clip_vision: Sequence[ClipVision], prompt: Sequence[str],
        references: Sequence[Tensor] = (),
    ) -> io.NodeOutput:  # fmt: skip
        scores = score_pictures(clip_vision[0], images, references or (), prompt[0])
        mean = mean_score(scores)
        rows = table([{"picture": number + 1} for number in range(len(scores))], scores)
        chart = to_image(draw_scores([series_of(scores)]))
        numbers = {name: [value] for name, value in vars(mean).items() if value is not None}  # for programs
        shown = ui.PreviewImage(chart, cls=cls).as_dict() | ui.PreviewText(score_line(mean, len(scores))).as_dict()
        return io.NodeOutput(
            mean.clip_i or 0.0,
            mean.clip_t or 0.0,
            rows,
            chart,
            ui=shown | numbers,
        )


PROMPT = "The prompt of the pictures, with which CLIP-T compares. Empty: no CLIP-T."


def series_of(scores: Sequence[Score]) -> Series:
    """One point per picture: x is CLIP-T, or the picture's number from 1 without a prompt; y is CLIP-I, 0 without."""
    points = [(s.clip_t if s.clip_t is not None else n + 1.0, s.clip_i or 0.0) for n, s in enumerate(scores)]
    return Series("pictures", points, [str(number + 1) for number in range(len(scores))], joined=False)


def score_line(mean: Score, count: int) -> str:
    """The mean scores in one line."""
    measured = (("CLIP-I", mean.clip_i), ("CLIP-T", mean.clip_t))
    parts = [f"{name} {value:.4f}" for name, value in measured if value is not None]
    return f"{', '.join(parts)} ({count} pictures)"


NODES: list[type[io.ComfyNode]] = [IPAdapterScore]
