"""What a changed input makes the pack compute again."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from pack.ipadapter.adapter import AdapterNetwork
from pack.nodes.applying.apply import Request, Strength, apply_adapter
from pack.nodes.applying.encoding import Reference
from performance.rig import Rig, half_mask
from test_nodes_pack import standins

RIG = Rig("sd15")
WORK = {"encode_image": "encodings", "project": "projections", "keys_values": "K/V of layers"}
CHANGES: dict[str, dict[str, Any]] = {
    "first time": {},
    "the same again": {},
    "weight": {"weight": 0.5},
    "weight type": {"weight_type": "style transfer"},
    "start_at, end_at": {"start_at": 0.2, "end_at": 0.8},
    "mask": {"mask": half_mask()},
}


def count_work() -> dict[str, dict[str, int]]:
    """Encodings, projections and K/V products of an apply after one input changed."""
    clip_vision = standins.tiny_clip_vision(3, 64, 32, 224)
    model = RIG.bare()
    results = {}
    with _counted(clip_vision) as calls:
        for name, strength in [*CHANGES.items(), ("picture", {})]:
            calls.clear()
            reference = Reference(images=_picture(2 if name == "picture" else 1))
            apply_adapter(model, RIG.adapter, [Request(reference, Strength(**strength))], clip_vision)
            results[name] = {shown: calls[method] for method, shown in WORK.items()}
    return results


def _picture(seed: int) -> Tensor:
    return torch.rand((1, 64, 64, 3), generator=torch.Generator().manual_seed(seed))


@contextmanager
def _counted(clip_vision: Any) -> Iterator[Counter[str]]:
    calls: Counter[str] = Counter()

    def wrap(owner: Any, name: str) -> Any:
        real = getattr(owner, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            calls[name] += 1
            return real(*args, **kwargs)

        return mock.patch.object(owner, name, counted)

    with wrap(clip_vision, "encode_image"), wrap(AdapterNetwork, "project"), wrap(AdapterNetwork, "keys_values"):
        yield calls
