"""Doctor and download in a running ComfyUI, against a hub on this computer, and in the page."""

import json
import re
import shutil
import time

import pytest

from harness.browser import ComfyPage
from harness.client import PromptError
from harness.graph import Graph
from model_doctor.conftest import ADAPTER, ADAPTER_FILE, ENCODER_FILE, HASHED
from model_doctor.shelves import write_adapter, write_network

PRESET = "FLUX - XLabs"
BUILD = """
() => {
  const graph = window.app.graph
  graph.clear()
  for (const [type, x] of [["IPAdapterModelDownload", 0], ["IPAdapterModelDoctor", 450]]) {
    const node = LiteGraph.createNode(type)
    graph.add(node)
    node.pos = [x, 0]
    if (node.widgets?.length) node.widgets[0].value = "FLUX - XLabs"
  }
  return graph.serialize()
}
"""


def download(server, **widgets):
    """What the node gives (path, report) as its text output, and as what it shows."""
    g = Graph()
    node = g.add("IPAdapterModelDownload", **{"preset": PRESET, "family": "Flux", "download": True} | widgets)
    shown = [g.add("PreviewAny", source=node[output]) for output in (0, 1)]
    outputs = server.run(g).outputs
    return tuple(outputs[one.id]["text"][0] for one in shown)


def files(models):
    return sorted(path.relative_to(models).as_posix() for path in models.rglob("*") if path.is_file())


def test_with_its_switch_off_nothing_is_fetched_and_the_report_says_what_would_be(bare, published, models):
    path, report = download(bare, download=False)
    assert path == "" and published.asked == [] and files(models) == []
    assert f"flux-ip-adapter.safetensors from {ADAPTER}, into {models / 'ipadapter'}" in report


def test_a_preset_is_fetched_whole_its_path_is_text_and_it_runs_then(bare, published, models):
    path, report = download(bare)
    found = [ENCODER_FILE, ADAPTER_FILE]
    assert files(models) == found
    assert path.splitlines() == [str(models / found[1]), str(models / found[0])] and report.startswith("Fetched:")
    assert (models / found[1]).read_bytes() == published.entries[ADAPTER].content
    listed = bare.call("/object_info/IPAdapterModelLoader")["IPAdapterModelLoader"]["input"]["required"]
    assert listed["ipadapter_file"][0] == ["flux-ip-adapter.safetensors"]
    before = len(published.asked)
    assert download(bare) == (path, "Everything is there already.") and len(published.asked) == before
    assert "hf_secret" not in bare.log


def test_a_file_that_is_there_under_another_name_is_not_fetched_again(bare, published, models):
    (models / "ipadapter" / "mine.safetensors").write_bytes(published.entries[ADAPTER].content)
    download(bare)
    assert files(models) == [ENCODER_FILE, "ipadapter/mine.safetensors"]


@pytest.mark.parametrize(
    ("habits", "message"),
    [
        ({"gated": True}, "accepted its terms only.*HF_TOKEN"),
        ({"etag": "0" * 64}, "its content is not the published one"),
        ({"content": b"<html>"}, "is no whole model file"),
    ],
    ids=["gated", "other content", "a page"],
)
def test_what_goes_wrong_is_said_on_the_node_and_leaves_nothing(bare, published, models, habits, message):
    for name, value in habits.items():
        setattr(published.entries[ADAPTER], name, value)
    with pytest.raises(PromptError, match=f"IPAdapterModelDownload: .*{message}"):
        download(bare)
    assert not list(models.rglob("*.safetensors"))


def test_a_missing_file_and_a_name_that_leads_elsewhere_are_refused(bare, published, models):
    by = {"preset": "a file of a repository", "repository": "h94/IP-Adapter"}
    with pytest.raises(PromptError, match="h94/IP-Adapter has no file models/none.safetensors"):
        download(bare, **by, file="models/none.safetensors")
    for file in ("../../evil.safetensors", "models/evil.bin", ""):
        with pytest.raises(PromptError, match="IPAdapterModelDownload: "):
            download(bare, **by, file=file)
    assert files(models) == [] and not list(bare.base.rglob("evil*"))


def test_a_workflow_cannot_choose_what_a_server_fetches(server):
    """A server is started without the variable; the others here have it."""
    for file in ("models/none.safetensors", "../../evil.safetensors"):
        for switch in (True, False):
            with pytest.raises(PromptError, match="not among the files.*ATELIER_FREE_DOWNLOADS=1 in its environment"):
                download(server, preset="a file of a repository", repository="someone/else", file=file, download=switch)
    assert not list(server.base.rglob("*.part")) and not list(server.base.rglob("evil*"))


def test_a_known_file_of_a_repository_gets_its_name_and_folder(bare, published, models):
    by = {"preset": "a file of a repository", "repository": "openai/clip-vit-large-patch14", "folder": "loras"}
    path, _ = download(bare, **by, file="model.safetensors")
    assert path == str(models / ENCODER_FILE) and files(models) == [ENCODER_FILE]


def test_half_a_face_pack_is_said_by_doctor_loader_and_download_alike(bare, published, models):
    write_adapter(models / "ipadapter" / "ip-adapter-faceid_sd15.bin")
    pack = models / "insightface" / "models" / "buffalo_l"
    write_network(pack / "det_10g.onnx", "detection")
    fault = f"The face pack {pack} has no recogniser; its files: det_10g.onnx."
    try:
        g = Graph()
        report = g.add("PreviewAny", source=g.add("IPAdapterModelDoctor")[0])
        assert f"FACEID, SD1.5: {fault}" in bare.run(g).outputs[report.id]["text"][0]
        g = Graph()
        model, faces = g.add("TestModel", family="sd15", seed=1)[0], {"lora_strength": 0.0, "provider": "CPU"}
        g.save("model", g.add("IPAdapterUnifiedLoaderFaceID", model=model, preset="FACEID", **faces)[0])
        with pytest.raises(PromptError, match=re.escape(fault)):
            bare.run(g)
        assert download(bare, preset="FACEID", family="SD1.5", download=False)[1].count("buffalo_l.zip") == 1
        with pytest.raises(PromptError, match=re.escape(fault) + ".*remove its folder first"):
            download(bare, preset="FACEID", family="SD1.5")
        assert [path.name for path in pack.iterdir()] == ["det_10g.onnx"]
    finally:
        shutil.rmtree(models / "insightface")


def test_a_file_whose_hash_is_known_is_refused_with_other_content_whatever_the_hub_says(bare, published, models):
    by = {"preset": "a file of a repository", "repository": "h94/IP-Adapter", "file": HASHED.partition("Adapter/")[2]}
    published.entries[HASHED].etag = "289b45f16d043d0bf542e45831f971dcdaabe18b656f11e86d9dfba7e9ee3369"
    with pytest.raises(PromptError, match=r"its content is not the published one .its hash should be 289b45f16d04"):
        download(bare, **by)
    assert not list(models.rglob("*.safetensors"))


def test_adapters_of_other_packs_are_listed_and_loaded_and_names_from_windows_too(bare, published, models):
    for place in ("ipadapter/flux", "instantid", "xlabs/ipadapters"):
        (models / place).mkdir(parents=True, exist_ok=True)
        (models / place / "a.safetensors").write_bytes(published.entries[ADAPTER].content)
    listed = bare.call("/object_info/IPAdapterModelLoader")["IPAdapterModelLoader"]["input"]["required"]
    assert listed["ipadapter_file"][0] == ["flux/a.safetensors", "instantid/a.safetensors",
                                           "xlabs/ipadapters/a.safetensors"]  # fmt: skip
    for name in (*listed["ipadapter_file"][0], "flux\\a.safetensors"):
        g = Graph()
        g.add("PreviewAny", source=g.add("IPAdapterModelLoader", ipadapter_file=name)[0])
        bare.run(g)
    g = Graph()
    g.add("PreviewAny", source=g.add("IPAdapterModelLoader", ipadapter_file="gone.safetensors")[0])
    with pytest.raises(PromptError, match=f"No adapter 'gone.safetensors' in {models / 'ipadapter'}"):
        bare.run(g)
    shutil.rmtree(models / "instantid")
    shutil.rmtree(models / "xlabs")


def test_load_embeds_says_what_to_do_before_any_were_saved(bare):
    listed = bare.call("/object_info/IPAdapterLoadEmbeds")["IPAdapterLoadEmbeds"]["input"]["required"]["embeds"][0]
    assert listed == ["no embeds saved yet"]
    g = Graph()
    g.add("PreviewAny", source=g.add("IPAdapterLoadEmbeds", embeds=listed[0])[0])
    with pytest.raises(PromptError, match="No embeds were saved yet: run an IPAdapter Save Embeds node"):
        bare.run(g)


def test_stop_stops_it_and_the_next_run_goes_on_where_it_was(bare, published, models):
    entry = published.entries[ADAPTER]
    entry.pause = 4.0
    g = Graph()
    g.add("IPAdapterModelDownload", preset=PRESET, family="Flux", download=True)
    run = bare.submit(g.prompt)
    parts = models / "ipadapter" / ".atelier-parts"
    end = time.monotonic() + 60
    while not any(part.stat().st_size for part in parts.glob("*.part")) and time.monotonic() < end:
        time.sleep(0.05)
    bare.call("/interrupt", {})
    messages = [kind for kind, _ in bare.wait(run, 60)["status"]["messages"]]
    assert "execution_interrupted" in messages and not list(models.rglob("*.safetensors"))
    entry.pause = 0.0
    download(bare)
    assert (models / ADAPTER_FILE).read_bytes() == entry.content
    assert any(header.startswith("bytes=") for header in published.sent("range"))


def test_the_doctor_sees_what_is_there_each_time_it_runs(bare, published, models):
    def report():
        g = Graph()
        node = g.add("IPAdapterModelDoctor")
        shown = [g.add("PreviewAny", source=node[output]) for output in (0, 2)]
        result = bare.run(g)
        text, found = (result.outputs[one.id]["text"][0] for one in shown)
        return text, json.loads(found), result.images(node.id)[0]

    def runs(found):
        return next(one for one in found["presets"] if (one["preset"], one["family"]) == (PRESET, "flux"))["runs"]

    text, found, picture = report()
    assert not runs(found) and picture.size[0] == 1600 and "misses flux-ip-adapter.safetensors" in text
    (models / "ipadapter" / "cut.safetensors").write_bytes(published.entries[ADAPTER].content[:999])
    download(bare)
    text, found, after = report()
    assert runs(found) and after.tobytes() != picture.tobytes()
    assert "ipadapter/cut.safetensors: not understood (broken: damaged" in text
    assert [package["name"] for package in found["packages"]] == ["Python", "PyTorch", "insightface", "onnxruntime"]


def test_both_run_in_the_page_and_show_what_they_found(bare, published, models, browser):
    download(bare)
    page = ComfyPage(browser, bare.url)
    page.load(page.page.evaluate(BUILD))
    page.page.evaluate("window.app.queuePrompt(0, 1)")
    shown = "window.app.graph.nodes.some(n => n.type === 'IPAdapterModelDoctor' && n.imgs?.length)"
    page.page.wait_for_function(shown, timeout=60_000)
    written = "window.app.graph.nodes.flatMap(n => n.widgets ?? []).some(w => `${w.value}`.includes('there already'))"
    page.page.wait_for_function(written, timeout=60_000)
    page.settle()
    page.command("Comfy.Canvas.FitView")
    page.settle()
    assert page.errors == []
    page.page.close()


def test_one_run_fetches_the_files_and_the_reference_beside_it_finds_them(bare, published, models):
    """As the button of IPAdapter Reference leaves the graph: nothing connects the two nodes."""
    g = Graph()
    model = g.add("TestTransformer", kind="Flux", seed=1)[0]
    picture = g.add("TestImage", seed=1)[0]
    reference = g.add("IPAdapterReference", model=model, image=picture, take="everything", strength=1.0)
    report = g.add("PreviewAny", source=reference[2])
    g.add("IPAdapterModelDownload", preset=PRESET, family="Flux", download=True)
    assert f"{PRESET}: flux-ip-adapter.safetensors" in bare.run(g).outputs[report.id]["text"][0]
