"""The files of the model folders, and the presets that can run with them."""

import time

from comfy_api.latest import io, ui

from ..doctor.report import as_json, as_text, examine_all
from ..doctor.sheet import draw_report
from .drawn import to_image
from .loading.face_packs import FOLDER
from .loading.places import model_places
from .node import AtelierNode


class IPAdapterModelDoctor(AtelierNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterModelDoctor",
            display_name="IPAdapter Model Doctor",
            category="ipadapter/models",
            description=(
                "Lists the files of the model folders, identified by their tensors: with what each works, which "
                "presets can run now and why others cannot, which files are broken, doubled or in the wrong folder, "
                "and whether insightface works. It only reads headers and changes no file."
            ),
            search_aliases=["model not found", "check models", "missing models", "diagnose", "ipadapter help"],
            is_output_node=True,
            inputs=[],
            outputs=[
                io.String.Output(
                    display_name="report",
                    tooltip="The report as text: every file, every fault and what to do about it.",
                ),
                io.Image.Output(display_name="picture", tooltip="The report on one screen."),
                io.String.Output(display_name="json", tooltip="The report for programs, with whole paths."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls) -> float:
        return time.time()  # files come and go without any input changing

    @classmethod
    def run(cls) -> io.NodeOutput:
        places = model_places()
        report = examine_all(places, places[FOLDER])
        picture = to_image(draw_report(report))
        return io.NodeOutput(as_text(report), picture, as_json(report), ui=ui.PreviewImage(picture, cls=cls))


NODES: list[type[io.ComfyNode]] = [IPAdapterModelDoctor]
