"""Small networks at the inputs and outputs of a predictor."""

from __future__ import annotations

from torch import Tensor, nn


class Projector(nn.Sequential):
    """Linear, BatchNorm, GELU, Linear over the last dimension of (B, T, D).

    The BatchNorm undoes the LayerNorm at the end of a ViT, which would work against SIGReg (LeWM
    section 3).
    """

    def __init__(self, width_in: int, hidden: int, width_out: int):
        super().__init__(
            nn.Linear(width_in, hidden),
            nn.BatchNorm1d(hidden),
            nn.GELU(),
            nn.Linear(hidden, width_out),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, width_in) -> (B, T, width_out)."""
        shape, x = x.shape[:2], x.flatten(0, 1)
        for layer in self:
            x = layer(x)
        return x.unflatten(0, shape)


class ActionEmbedder(nn.Module):
    """Embeds blocks of z-scored actions (B, T, A) as the predictor's conditions (B, T, D)."""

    def __init__(self, action_dim: int, latent: int, smoothed: int = 10):
        super().__init__()
        self.smooth = nn.Conv1d(action_dim, smoothed, kernel_size=1)
        self.embed = nn.Sequential(
            nn.Linear(smoothed, 4 * latent), nn.SiLU(), nn.Linear(4 * latent, latent)
        )

    def forward(self, actions: Tensor) -> Tensor:
        """Blocks (B, T, A) to conditions (B, T, D)."""
        smooth = nn.functional.linear(actions, self.smooth.weight[:, :, 0], self.smooth.bias)
        return self.embed(smooth)
