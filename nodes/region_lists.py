"""The values of IPADAPTER_PARAMS sockets, ours and other packs': a dict of lists, with one entry per region."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from ..ipadapter.errors import AdapterError
from .sockets import Weight

Params = Mapping[str, list[Any]]


class Region(NamedTuple):
    """One region; the names of the fields are the keys of the dict."""

    image: Tensor
    attn_mask: Tensor | None = None
    weight: Weight = 1.0
    weight_type: str = "linear"
    start_at: float = 0.0
    end_at: float = 1.0


def regions_of(params: object) -> list[Region]:
    """Every region that has a picture. A missing value (None) is the default of Region."""
    lists = checked_params(params)
    rows = zip(*(lists[name] for name in Region._fields), strict=True)
    given = [{n: value for n, value in zip(Region._fields, row, strict=True) if value is not None} for row in rows]
    return [Region(**region) for region in given if "image" in region]


def joined(params: Sequence[object]) -> Params:
    """All regions of several sockets in one dict of lists, in order."""
    lists = [checked_params(one) for one in params]
    return {name: [value for one in lists for value in one[name]] for name in Region._fields}


def checked_params(params: object) -> Params:
    """The socket's value; AdapterError unless it is a dict with a list for every field, all of equal length."""
    lists: list[object] = [params.get(name) for name in Region._fields] if isinstance(params, Mapping) else []
    lengths = {len(found) if isinstance(found, list) else None for found in lists}
    if not isinstance(params, Mapping) or None in lengths or len(lengths) != 1:
        raise AdapterError("ipadapter_params needs regions from an IPAdapter Regional Conditioning node.")
    return params
