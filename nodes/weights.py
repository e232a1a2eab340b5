"""Weights and images per frame, for animations: a node that computes them, and nodes that convert or combine them."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..weight_schedules.frames import METHODS, TIMINGS, Strategy, Timeline, prompt_schedule, timeline
from .inputs import Choice, StrategyType
from .old.appended import AppendedWhole
from .old.methods import CombineMethod, PromptScheduleMethod, WeightsMethod
from .sockets import Weight

MOST_GIB = 8  # of references of all frames: 2730 of 512 x 512 pixels


def frame_number(id: str, default: int, tooltip: str) -> io.Input:
    return io.Int.Input(id, default=default, min=0, max=9999, step=1, tooltip=tooltip)


def strategy_input() -> io.Input:
    return StrategyType.Input("weights_strategy", tooltip="Settings of an IPAdapter Weights node.")


def images_input(tooltip: str) -> io.Input:
    return io.Image.Input("image", optional=True, tooltip=tooltip)


def timeline_outputs() -> list[io.Output]:
    return [
        io.Float.Output(display_name="weights", tooltip="A list with one weight per frame."),
        io.Float.Output(display_name="weights_invert", tooltip="The same list backwards in time."),
        io.Int.Output(display_name="total_frames", tooltip="The number of frames: the batch size of the latent."),
        io.Image.Output(display_name="image_1", tooltip="The reference of each frame; goes with weights."),
        io.Image.Output(display_name="image_2", tooltip="The reference faded to; goes with weights_invert."),
        StrategyType.Output(display_name="weights_strategy", tooltip="These settings, for the nodes that follow them."),
    ]


def check_size(image: Tensor, made: Timeline) -> None:
    """Refuse references (n, height, width, 3) whose repetition for all frames would need too much memory.

    Raises:
        ValueError: the references of all frames would take more than MOST_GIB.
    """
    frames = len(made.first or ()) + len(made.second or ())
    size = frames * image[0].nbytes / 2**30
    if size > MOST_GIB:
        raise ValueError(
            f"{frames} references of {image.shape[2]} x {image.shape[1]} pixels, one or two per frame, would take "
            f"{size:.0f} GiB, and {MOST_GIB} is the most. Make the pictures smaller first: vision encoders look at 224 "
            "to 384 pixels. Or make fewer frames."
        )


def timeline_output(strategy: Strategy, image: Tensor | None) -> io.NodeOutput:
    images = 0 if image is None else len(image)
    made, used = timeline(strategy, images)
    weights = list(made.weights)
    if image is not None:
        check_size(image, made)

    def pick(numbers: tuple[int, ...] | None) -> Tensor | None:
        return None if image is None or numbers is None else image[list(numbers)]

    settings = asdict(replace(used, frame_count=images))
    return io.NodeOutput(weights, weights[::-1], len(weights), pick(made.first), pick(made.second), settings)


class IPAdapterWeights(WeightsMethod):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterWeights",
            display_name="IPAdapter Weights",
            category="ipadapter/weights",
            description="One weight per frame of an animation, and the references repeated to fit the frames.",
            inputs=[
                io.String.Input(
                    "weights",
                    default="1.0, 0.0",
                    multiline=True,
                    tooltip="Numbers separated by commas or lines: every frame (custom), or the first and the last.",
                ),
                Choice(
                    "timing",
                    options=list(TIMINGS),
                    default="linear",
                    tooltip="How the first weight becomes the last. custom takes the numbers as they are typed.",
                ),
                frame_number("frames", 0, "Frames per image, at least 2. Not used with custom timing."),
                frame_number("start_frame", 0, "Frame at which the weight begins to change."),
                frame_number("end_frame", 9999, "Frame at which the last weight is reached."),
                frame_number("add_starting_frames", 0, "How often the first frame is repeated in front (with images)."),
                frame_number("add_ending_frames", 0, "How often the last frame is repeated at the end (with images)."),
                Choice(
                    "method",
                    options=list(METHODS),
                    default="full batch",
                    tooltip="full batch: one image after the other. The others fade from image to image.",
                ),
                images_input("The references of the animation, as one batch."),
                AppendedWhole(
                    "random_seed",
                    default=0,
                    min=0,
                    max=2**31 - 1,
                    optional=True,
                    advanced=True,
                    tooltip="Another number gives other weights with random timing.",
                ),
            ],
            outputs=timeline_outputs(),
        )

    @classmethod
    def validate_inputs(cls, random_seed: object = None) -> bool:
        return True  # named here, `random_seed` is not checked by ComfyUI: see `nodes/old/appended.py`

    @classmethod
    def run(
        cls,
        weights: str = "1.0, 0.0",
        timing: str = "linear",
        frames: int = 0,
        start_frame: int = 0,
        end_frame: int = 9999,
        add_starting_frames: int = 0,
        add_ending_frames: int = 0,
        method: str = "full batch",
        image: Tensor | None = None,
        random_seed: int = 0,
    ) -> io.NodeOutput:
        strategy = Strategy(
            weights, timing, frames, start_frame, end_frame, add_starting_frames, add_ending_frames, method, random_seed
        )
        return timeline_output(strategy, image)


class IPAdapterWeightsFromStrategy(WeightsMethod):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterWeightsFromStrategy",
            display_name="IPAdapter Weights From Strategy",
            category="ipadapter/weights",
            description="The weights of another weights node, for other references.",
            inputs=[strategy_input(), images_input("The references that follow these settings, as one batch.")],
            outputs=timeline_outputs(),
        )

    @classmethod
    def run(cls, weights_strategy: Mapping[str, Any], image: Tensor | None = None) -> io.NodeOutput:
        return timeline_output(Strategy.from_mapping(weights_strategy), image)


class IPAdapterPromptScheduleFromWeightsStrategy(PromptScheduleMethod):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterPromptScheduleFromWeightsStrategy",
            display_name="Prompt Schedule From Weights Strategy",
            category="ipadapter/weights",
            description="One prompt per reference at the frame where that reference begins, for prompt schedule nodes.",
            inputs=[
                strategy_input(),
                io.String.Input(
                    "prompt",
                    default="",
                    multiline=True,
                    tooltip="One prompt per line; references beyond the last line get the last prompt.",
                ),
            ],
            outputs=[io.String.Output(display_name="prompt_schedule", tooltip='Lines of "frame": "prompt", as text.')],
        )

    @classmethod
    def run(cls, weights_strategy: Mapping[str, Any], prompt: str = "") -> io.NodeOutput:
        strategy = Strategy.from_mapping(weights_strategy)
        return io.NodeOutput(prompt_schedule(strategy, strategy.frame_count, prompt))


def as_list(weights: Weight) -> list[float]:
    return [weights] if isinstance(weights, int | float) else list(weights)


class IPAdapterCombineWeights(CombineMethod):
    @classmethod
    def define_schema(cls) -> io.Schema:
        def weights(id: str, tooltip: str) -> io.Input:
            return io.Float.Input(id, default=0.0, min=0.0, max=1.0, step=0.05, tooltip=tooltip)

        return io.Schema(
            node_id="IPAdapterCombineWeights",
            display_name="IPAdapter Combine Weights",
            category="ipadapter/weights",
            description="Two lists of weights, one after the other.",
            inputs=[
                weights("weights_1", "A weight, or a list of weights from a weights node."),
                weights("weights_2", "The weights behind the first ones: a weight, or a list of weights."),
            ],
            outputs=[
                io.Float.Output(display_name="weights", tooltip="Both lists as one."),
                io.Int.Output(display_name="count", tooltip="The number of weights."),
            ],
        )

    @classmethod
    def run(cls, weights_1: Weight, weights_2: Weight) -> io.NodeOutput:
        weights = as_list(weights_1) + as_list(weights_2)
        return io.NodeOutput(weights, len(weights))


NODES: list[type[io.ComfyNode]] = [
    IPAdapterWeights,
    IPAdapterWeightsFromStrategy,
    IPAdapterPromptScheduleFromWeightsStrategy,
    IPAdapterCombineWeights,
]
