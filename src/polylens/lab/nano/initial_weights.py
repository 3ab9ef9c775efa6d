"""The weights that a run from random weights begins with."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer
from torch import Tensor

from polylens.lab.nano.trainee import Trainee


def initialise(trainee: Trainee, seed: int, tokenizer: Tokenizer) -> None:
    """Initialises all weights: normal with fan-in scaling; zero for biases, adapters' B and ends of residual branches.

    So each block begins as the identity (for the adapters, arXiv 2106.09685, section 4.1). The patch embedding begins
    as a cosine transform: an orthogonal view of the ink, where a random one would mostly show how white the paper is.
    The token embeddings begin as `spelling_embeddings`.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in trainee.named_parameters():
            if name.endswith(("bias", "out.weight", "down.weight", "segment.weight")) or "lora_b" in name:
                parameter.zero_()
            elif "norm" in name:
                parameter.fill_(1.0)
            elif name.endswith(("decoder.embed.weight", "text.embed.weight")):
                parameter.copy_(spelling_embeddings(tokenizer, parameter.shape[1], generator))
            else:
                parameter.normal_(0.0, parameter.shape[-1] ** -0.5, generator=generator)
        embed, side = trainee.tower.get_parameter("patch_embed.weight"), trainee.patch_size
        width, patch_dim = embed.shape
        shown = patch_dim // side**2  # how often each pixel comes: in every channel and frame
        basis = cosine_basis(side)[:width].repeat(1, shown) / shown
        embed[: len(basis)] = basis
        trainee.reader.weight.zero_()


def spelling_embeddings(tokenizer: Tokenizer, width: int, generator: torch.Generator) -> Tensor:
    """A vector for each token of the vocabulary, `[tokens, width]`: the sum of random codes of its letters.

    A letter has one code wherever it stands, one as the first and one as the last. So tokens that share letters begin
    alike, and a rare one need not learn from nothing what it looks like.
    """
    codes: dict[tuple[str, str], Tensor] = {}

    def code(place: str, letter: str) -> Tensor:
        if (place, letter) not in codes:
            codes[place, letter] = torch.randn(width, generator=generator)
        return codes[place, letter]

    marks = tokenizer.get_added_tokens_decoder()
    rows = []
    for token in range(tokenizer.get_vocab_size()):
        spelled = tokenizer.decode([token], skip_special_tokens=False)
        bare = spelled.strip().lower() or spelled
        parts = [code("any", letter) for letter in bare] + [code("first", bare[:1]), code("last", bare[-1:])]
        if spelled != spelled.lstrip():
            parts.append(code("space", ""))
        if spelled == "\ufffd" or token in marks:  # a lone byte, or a mark: nothing that is spelled
            parts = [code("token", str(token))]
        rows.append(torch.stack(parts).sum(dim=0) * (0.5 / len(parts) ** 0.5))
    return torch.stack(rows)


def cosine_basis(side: int) -> Tensor:
    """The two-dimensional discrete cosine transform of a square, slow waves first, orthonormal: `[side^2, side^2]`.

    The constant one, which only tells light paper from dark, is scaled down to a tenth.

    Example:
        >>> basis = cosine_basis(3)
        >>> bool(torch.allclose(basis[1:] @ basis[1:].T, torch.eye(8), atol=1e-6))
        True
    """
    at = torch.arange(side)
    waves = torch.cos(torch.pi * (2 * at[None, :] + 1) * at[:, None] / (2 * side)) * (2 / side) ** 0.5
    waves[0] /= 2**0.5
    both = torch.einsum("iy,jx->ijyx", waves, waves).flatten(2).flatten(0, 1)
    basis = both[(at[:, None] + at[None, :]).flatten().argsort(stable=True)]
    basis[0] *= 0.1
    return basis
