"""The attention functions for image prompts: PyTorch's, or the host's with another pack's override."""


import comfy.ldm.modules.attention as host_attention
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from ...ipadapter.attention import Attend
from ..host_types import Options

OVERRIDE = "optimized_attention_override"


def few_tokens(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Attention of q, k, v (b, heads, n, width), with the kernel that PyTorch chooses.

    ComfyUI's other backends limit the memory of long keys, or quantise keys to 8 bits. Neither is worth its cost for an
    image prompt, which has few keys.
    """
    return scaled_dot_product_attention(q, k, v)


def overridden(options: Options) -> Attend:
    """The host's attention, bound to these transformer options, so that it calls the attention override in them."""

    def attend(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
        return host_attention.attention_pytorch(
            q, k, v, heads, skip_reshape=True, skip_output_reshape=True, transformer_options=options
        )

    return attend
