"""The attention that image prompts are computed with."""


import comfy.ldm.modules.attention as host_attention
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from ...ipadapter.attention import Attend
from ..host_types import Options

OVERRIDE = "optimized_attention_override"


def few_tokens(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Attention of q, k, v (b, heads, n, width), by the kernel that PyTorch chooses.

    An image prompt has few tokens. ComfyUI's other backends bound the memory of long keys, or quantise them to 8 bits,
    and neither pays for few keys.
    """
    return scaled_dot_product_attention(q, k, v)


def overridden(options: Options) -> Attend:
    """The host's attention, which calls the override in these transformer options."""

    def attend(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
        return host_attention.attention_pytorch(
            q, k, v, heads, skip_reshape=True, skip_output_reshape=True, transformer_options=options
        )

    return attend
