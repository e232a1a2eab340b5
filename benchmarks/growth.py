"""How operations, time and memory grow with adapters, and with the frames of a batch sampled in windows."""

import time
from typing import Any

from pack.nodes.applying import keys_values
from performance.rig import Rig, added, half_mask, hooks_of, in_windows
from test_nodes_pack.counting import total

RIG = Rig("sd15")
ADAPTERS = (1, 2, 4, 8)
FRAMES = (16, 32, 64, 128)
SMALL_BUDGET = 500_000  # bytes; the real 256 MiB are as far from a tiny UNet's K/V as from a real one's thousand frames


def grow_adapters() -> dict[int, float]:
    """Operations added to a step by so many adapters."""
    model = RIG.bare()
    bare = RIG.count(model)
    return {n: total(added(RIG.count(RIG.chain(model, n, mask=half_mask())), bare)) for n in ADAPTERS}


def grow_frames() -> dict[int, dict[str, Any]]:
    """Seconds of a step and the most bytes kept for it, every frame following its own picture."""
    real, keys_values.BUDGET = keys_values.BUDGET, SMALL_BUDGET
    try:
        return {frames: _frames(frames) for frames in FRAMES}
    finally:
        keys_values.BUDGET = real


def _frames(frames: int) -> dict[str, Any]:
    patched = in_windows(RIG.follow(RIG.bare(), images=frames, per_frame=True))
    store = hooks_of(patched).plans.store
    store.max_bytes = SMALL_BUDGET
    most = 0

    def look(n: Any, options: Any) -> Any:
        nonlocal most
        most = max(most, store.bytes)
        return n

    patched.set_model_attn2_output_patch(look)
    start = time.perf_counter()
    RIG.sample(patched, steps=1, frames=frames)
    return {"seconds": time.perf_counter() - start, "bytes": most}
