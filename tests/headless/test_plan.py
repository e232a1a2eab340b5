"""Tables against a graph, with what a running server says of its nodes; and what results are made of."""

import io
import json

import pytest
from graphs import graph, write_pictures
from PIL import Image

from headless.client import Client
from headless.errors import BatchError
from headless.graph import find_input
from headless.plan import Plan, in_order
from headless.results import with_text


@pytest.fixture(scope="module")
def info(server):
    return Client(server.url).nodes()


@pytest.fixture
def check(info, tmp_path):
    def make(*table, prompt=None):
        return Plan(prompt or graph(), [{"image": "red.png"} | row for row in table], {"a server": info}, tmp_path)

    write_pictures(tmp_path, ["red", "blue"])
    return make


def problems(plan):
    return [str(problem) for problem in plan.problems]


@pytest.mark.parametrize(
    ("column", "node", "name"),
    [
        ("seed", "7", "seed"),
        ("KSampler.seed", "7", "seed"),
        ("7.seed", "7", "seed"),
        ("What to draw.words", "4", "words"),
        ("IPAdapter Advanced.weight", "3", "weight"),
    ],
)
def test_a_column_names_an_input_by_number_title_class_or_name_alone(info, column, node, name):
    found = find_input(column, graph(), info)
    assert (found.node, found.name) == (node, name)


def test_a_column_that_fits_two_inputs_or_none_says_which_there_are(info):
    with pytest.raises(BatchError, match=r"4\.words \(What to draw\), 5\.words"):
        find_input("words", graph(), info)
    with pytest.raises(BatchError, match="KSampler.cfg"):
        find_input("KSampler.sed", graph(), info)


def test_all_problems_are_told_at_once_with_row_and_column(check):
    plan = check(
        {"seed": "1", "nonsense": 1, "steps": "two", "weight": 0.5, "model": "x"},
        {"seed": -1, "steps": 2, "weight": "nan", "KSampler.scheduler": "none", "image": "gone.png"},
        {"seed": 1.5, "adapter": "large", "steps": None},
    )
    told = "\n".join(problems(plan))
    for expected in (
        "nonsense: fits no input",
        "row 1, steps: expected a number, found 'two'",
        "row 2, seed: expected 0 to",
        "row 2, weight: expected -1",
        "row 2, KSampler.scheduler: there is no 'none' on the server. There is: ",
        "row 2, image: cannot read the picture",
        "row 3, seed: expected a whole number, found 1.5",
        "row 3, adapter: there is no 'large' on the server. There is: ",
    ):
        assert expected in told


def test_a_model_that_the_graph_names_and_a_node_that_nobody_has_are_found(check):
    prompt = graph()
    prompt["1"]["inputs"]["adapter"] = "enormous"
    prompt["9"]["class_type"] = "SaveHologram"
    told = problems(check({}, prompt=prompt))
    assert any("there is no 'enormous'" in text for text in told)
    assert any("no node SaveHologram" in text for text in told)


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
    (told,) = problems(check({"image": "http://8.8.8.8/a.png"}))
    assert "not on the local network" in told


def test_what_costs_most_changes_least_often(check):
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
