"""An autoencoder of frames, masked (He et al. 2022) or not, made of `transformers` modules."""

from __future__ import annotations

import transformers
from torch import Tensor

from harness.contracts.data import Batch
from harness.contracts.method import Trainable
from harness.nn import encoders
from harness.nn.frozen import FrozenConfig


class Autoencoder(encoders.Encoder, Trainable):
    """Reconstructs the hidden patches of a picture from the visible ones.

    The target of a patch is normalised by its own mean and std, as in the paper's best setting.
    With mask_ratio=0 nothing is hidden: the whole picture is reconstructed from the tokens of all
    patches, and its pixels are the target as they are.
    """

    def __init__(self, config: FrozenConfig, image_size: int):
        super().__init__()
        if misfit := config.misfit(image_size):
            raise ValueError(misfit)
        self.width = config.encoder_width
        self.tokens = (image_size // config.encoder_patch) ** 2
        self.masked = config.mae.mask_ratio > 0
        self.network = transformers.ViTMAEForPreTraining(
            transformers.ViTMAEConfig(
                hidden_size=config.encoder_width,
                num_hidden_layers=config.encoder_depth,
                num_attention_heads=config.encoder_heads,
                intermediate_size=4 * config.encoder_width,
                image_size=image_size,
                patch_size=config.encoder_patch,
                mask_ratio=config.mae.mask_ratio,
                norm_pix_loss=True,
                decoder_hidden_size=config.mae.decoder_width,
                decoder_num_hidden_layers=config.mae.decoder_depth,
                decoder_num_attention_heads=config.mae.decoder_heads,
                decoder_intermediate_size=4 * config.mae.decoder_width,
            )
        )

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Squared error of reconstructing every frame of batch.obs."""
        assert batch.obs.pixels is not None
        return {"loss": self(batch.obs.pixels.flatten(0, 1))}

    def features(self, x: Tensor) -> Tensor:
        """The error of reconstructing normalised pictures, a scalar."""
        output = self.network(x)
        if self.masked:
            return output.loss
        return (output.logits - self.network.patchify(x)).pow(2).mean()

    def save(self, folder: str) -> None:
        """Write the encoder alone, as config.json and model.safetensors."""
        transformers.logging.disable_progress_bar()
        self.network.vit.save_pretrained(folder)
