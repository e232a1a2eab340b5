import pytest
import torch

from pack.ipadapter.embeds import COMBINE, combine
from pack.ipadapter.errors import AdapterError

X = torch.tensor([[1.0, 2, 0], [3, -2, 0], [2, 6, 0]])
ROOT = torch.tensor([14.0, 44, 1]).sqrt()
EXPECTED = {
    "concat": X,
    "add": [[6.0, 6, 0]],
    "subtract": [[-1.5, 0, 0]],
    "average": [[2.0, 2, 0]],
    "norm average": (torch.tensor([6.0, 6, 0]) / ROOT / 3)[None],
    "max": [[3.0, 6, 0]],
    "min": [[1.0, -2, 0]],
}


@pytest.mark.parametrize("method", COMBINE)
def test_every_method_is_its_formula(method):
    torch.testing.assert_close(combine(X, method), torch.as_tensor(EXPECTED[method]))


@pytest.mark.parametrize("method", COMBINE)
def test_hidden_states_combine_over_images_only(method):
    states = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    assert combine(states, method).shape == (3 if method == "concat" else 1, 5, 4)
    torch.testing.assert_close(combine(states, method)[:, 2], combine(states[:, 2], method))


@pytest.mark.parametrize("method", COMBINE)
def test_one_image_stays_as_it_is(method):
    assert combine(X[:1], method) is not None and torch.equal(combine(X[:1], method), X[:1])


def test_norm_average_of_equal_images_is_their_sign_over_the_root_of_their_number():
    torch.testing.assert_close(combine(X[[0, 0, 0, 0]], "norm average"), torch.tensor([[0.5, 0.5, 0.0]]))


def test_norm_average_is_zero_where_all_images_are():
    assert torch.equal(combine(torch.zeros(2, 3), "norm average"), torch.zeros(1, 3))


def test_subtract_of_one_image_alone_is_the_image():
    assert torch.equal(COMBINE["subtract"](X[:1]), X[:1])


def test_an_unknown_method_names_the_known_ones():
    with pytest.raises(AdapterError, match="'mean'.*norm average"):
        combine(X, "mean")
