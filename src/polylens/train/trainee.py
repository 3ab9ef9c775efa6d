"""What is trained, and the weights it begins with."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from polylens.models.jina_v4.model import JinaV4
from polylens.train.data.examples import NUM_LETTERS, READING_POINTS
from polylens.train.recipes import Recipe
from polylens.train.tokenizer import SPECIAL_TOKENS


class Trainee(nn.Module):
    """The model and the head that only training uses."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.model = JinaV4(recipe.model)
        self.reader = nn.Linear(recipe.model.vision.width, READING_POINTS * (NUM_LETTERS + 1))


def initialise(trainee: Trainee, seed: int, tokenizer: Tokenizer) -> None:
    """Fresh weights: normal with fan-in scaling; biases, adapters' B and whatever ends a residual branch zero.

    So each block begins as the identity (for the adapters, arXiv 2106.09685, section 4.1). The patch embedding begins
    as a cosine transform: an orthogonal view of the ink, where a random one would mostly show how white the paper is.
    The token embeddings begin as spellings.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in trainee.named_parameters():
            if "norm" in name:
                parameter.fill_(1.0)
            elif "lora_b" in name or name.endswith(("bias", "out.weight", "down.weight")):
                parameter.zero_()
            elif name.endswith("decoder.embed.weight"):
                parameter.copy_(spellings(tokenizer, parameter.shape[1], generator))
            else:
                parameter.normal_(0.0, parameter.shape[1] ** -0.5, generator=generator)
        vision = trainee.model.config.vision
        shown = vision.num_channels * vision.num_frames  # how often each pixel comes
        basis = cosine_basis(vision.patch_size)[: vision.width].repeat(1, shown) / shown
        trainee.model.vision.patch_embed.weight[: len(basis)] = basis
        trainee.reader.weight.zero_()


def spellings(tokenizer: Tokenizer, width: int, generator: torch.Generator) -> Tensor:
    """A vector for each token of the vocabulary, `[tokens, width]`: the sum of random codes of its letters.

    A letter has one code wherever it stands, one as the first and one as the last. So tokens that share letters begin
    alike, and a rare one need not learn from nothing what it looks like.
    """
    codes: dict[tuple[str, str], Tensor] = {}

    def code(place: str, letter: str) -> Tensor:
        if (place, letter) not in codes:
            codes[place, letter] = torch.randn(width, generator=generator)
        return codes[place, letter]

    rows = []
    for token in range(tokenizer.get_vocab_size()):
        spelled = tokenizer.decode([token], skip_special_tokens=False)
        bare = spelled.strip().lower() or spelled
        parts = [code("any", letter) for letter in bare] + [code("first", bare[:1]), code("last", bare[-1:])]
        if spelled != spelled.lstrip():
            parts.append(code("space", ""))
        if spelled == "\ufffd" or token < len(SPECIAL_TOKENS):  # a lone byte, or a mark: nothing that is spelled
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
