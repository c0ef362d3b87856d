"""The network: a Llama decoder in plain PyTorch, with rotary embeddings on neighbouring pairs as GGUF's llama has them.

Because the pairs are (0, 1), (2, 3), ... from the start, the rows of attn_q and attn_k are exported as they are; only
checkpoints that rotate halves need the well-known permutation.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Shape:
    """The hyper-parameters, named as in GGUF where GGUF has a name."""

    vocab_size: int = 1536
    context_length: int = 512
    embedding_length: int = 256
    block_count: int = 4
    feed_forward_length: int = 768
    head_count: int = 4
    head_count_kv: int = 2
    rope_freq_base: float = 10000.0
    rms_epsilon: float = 1e-5

    @property
    def head_dim(self) -> int:
        return self.embedding_length // self.head_count

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


class RmsNorm(nn.Module):
    """x / rms(x) * weight over the last dimension."""

    def __init__(self, size: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.epsilon) * self.weight


class Block(nn.Module):
    """One layer: grouped-query attention and a gated feed-forward, each behind a norm and around a residual."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        width, kv_width = shape.embedding_length, shape.head_count_kv * shape.head_dim
        self.attn_norm = RmsNorm(width, shape.rms_epsilon)
        self.attn_q = nn.Linear(width, width, bias=False)
        self.attn_k = nn.Linear(width, kv_width, bias=False)
        self.attn_v = nn.Linear(width, kv_width, bias=False)
        self.attn_output = nn.Linear(width, width, bias=False)
        self.ffn_norm = RmsNorm(width, shape.rms_epsilon)
        self.ffn_gate = nn.Linear(width, shape.feed_forward_length, bias=False)
        self.ffn_up = nn.Linear(width, shape.feed_forward_length, bias=False)
        self.ffn_down = nn.Linear(shape.feed_forward_length, width, bias=False)

    def _attention(self, x: Tensor, rotation: Tensor, mask: Tensor) -> Tensor:
        """x is [batch, time, width]; rotation [time, 1, head_dim / 2] complex; mask [time, time], 0 or -inf."""
        batch, time, width = x.shape
        heads, kv_heads, dim = self.shape.head_count, self.shape.head_count_kv, self.shape.head_dim
        group = heads // kv_heads

        def rotate(t: Tensor, count: int) -> Tensor:
            pairs = torch.view_as_complex(t.view(batch, time, count, dim // 2, 2))
            return torch.view_as_real(pairs * rotation).flatten(3)

        q = rotate(self.attn_q(x), heads) * dim**-0.5
        k = rotate(self.attn_k(x), kv_heads)
        v = self.attn_v(x).view(batch, time, kv_heads, dim)
        # Head h reads KV head h / group: the heads of one group are stacked along time.
        q = q.view(batch, time, kv_heads, group, dim).permute(0, 2, 3, 1, 4)
        q = q.reshape(batch * kv_heads, group * time, dim)
        k = k.permute(0, 2, 3, 1).reshape(batch * kv_heads, dim, time)
        v = v.permute(0, 2, 1, 3).reshape(batch * kv_heads, time, dim)
        scores = torch.bmm(q, k).view(-1, group, time, time) + mask
        mixed = torch.bmm(scores.softmax(-1).view(-1, group * time, time), v)
        mixed = mixed.view(batch, kv_heads, group, time, dim).permute(0, 3, 1, 2, 4).reshape(batch, time, width)
        return self.attn_output(mixed)

    def forward(self, x: Tensor, rotation: Tensor, mask: Tensor) -> Tensor:
        x = x + self._attention(self.attn_norm(x), rotation, mask)
        h = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))


class Network(nn.Module):
    """Token ids [batch, time] to logits [batch, time, vocab]; the output matrix is the embedding (tied)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocab_size, shape.embedding_length)
        self.blk = nn.ModuleList(Block(shape) for _ in range(shape.block_count))
        self.output_norm = RmsNorm(shape.embedding_length, shape.rms_epsilon)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                out = name.endswith(("attn_output.weight", "ffn_down.weight"))
                nn.init.normal_(parameter, std=0.02 if "token_embd" in name else
                                parameter.shape[1] ** -0.5 * (0.5 / shape.block_count**0.5 if out else 1.0))
        time = torch.arange(shape.context_length, dtype=torch.float64)
        pair = torch.arange(0, shape.head_dim, 2, dtype=torch.float64)
        angle = time[:, None] * shape.rope_freq_base ** (-pair / shape.head_dim)
        rotation = torch.polar(torch.ones_like(angle), angle).to(torch.complex64)
        self.register_buffer("rotation", rotation[:, None, :], persistent=False)
        mask = torch.full((shape.context_length, shape.context_length), -torch.inf).triu(1)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        time = ids.shape[1]
        x = self.token_embd(ids)
        for block in self.blk:
            x = block(x, self.rotation[:time], self.mask[:time, :time])
        return F.linear(self.output_norm(x), self.token_embd.weight)
