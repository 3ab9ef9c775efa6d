"""Windows of one colour, such as a page's margins: one of them stands for all of its colour in an image.

Shapes: P patches of all images together in window order, D numbers per patch, K kept patches, M merged tokens.

All patches of such a window are the same, and no position is added to them. So whichever of them a layer that attends
within windows mixes, it gives the same states, for every window of that colour. Only a layer that attends to the whole
image can tell these windows apart, by their places. On half of a page's area that difference is worth no time:
docs/log.md has what it costs nano (nothing that a benchmark shows) and what it saves (two fifths).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Kept:
    """The windows that a tower computes."""

    patches: Int[Tensor, " K"]
    """Their patches."""
    windows: list[int]
    """Patches of each."""
    images: list[int]
    """Patches of each image that are in them."""
    sources: Int[Tensor, " M"]
    """Of all tokens in window order, the kept one whose result each has."""


def kept_windows(
    patches: Float[Tensor, "P D"], windows: Sequence[int], images: Sequence[int], *, channels: int, per_token: int
) -> Kept:
    """Returns all windows of more than one colour, and of each image the first window of each other colour.

    Args:
        patches: In window order; the numbers of a channel follow each other.
        windows: Patches per window.
        images: Patches per image; no window is in two.
        channels: Channels of a patch.
        per_token: Patches per token.

    Example:
        >>> white, ink = torch.zeros(1, 4), torch.tensor([[0.0, 1.0, 0.0, 0.0]])
        >>> kept = kept_windows(torch.cat([white, ink, white, white]), [1, 1, 2], [4], channels=1, per_token=1)
        >>> kept.patches.tolist(), kept.windows, kept.images, kept.sources.tolist()
        ([0, 1], [1, 1], [2], [0, 1, 0, 0])
    """
    bounds = list(accumulate(images))
    colors = _colors(patches, torch.tensor(windows), channels)
    firsts: dict[tuple[float, ...], int] = {}
    rows, sizes, sources = [], [], []
    lengths, image, num_kept = [0] * len(images), 0, 0  # of patches so far
    for start, size, color in zip(accumulate(windows, initial=0), windows, colors, strict=False):
        if start == bounds[image]:
            image, firsts = image + 1, {}
        num_tokens = size // per_token
        if color is not None and color in firsts:
            sources.append(torch.full((num_tokens,), firsts[color]))
            continue
        token = num_kept // per_token
        if color is None:
            sources.append(torch.arange(token, token + num_tokens))
        else:
            firsts[color] = token
            sources.append(torch.full((num_tokens,), token))
        rows.append(torch.arange(start, start + size))
        sizes.append(size)
        lengths[image] += size
        num_kept += size
    return Kept(torch.cat(rows), sizes, lengths, torch.cat(sources))


def _colors(patches: Float[Tensor, "P D"], windows: Int[Tensor, " W"], channels: int) -> list[tuple[float, ...] | None]:
    """Returns the colour of each window, None where it has several."""
    pixels = patches.reshape(len(patches), channels, -1)
    of_patches = pixels[..., 0]
    of_windows = of_patches[(windows.cumsum(0) - windows).to(patches.device)]
    window_of = torch.repeat_interleave(torch.arange(len(windows)), windows).to(patches.device)
    differs = (pixels != of_patches[..., None]).flatten(1).any(dim=1) | (of_patches != of_windows[window_of]).any(dim=1)
    has_several = torch.zeros(len(windows), device=patches.device).index_add(0, window_of, differs.float()) > 0
    found = zip(of_windows.tolist(), has_several.tolist(), strict=True)
    return [None if several else tuple(color) for color, several in found]
