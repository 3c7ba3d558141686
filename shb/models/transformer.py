"""A transformer on the patches of an image, or on pieces of a sequence: pre-norm blocks, then the mean over the tokens.

    t_0 = E patches + e + position          t' = t + attention(N(t)),  t'' = t' + W_2 gelu(W_1 N(t'))     (each block)
    output = V mean over tokens of N(t_depth)

N is LayerNorm with weight and bias of its own in every place, attention is softmax(Q K^T / sqrt(d)) V with `heads`
heads of size d, and W_1 has 4 width rows (Vaswani et al., arXiv 1706.03762; pre-norm: Xiong et al., arXiv 2002.04745;
patches: Dosovitskiy et al., arXiv 2010.11929). No dropout.

Every N sees the stream t, which is a sum of what E, e, position, and the last layers of attention and of the W_2 write.
Multiplied by one c > 0, these parameters together (`stream_writers`) multiply t by c, and the output stays (but for the
eps of N): they are one scale-invariant block.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from shb.errors import ConfigurationError
from shb.models.gelu import GELU
from shb.models.normalization import LayerNorm

MOST_BLOCKS = 200


class Block(nn.Module):
    """Attention and a perceptron, each on the normalised stream and added to it: [n, tokens, width] -> the same.

    Args:
        width: numbers per token.
        heads: of the attention; they divide the width.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.norm = LayerNorm(width), LayerNorm(width)
        self.attention_in, self.attention_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.gelu, self.down = nn.Linear(width, 4 * width), GELU(), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.down(self.gelu(self.up(self.norm(x))))

    def attention(self, x: Tensor) -> Tensor:
        """What every token reads from all of its sample: [n, tokens, width] -> the same."""
        n, tokens, width = x.shape
        size = width // self.heads
        q, k, v = self.attention_in(x).view(n, tokens, 3, self.heads, size).permute(2, 0, 3, 1, 4).unbind(0)
        weights = torch.softmax(q @ k.transpose(-1, -2) * (1 / math.sqrt(size)), -1)
        return self.attention_out((weights @ v).transpose(1, 2).reshape(n, tokens, width))


class Transformer(nn.Module):
    """[n, channels, height, width] or [n, channels, length] -> [n, outputs].

    Args:
        feature_shape, outputs, patch, width, depth, heads: as in `transformer`.
    """

    def __init__(
        self, feature_shape: Sequence[int], outputs: int, patch: int, width: int, depth: int, heads: int
    ) -> None:
        super().__init__()
        channels, *sides = feature_shape
        self.patch = patch
        self.embedding = nn.Linear(channels * patch ** len(sides), width)
        self.position = nn.Parameter(0.02 * torch.randn(math.prod(side // patch for side in sides), width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm, self.head = LayerNorm(width), nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embedding(self.patches(x)) + self.position
        return self.head(self.norm(self.blocks(tokens)).mean(1))

    def patches(self, x: Tensor) -> Tensor:
        """[n, channels, *sides] -> [n, tokens, numbers of a patch], row by row of the image."""
        n, channels, *sides = x.shape
        split = x.view(n, channels, *(part for side in sides for part in (side // self.patch, self.patch)))
        order = (0, 2, 1, 3) if len(sides) == 1 else (0, 2, 4, 1, 3, 5)
        return split.permute(order).reshape(n, -1, channels * self.patch ** len(sides))


def transformer(
    feature_shape: Sequence[int],
    outputs: int,
    *,
    patch: int = 4,
    width: int = 32,
    depth: int = 2,
    heads: int = 4,
) -> nn.Module:
    """Input [n, channels, length] or [n, channels, height, width], output [n, outputs].

    Args:
        feature_shape: of one input, without n.
        outputs: numbers per sample, of classes or targets.
        patch: side of the patches, of which each is a token; it divides every side of the data.
        width: numbers per token, a multiple of `heads`, at least 2.
        depth: number of blocks.
        heads: of every attention.

    Raises:
        ConfigurationError: a value out of range, or data without a spatial dimension.

    Example:
        >>> transformer((1, 28, 28), 10, patch=7)(torch.zeros(5, 1, 28, 28)).shape
        torch.Size([5, 10])
    """
    if len(feature_shape) not in (2, 3):
        raise ConfigurationError("model", "transformer", "mlp for data without a spatial dimension")
    common = math.gcd(*feature_shape[1:])
    if patch < 1 or common % patch:
        sides = " x ".join(map(str, feature_shape[1:]))
        fit = ", ".join(str(p) for p in range(1, common + 1) if common % p == 0)
        raise ConfigurationError("model.patch", patch, f"one of {fit}: patches must fill data of side {sides}")
    if not 1 <= depth <= MOST_BLOCKS:
        raise ConfigurationError("model.depth", depth, f"a number of blocks from 1 to {MOST_BLOCKS}")
    if heads < 1:
        raise ConfigurationError("model.heads", heads, "a number of heads >= 1")
    if width < 2 or width % heads:  # a layer norm over one number is the same for all inputs
        raise ConfigurationError("model.width", width, f"a multiple of model.heads={heads}, at least {max(heads, 2)}")
    return Transformer(feature_shape, outputs, patch, width, depth, heads)


def stream_writers(names: Iterable[str]) -> list[str]:
    """Those of a transformer's parameters that write to the stream: its scale-invariant block."""
    writers = ("embedding.", "position", "attention_out.", "down.")
    return [name for name in names if any(writer in name for writer in writers)]
