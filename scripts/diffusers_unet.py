"""The core without ComfyUI: a diffusers UNet that follows a picture."""

from torch.nn.functional import scaled_dot_product_attention

from ipadapter.adapter import AdapterNetwork
from ipadapter.attention import ImageTokens, decoupled_attention, split_heads
from ipadapter.checkpoint import read_checkpoint, read_file


class Follow:
    """One cross-attention that reads the image tokens' keys and values beside the text."""

    def __init__(self, keys, values):
        self.keys, self.values = keys, values

    def __call__(self, attention, x, encoder_hidden_states, *_, **__):
        q, heads = attention.to_q(x), attention.heads
        keys, values = (split_heads(to(encoder_hidden_states), heads) for to in (attention.to_k, attention.to_v))
        text = ImageTokens(keys, values)
        image = ImageTokens(split_heads(self.keys, heads), split_heads(self.values, heads))
        return attention.to_out[0](decoupled_attention(0 * q, q, [text, image], scaled_dot_product_attention))


def follow(unet, file, embeds):
    """Let a UNet follow a picture by its embeds and an adapter's file, in the type and on the device of the UNet."""
    adapter = AdapterNetwork.from_checkpoint(read_checkpoint(read_file(file)[0], file.name)).to(unet.device, unet.dtype)
    tokens = adapter.project(embeds.to(unet.device, unet.dtype))
    layers = [name for name in unet.attn_processors if ".attn2." in name]  # in the order of checkpoints
    numbers = zip(layers, adapter.config.key_numbers, strict=True)
    unet.set_attn_processor(
        unet.attn_processors | {layer: Follow(*adapter.keys_values(tokens, number)) for layer, number in numbers}
    )
