"""The optimiser: Muon for the matrices of the blocks, Adam for the embedding and the norms.

Muon (Keller Jordan, 2024) replaces each matrix's momentum by the nearest matrix with equal singular values, found with
five Newton-Schulz steps. It learns from far fewer steps than Adam alone
would need, which on one CPU core is worth the extra arithmetic.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Coefficients of the quintic iteration from the Muon write-up: fast rather than exact, singular values end in 0.7..1.2.
_QUINTIC = (3.4445, -4.7750, 2.0315)


def orthogonalise(matrix: Tensor, steps: int = 5) -> Tensor:
    """A matrix with the same singular vectors and singular values near 1."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.t()
    x = wide / (wide.norm() + 1e-7)
    a, b, c = _QUINTIC
    for _ in range(steps):
        gram = x @ x.t()
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if wide is matrix else x.t()


class MuonAdam:
    """Steps both groups; `scale` multiplies their learning rates, as the schedule asks."""

    def __init__(self, network: nn.Module, matrix_rate: float, adam_rate: float, momentum: float = 0.95) -> None:
        named = dict(network.named_parameters())
        self.matrices = [p for n, p in named.items() if p.dim() == 2 and "token_embd" not in n]
        self.velocity = [torch.zeros_like(p) for p in self.matrices]
        self.matrix_rate, self.momentum = matrix_rate, momentum
        self.adam_rate = adam_rate
        self.adam = torch.optim.Adam(
            [p for n, p in named.items() if p.dim() != 2 or "token_embd" in n], lr=adam_rate, betas=(0.9, 0.95))

    @torch.no_grad()
    def step(self, scale: float) -> None:
        for group in self.adam.param_groups:
            group["lr"] = self.adam_rate * scale
        self.adam.step()
        for parameter, velocity in zip(self.matrices, self.velocity):
            gradient = parameter.grad
            velocity.lerp_(gradient, 1 - self.momentum)
            update = orthogonalise(gradient.lerp(velocity, self.momentum))
            rows, columns = parameter.shape
            parameter.add_(update, alpha=-self.matrix_rate * scale * max(1.0, rows / columns) ** 0.5)

    def zero_grad(self) -> None:
        self.adam.zero_grad(set_to_none=True)
        for parameter in self.matrices:
            parameter.grad = None
