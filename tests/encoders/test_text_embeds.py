"""What words say is taken out of embeds, and nothing else."""

import pytest
import torch
from torch.nn.functional import cosine_similarity as cosine

from pack.encoders.text_embeds import METHODS, phrases, project_out, without_text
from pack.ipadapter.errors import AdapterError, EncoderMismatchError

SUBJECT, OTHER = torch.eye(8)[:1], torch.eye(8)[1:2]
PICTURES = torch.tensor([[2.0, 1.0, 1, 0, 3, 0, 0, 1], [1.0, 2.0, 0, 1, 0, 2, 0, 0]])


@pytest.mark.parametrize("method", METHODS)
def test_the_words_go_and_other_words_stay(method):
    left = without_text(PICTURES, 5 * SUBJECT, 0.2, method)
    assert (cosine(left, SUBJECT) < cosine(PICTURES, SUBJECT)).all()
    torch.testing.assert_close(left @ OTHER.T, PICTURES @ OTHER.T, rtol=0, atol=0)
    assert without_text(PICTURES, SUBJECT, 0.0, method).equal(PICTURES)


def test_subtracting_takes_a_share_of_the_embeds_own_length():
    left = without_text(PICTURES, 5 * SUBJECT, 0.25)
    torch.testing.assert_close(PICTURES - left, 0.25 * PICTURES.norm(dim=-1, keepdim=True) * SUBJECT)


def test_projecting_out_leaves_nothing_along_any_phrase():
    words = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    left = without_text(PICTURES, words, 1.0, "project out")
    torch.testing.assert_close(left @ words.T, torch.zeros(2, 3), rtol=0, atol=1e-5)  # 32-bit least squares
    torch.testing.assert_close(project_out(left, words, 1.0), left, rtol=0, atol=1e-5)


def test_only_pooled_embeds_of_the_same_width_are_taken():
    with pytest.raises(EncoderMismatchError, match="takes hidden states .* Pairs that work: ip-adapter_sd15"):
        without_text(torch.zeros(1, 257, 8), SUBJECT, 0.5)
    with pytest.raises(EncoderMismatchError, match="8 wide and the text tower's 4"):
        without_text(PICTURES, torch.ones(1, 4), 0.5)


def test_words_are_parted_by_commas_and_lines():
    assert phrases("a cat, sofa\n the window,") == ["a cat", "sofa", "the window"]
    with pytest.raises(AdapterError, match="no words"):
        phrases(" ,\n")
