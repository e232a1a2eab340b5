"""Scores of pictures against their references and their prompt, and of faces."""

from collections.abc import Sequence
from dataclasses import replace

from comfy_api.latest import io, ui
from torch import Tensor

from ..charts.score_chart import CLIP_AXIS, FACE_AXIS, Series, draw_scores
from ..encoders.scores import Score, mean_score, table
from . import inputs
from .applying.scoring import score_faces, score_pictures
from .drawn import to_image
from .node import AtelierNode
from .notices import say_notes
from .sockets import ClipVision, FaceModels

ENCODER = (
    "The encoder that scores. It should not be the one that steered: an adapter writes what its own encoder reads, so "
    "that one overrates it. The prompt needs a text tower: IPAdapter OpenCLIP Loader."
)
FACE_MEAN = "The mean over the pictures that show a face; 0 without insightface."
FACES = (
    "A face pack: its recogniser scores how near the face of each picture is to those of the references, -1 to 1. "
    "Adapters that were trained with the same pack get scores that are too high."
)
PROMPT = "The prompt of the pictures, with which CLIP-T compares. Empty: no CLIP-T."


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
                inputs.face_models("insightface", FACES, optional=True),
            ],
            outputs=[
                io.Float.Output(display_name="CLIP_I", tooltip="The mean over the pictures; 0 without references."),
                io.Float.Output(display_name="CLIP_T", tooltip="The mean over the pictures; 0 without a prompt."),
                io.String.Output(display_name="table", tooltip="CSV with one row per picture."),
                io.Image.Output(display_name="chart", tooltip="CLIP-I over CLIP-T, one point per picture."),
                io.Float.Output(display_name="FACE", tooltip=FACE_MEAN),
            ],
        )

    @classmethod
    def run(
        cls, images: Sequence[Tensor], clip_vision: Sequence[ClipVision], prompt: Sequence[str],
        references: Sequence[Tensor] = (), insightface: Sequence[FaceModels] = (),
    ) -> io.NodeOutput:  # fmt: skip
        scores = score_pictures(clip_vision[0], images, references or (), prompt[0])
        if insightface:
            faces = score_faces(insightface[0], images, references or ())
            scores = [replace(each, face=face) for each, face in zip(scores, faces, strict=True)]
        mean = mean_score(scores)
        rows = table([{"picture": number + 1} for number in range(len(scores))], scores)
        chart = to_image(draw_scores([series_of(scores)], CLIP_AXIS if mean.face is None else FACE_AXIS))
        numbers = {name: [value] for name, value in vars(mean).items() if value is not None}  # for programs
        line = score_line(mean, len(scores))
        say_notes(notes_on_faces(scores) if insightface else (), line)
        shown = ui.PreviewImage(chart, cls=cls).as_dict() | ui.PreviewText(line).as_dict()
        return io.NodeOutput(
            mean.clip_i or 0.0,
            mean.clip_t or 0.0,
            rows,
            chart,
            mean.face or 0.0,
            ui=shown | numbers,
        )


def series_of(scores: Sequence[Score]) -> Series:
    """One point per picture: x is CLIP-T, or without a prompt the picture's number from 1; y is the score of its face,
    or CLIP-I if no faces were scored, or 0 if neither was.
    """
    of_faces = any(s.face is not None for s in scores)
    heights = [(s.face if of_faces else s.clip_i) or 0.0 for s in scores]
    points = [(s.clip_t if s.clip_t is not None else n + 1.0, heights[n]) for n, s in enumerate(scores)]
    return Series("pictures", points, [str(number + 1) for number in range(len(scores))], joined=False)


def score_line(mean: Score, count: int) -> str:
    """The mean scores in one line."""
    measured = (("CLIP-I", mean.clip_i), ("CLIP-T", mean.clip_t), ("face", mean.face))
    parts = [f"{name} {value:.4f}" for name, value in measured if value is not None]
    return f"{', '.join(parts)} ({count} pictures)"


def notes_on_faces(scores: Sequence[Score]) -> list[str]:
    """Names the pictures whose faces were searched and not found."""
    missing = [str(number + 1) for number, each in enumerate(scores) if each.face is None]
    if not missing:
        return []
    if len(missing) == len(scores):
        return ["No face was found in any picture, so FACE is 0 and the chart shows CLIP-I."]
    return [f"No face was found in picture {', '.join(missing)}, so FACE is the mean over the others."]


NODES: list[type[io.ComfyNode]] = [IPAdapterScore]
