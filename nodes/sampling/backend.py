"""The attention that image prompts are computed with: the host's own."""

from collections.abc import Mapping
from typing import Any

import comfy.ldm.modules.attention as host_attention

from ...ipadapter.attention import Attend


def attend_of(options: Mapping[str, Any]) -> Attend:
    """The host's backend, with its precision and overrides. Sub-quadratic and split attention bound the memory of long
    keys; for a few image tokens plain SDPA does better.
    """
    backend = host_attention.optimized_attention
    if backend in (host_attention.attention_sub_quad, host_attention.attention_split, host_attention.attention_basic):
        backend = host_attention.attention_pytorch
    precision = options.get("attn_precision")
    return lambda q, k, v, heads: backend(
        q,
        k,
        v,
        heads,
        attn_precision=precision,
        skip_reshape=True,
        skip_output_reshape=True,
        transformer_options=options,
    )
