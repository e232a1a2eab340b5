"""The benchmark for GPUs measures all that it should, tried on the CPU at a tiny size; its rival draws what we draw."""

import json
import sys
import time
from typing import Any

import pytest

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

import torch
from comfy import memory_management
from comfy.cli_args import args

from benchmarks import flux, gpu, gpu_cases, plot, report
from benchmarks.projecting import chain_projecting, follow_attending, follow_projecting
from performance.rig import Rig, half_mask

RIG = Rig("sd15")
TINY = ["--channels", "32", "--size", "8", "--dtype", "fp32", "--rounds", "1", "--steps", "2"]
BACKEND = "eager"  # traces as the others do, and spares the C++ compiler


@pytest.mark.parametrize(
    ("follow", "mask"),
    [(follow_projecting, None), (follow_projecting, half_mask()), (follow_attending, None)],
    ids=["projecting", "projecting, masked", "attending"],
)
def test_what_the_benchmark_compares_with_draws_the_same_picture(follow, mask):
    model = RIG.bare()
    plain, ours, theirs = (RIG.sample(one) for one in (model, RIG.follow(model, mask=mask), follow(RIG, model, mask)))
    assert (ours - plain).abs().max() > 0.01
    # Sums in another order: keys and values are projected for one row, or for all of them at once.
    assert (ours - theirs).abs().max() < 1e-5 * ours.abs().max()


def test_four_adapters_of_what_the_benchmark_compares_with_draw_the_same_picture():
    model = RIG.bare()
    ours, theirs = RIG.sample(RIG.chain(model, 4)), RIG.sample(chain_projecting(RIG, model, 4))
    assert (ours - RIG.sample(RIG.chain(model, 3))).abs().max() > 0.01
    assert (ours - theirs).abs().max() < 1e-5 * ours.abs().max()  # as above


def measured_here(monkeypatch, capsys, *options):
    """What `python -m benchmarks.gpu` prints last, without a process that would import ComfyUI for it once more."""
    for name in ("use_pytorch_cross_attention", "highvram"):  # which it turns on
        monkeypatch.setattr(args, name, getattr(args, name))
    monkeypatch.setattr(sys, "argv", ["benchmarks.gpu", *options])
    gpu.main()
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_a_family_is_measured_in_a_way_by_a_process_of_its_own_and_the_report_has_all_of_it(
    tmp_path, monkeypatch, capsys
):
    assert set(gpu_cases.COUNTED) < set(gpu_cases.CASES)
    monkeypatch.setattr(gpu_cases, "COUNTED", ("1",))  # all cases run below; to profile one takes a second
    found = measured_here(monkeypatch, capsys, "two layers", "normal", *TINY)
    command = [sys.executable, "-m", "benchmarks.gpu", "two layers", "compiled", *TINY, "--backend", BACKEND]
    compiled = gpu.run(command)
    assert set(found) == {"steps", "peak MB", "kernels", "busy"}, found
    assert set(found["steps"]) == {"bare s", *gpu_cases.CASES} and min(found["steps"].values()) > 0
    assert set(found["peak MB"]) == {"bare", *gpu_cases.CASES}
    assert set(found["kernels"]) == {"bare", *(f"{name}, per layer" for name in gpu_cases.COUNTED)}
    assert set(found["busy"]) == {"bare s", *gpu_cases.COUNTED}
    assert set(compiled) == {"steps"} and set(compiled["steps"]) == {"bare s", "1", "1 masked"}, compiled
    cases = {name: flux.FLUX_CASES[name] for name in ("XLabs v2 masked", "InstantX")}
    monkeypatch.setattr(flux, "FLUX_CASES", cases)
    of_flux = measured_here(monkeypatch, capsys, "two blocks", "resident", *TINY[2:])
    assert set(of_flux) == {"steps", "busy", "peak MB"} and set(of_flux["steps"]) == {"bare s", *cases}
    measured = {"Tiny, normal": found, "Tiny, compiled": compiled, "Tiny Flux": of_flux}
    results = {"device": "a GPU of 1 GiB", "measured": measured}
    text = report.gpu_tables(results)
    assert all(name in text for name in ("projecting, masked", "4 masked", "1 scheduled", "Tiny, compiled", "1 GiB"))
    assert all(name in text for name in ("Tiny Flux", "XLabs v2 masked", "InstantX"))
    plot.draw_gpu(results, tmp_path / "gpu.png")
    assert (tmp_path / "gpu.png").stat().st_size > 5000


def test_a_model_is_whole_where_layers_wait_for_a_file_to_give_them_weights(monkeypatch):
    """As with dynamic VRAM, which itself needs a GPU."""
    monkeypatch.setattr(memory_management, "aimdo_enabled", True)
    weights = Rig("two layers").bare().model.diffusion_model.state_dict()
    monkeypatch.setattr(memory_management, "aimdo_enabled", False)
    plain = Rig("two layers").bare().model.diffusion_model.state_dict()
    assert weights.keys() == plain.keys() and all(torch.equal(plain[name], one) for name, one in weights.items())


def test_a_mode_that_fails_says_why_in_place_of_its_numbers():
    failed = gpu.run([sys.executable, "-m", "benchmarks.gpu", "sd15", "no such mode"])
    assert "no such mode" in failed["failed"]
    assert "no such mode" in report.gpu_tables(
        {"device": "a GPU", "measured": {"SD1.5": json.loads(json.dumps(failed))}}
    )


def test_a_mode_that_breaks_off_is_asked_for_its_error_and_not_for_what_a_library_says_on_its_way_out():
    broken = "import sys; sys.exit('Traceback:\\nValueError: too small\\naimdo: VERBOSE: closed')"
    assert gpu.run([sys.executable, "-c", broken]) == {"failed": "exit code 1, ValueError: too small"}
    late = broken.replace("aimdo", "Exception ignored in: <function f>\\nImportError: shutting down\\naimdo")
    assert gpu.run([sys.executable, "-c", late]) == {"failed": "exit code 1, ValueError: too small"}


def test_a_mode_that_takes_too_long_keeps_what_it_had_measured():
    slow = 'import time; print(\'{"steps": {"bare s": 1.0}}\', flush=True); time.sleep(60)'
    stopped = gpu.run([sys.executable, "-c", slow], limit=2)
    assert stopped == {"steps": {"bare s": 1.0}, "failed": "stopped after 2 s"}


def test_all_is_measured_within_a_limit_most_important_first_and_what_is_left_over_goes_on(monkeypatch):
    """In seconds: a part that dies at once leaves its share to the next, one that hangs takes no other's share."""
    scripts = {
        "dies": "raise ValueError('too small')",
        "works": 'print(\'{"steps": {"bare s": 1.0}}\')',
        "hangs": "import subprocess, time; subprocess.Popen(['sleep', '60']); time.sleep(60)",
        "comes last": "import time; time.sleep(60)",
    }
    monkeypatch.setattr(gpu, "device_name", lambda: "a GPU")
    limits, run = [], gpu.run

    def watched(command, limit):
        limits.append(limit)
        return run([sys.executable, "-c", scripts[command[-1]]], limit)

    monkeypatch.setattr(gpu, "run", watched)
    begun = time.monotonic()
    plan = [gpu.Part(name, [name], 1.0 if name != "comes last" else 0.0) for name in scripts]
    found: dict[str, Any] = {}
    known = [list(found := results["measured"]) for results in gpu.measure_gpu(6.0, plan)]
    assert known == [list(scripts)[:count] for count in (1, 2, 3, 4)]
    assert time.monotonic() - begun < 30  # neither waits for the minute of what a part started
    assert limits[0] == pytest.approx(2, abs=0.5) and 2 < limits[1] <= 4 and limits[2] > 2 and len(limits) == 3
    assert "ValueError: too small" in found["dies"]["failed"] and found["works"] == {"steps": {"bare s": 1.0}}
    assert "stopped after" in found["hangs"]["failed"] and found["comes last"] == {"failed": "no time was left"}


def test_every_part_of_the_plan_is_one_that_the_benchmark_knows():
    shares = [part.share for part in gpu.PLAN]
    assert min(shares) > 0 and sum(shares) <= 570
    for part in gpu.PLAN:
        assert part.options[0] in gpu.SIZES and part.options[1] in gpu.MODES
        assert part.options[2:] == [] or part.options[2:] == ["--backend", part.options[-1]]


def test_published_widths_have_published_heads(monkeypatch):
    from test_nodes_pack import unets

    monkeypatch.setattr(unets, "seed_weights", lambda *_: None)  # billions of numbers, and none is looked at
    sizes = {site.channels // site.heads for site in _sites(unets.tiny_model("sdxl", 1, 320, "fp16"))}
    assert sizes == {64}


def _sites(model):
    from pack.nodes.sampling.attach import sites_of

    return sites_of(model)
