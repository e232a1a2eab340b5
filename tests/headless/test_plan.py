"""Tables checked against a graph with the node classes of a running server; keys, captions and metadata of results."""

import io
import json

import numpy as np
import pytest
from graphs import graph, write_pictures
from PIL import Image

from charts.sheets import labelled_grid
from headless.client import Client
from headless.errors import BatchError
from headless.graph import Input, find_input
from headless.plan import Plan, in_order
from headless.results import Outcome, as_array, with_text
from headless.sheet import draw_sheet, labels
from headless.values import as_value


@pytest.fixture(scope="module")
def info(server):
    return Client(server.url, 60).nodes()


@pytest.fixture
def check(info, tmp_path):
    def make(*table, prompt=None):
        return Plan(prompt or graph(), [{"image": "red.png"} | row for row in table], {"a server": info}, tmp_path)

    write_pictures(tmp_path, ["red", "blue"])
    return make


def problems(plan):
    return [str(problem) for problem in plan.problems]


def test_a_column_names_an_input_by_number_title_class_or_name_alone(info):
    for column, node, name in (
        ("seed", "7", "seed"),
        ("KSampler.seed", "7", "seed"),
        ("7.seed", "7", "seed"),
        ("What to draw.words", "4", "words"),
        ("IPAdapter Advanced.weight", "3", "weight"),
    ):
        found = find_input(column, graph(), info)
        assert (found.node, found.name) == (node, name), column


def test_a_column_that_fits_two_inputs_or_none_says_which_there_are(info):
    with pytest.raises(BatchError, match=r"4\.words \(What to draw\), 5\.words"):
        find_input("words", graph(), info)
    with pytest.raises(BatchError, match="KSampler.cfg"):
        find_input("KSampler.sed", graph(), info)


def test_all_problems_are_listed_at_once_with_row_and_column(check):
    plan = check(
        {"seed": "1", "nonsense": 1, "steps": "two", "weight": 0.5, "model": "x"},
        {"seed": -1, "steps": 2, "weight": "nan", "KSampler.scheduler": "none", "image": "gone.png"},
        {"seed": 1.5, "adapter": "large", "steps": None},
    )
    texts = "\n".join(problems(plan))
    for expected in (
        "nonsense: fits no input",
        "row 1, steps: expected a number, found 'two'",
        "row 2, seed: expected 0 to",
        "row 2, weight: expected -1",
        "row 2, KSampler.scheduler: the server has no 'none'. It has ",
        "row 2, image: cannot read the picture",
        "row 3, seed: expected a whole number, found 1.5",
        "row 3, adapter: the server has no 'large'. It has ",
    ):
        assert expected in texts


def test_cells_that_no_input_can_take_are_problems_with_row_and_column(check):
    huge = 10**400
    plan = check(
        {
            "seed": [1, 2],
            "weight": {"a": 1},
            "What to draw.words": ["a", "b"],
            "adapter": ["plus"],
            "image": ["red.png"],
        },
        {
            "seed": huge,
            "weight": huge,
            "steps": -huge,
            "What to draw.words": {"de": "Haus"},
            "KSampler.scheduler": b"x",
        },
        {"seed": float("inf"), "weight": "1e999", "steps": None, "cfg": "9" * 5000},
        {"What to draw.words": "\ud800"},
        {"What to draw.words": float("nan")},
    )
    texts = problems(plan)
    places = [tuple(text.split(": ")[0].split(", ")) for text in texts]
    assert sorted(places) == sorted(
        [("row 1", c) for c in ("seed", "weight", "What to draw.words", "adapter", "image")]
        + [("row 2", c) for c in ("seed", "weight", "steps", "What to draw.words", "KSampler.scheduler")]
        + [("row 3", c) for c in ("seed", "weight", "cfg")]
        + [(f"row {number}", "What to draw.words") for number in (4, 5)]
    )
    assert all("expected" in text and "found" in text and len(text) < 160 for text in texts), texts
    without_limits = Input("1", "number", "A node", "INT", {})
    assert [as_value(without_limits, value) for value in (2**64 - 1, np.uint64(2**64 - 1), "-5", 2.0, "1e3")] == [
        2**64 - 1, 2**64 - 1, -5, 2, 1000,
    ]  # fmt: skip
    for value in (2**64, -(2**63) - 1):  # results.parquet has no type for these
        with pytest.raises(ValueError, match="expected -9223372036854775808 to 18446744073709551615"):
            as_value(without_limits, value)


def test_values_that_no_type_of_a_table_has_together_are_written_as_texts():
    for values in ([-1, 2**64 - 1], ["auto", 224, None], [0.5, "a"]):
        assert as_array(values).to_pylist() == [None if value is None else str(value) for value in values]
    assert as_array([1, 2**64 - 1, None]).to_pylist() == [1, 2**64 - 1, None]


def test_a_path_of_a_picture_is_a_value_like_a_text(check, tmp_path):
    (row,) = check({"image": tmp_path / "red.png"}).rows
    assert row.values["image"] == str(tmp_path / "red.png")  # results are JSON and Parquet, which have no paths


def test_a_model_and_a_node_of_the_graph_that_the_server_lacks_are_problems(check):
    prompt = graph()
    prompt["1"]["inputs"]["adapter"] = "enormous"
    prompt["9"]["class_type"] = "SaveHologram"
    texts = problems(check({}, prompt=prompt))
    assert any("a server has no 'enormous'" in text for text in texts)
    assert any("no node SaveHologram" in text for text in texts)


def test_values_take_the_types_of_their_inputs_and_empty_cells_leave_the_graph_alone(check):
    plan = check({"seed": "18446744073709551615", "weight": "0.5", "What to draw.words": "", "steps": ""})
    assert not plan.problems
    (row,) = plan.rows
    assert row.prompt["7"]["inputs"]["seed"] == 2**64 - 1 and row.prompt["3"]["inputs"]["weight"] == 0.5
    assert row.prompt["4"]["inputs"]["words"] == "" and row.prompt["7"]["inputs"]["steps"] == 2
    assert plan.prompt["7"]["inputs"]["seed"] == 1


def test_the_key_follows_what_is_in_a_picture_and_not_its_name(check, tmp_path):
    (tmp_path / "copy.png").write_bytes((tmp_path / "red.png").read_bytes())
    red, copy, blue = check({}, {"image": "copy.png"}, {"image": "blue.png"}).rows
    assert red.key == copy.key != blue.key


def test_pictures_come_from_the_local_network_only(check):
    (text,) = problems(check({"image": "http://8.8.8.8/a.png"}))
    assert "not on the local network" in text


def test_columns_with_the_costliest_change_change_least_often(check):
    table = [
        {"seed": seed, "image": f"{colour}.png", "adapter": adapter}
        for seed in (1, 2)
        for colour in ("red", "blue")
        for adapter in ("standard", "plus")
    ]
    plan = check(*table)
    ordered = [tuple(row.values[name] for name in ("adapter", "image", "seed")) for row in in_order(
        plan.rows, plan.inputs, plan.prompt
    )]  # fmt: skip
    assert ordered == [(a, f"{c}.png", s) for a in ("standard", "plus") for c in ("red", "blue") for s in (1, 2)]


def test_a_png_takes_one_more_text_and_keeps_all_else():
    written = io.BytesIO()
    Image.effect_noise((8, 8), 50).save(written, "PNG")
    png = with_text(written.getvalue(), "batch", json.dumps({"words": "größer 大"}, ensure_ascii=False))
    with Image.open(io.BytesIO(png)) as opened, Image.open(written) as plain:
        opened.load()
        assert json.loads(opened.info["batch"]) == {"words": "größer 大"}
        assert opened.tobytes() == plain.tobytes()


def test_a_caption_with_a_slash_is_no_path_and_values_with_the_same_label_stay_apart(tmp_path):
    text, choice, picture = (
        Input("1", kind.lower(), "A node", kind, {"image_upload": kind == "COMBO" and uploads})
        for kind, uploads in (("STRING", False), ("COMBO", False), ("COMBO", True))
    )
    for input, values, expected in (
        (text, ["portrait, 3/4 view, oil", "side view, 1/4 view, oil"], None),
        (choice, ["K+V w/ C penalty", "V only"], None),
        (choice, ["sd15/plus.safetensors", "sd15\\standard.safetensors"], ["plus", "standard"]),
        (choice, ["sd15/plus.safetensors", "sdxl/plus.safetensors"], None),
        (picture, ["people/a cat", "/data/red.png"], ["a cat", "red"]),
        (picture, ["red.png", "blue.png"], None),
    ):
        assert list(labels(input, values).values()) == (expected or values), values
    write_pictures(tmp_path, ["red", "blue"])
    table = [("front, 3/4 view", "red"), ("back, 3/4 view", "blue")]
    column = {"words": text}
    outcomes = [Outcome(n, "", {"words": words}, [f"{file}.png"]) for n, (words, file) in enumerate(table, 1)]
    grid = draw_sheet(tmp_path, outcomes, column)
    contact = draw_sheet(tmp_path, [*outcomes, Outcome(3, "", outcomes[0].values, ["red.png"])], column)
    expected = labelled_grid(
        [Image.new("RGB", (64, 64), file) for _, file in table], [""], [w for w, _ in table], "words", 192
    )
    assert grid and contact and grid.tobytes() == expected.tobytes() != contact.tobytes()
