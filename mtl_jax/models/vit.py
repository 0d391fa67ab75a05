"""Vision transformer ViT-S/16 (Dosovitskiy et al. 2021, arXiv:2010.11929) with layers F1 to F5.

C1 is the patch embedding with class token and positions; C2 to C5 are three blocks each, C5 with
the final normalization. Blocks scale their branches (LayerScale, Touvron et al. 2021,
arXiv:2103.17239), as in DINOv2; weights without these factors have factors of 1.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from mtl_jax.models.backbone import Backbone, KeyMap, layer_keys
from mtl_jax.models.base import Convolution, Network

SIZE, PATCH = 224, 16  # pixels of the image and of a patch
WIDTH, HEADS, HIDDEN = 384, 6, 1536
BLOCKS = {"C2": 3, "C3": 3, "C4": 3, "C5": 3}
EPSILON = 1e-6  # of the normalizations
INITIAL_SCALE = 0.1  # of the branches at random initialization (CaiT, up to depth 18)

_dense_init = nn.initializers.truncated_normal(0.02)


class Norm(nn.Module):
    """Layer normalization over the last axis (Ba et al. 2016), computed in float32."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        norm = nn.LayerNorm(EPSILON, use_fast_variance=False, dtype=jnp.float32, name="norm")
        return norm(x).astype(x.dtype)


class Embedding(nn.Module):
    """Patches as tokens (n, 1 + patches, width), a class token first, plus positions."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = Convolution(WIDTH, PATCH, stride=PATCH, gray=True, scale=1.0, name="patches")(x)
        x = x.reshape(x.shape[0], -1, WIDTH)
        normal = nn.initializers.normal(0.02)
        token = self.param("class_token", normal, (1, 1, WIDTH))
        positions = self.param("positions", normal, (1, 1 + (SIZE // PATCH) ** 2, WIDTH))
        token = jnp.broadcast_to(token, (x.shape[0], 1, WIDTH))
        return jnp.concatenate([token, x], axis=1) + positions


class Attention(nn.Module):
    """Multi-head self-attention; the softmax is computed in float32."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        qkv = nn.Dense(3 * WIDTH, kernel_init=_dense_init, name="qkv")(x)
        heads = qkv.reshape(*x.shape[:2], 3, HEADS, WIDTH // HEADS)
        query, key, value = (heads[:, :, k] for k in range(3))
        logits = jnp.einsum("nqhc,nkhc->nhqk", query, key) / (WIDTH // HEADS) ** 0.5
        weights = jax.nn.softmax(logits.astype(jnp.float32)).astype(x.dtype)
        mean = jnp.einsum("nhqk,nkhc->nqhc", weights, value).reshape(x.shape)
        return nn.Dense(WIDTH, kernel_init=_dense_init, name="proj")(mean)


class Block(nn.Module):
    """Attention and two dense layers with GELU, each normalized first, scaled and added."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        constant = nn.initializers.constant(INITIAL_SCALE)
        y = Attention(name="attention")(Norm(name="norm1")(x))
        x = x + y * self.param("scale1", constant, (WIDTH,))
        y = nn.Dense(HIDDEN, kernel_init=_dense_init, name="fc1")(Norm(name="norm2")(x))
        y = nn.Dense(WIDTH, kernel_init=_dense_init, name="fc2")(nn.gelu(y, approximate=False))
        return x + y * self.param("scale2", constant, (WIDTH,))


class Stage(nn.Module):
    """Blocks block1, block2 ..., and the final normalization if this is the last stage."""

    count: int
    is_last: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for k in range(1, self.count + 1):
            x = Block(name=f"block{k}")(x)
        return Norm(name="final")(x) if self.is_last else x


class ViTS16(Network):
    """ViT-S/16 on ROIs resampled to 224x224: C1 to C5 return 197 tokens of 384 values.

    The input of F1 is the class token.
    """

    input_size = SIZE

    def stage(self, name: str) -> nn.Module:
        if name == "C1":
            return Embedding(name=name)
        return Stage(BLOCKS[name], name == "C5", name=name)

    def flatten(self, x: jax.Array) -> jax.Array:
        return x[:, 0]


def _block_keys(path: str, source: str) -> dict[str, str]:
    """Return the names in DINOv2 and timm of the arrays of the block at `path`."""
    dense = {"attention/qkv": "attn.qkv", "attention/proj": "attn.proj"}
    dense |= {"fc1": "mlp.fc1", "fc2": "mlp.fc2"}
    keys = layer_keys({f"{path}/{name}": f"{source}.{word}" for name, word in dense.items()})
    for k in (1, 2):
        keys[f"{path}/norm{k}/norm/scale"] = f"{source}.norm{k}.weight"
        keys[f"{path}/norm{k}/norm/bias"] = f"{source}.norm{k}.bias"
        keys[f"{path}/scale{k}"] = f"{source}.ls{k}.gamma"
    return keys


def _keys() -> dict[str, str]:
    keys = layer_keys({"C1/patches": "patch_embed.proj"})
    embedding = zip(("class_token", "positions"), ("cls_token", "pos_embed"), strict=True)
    keys |= {f"C1/{leaf}": word for leaf, word in embedding}
    paths = [f"{stage}/block{k + 1}" for stage, count in BLOCKS.items() for k in range(count)]
    for number, path in enumerate(paths):
        keys |= _block_keys(path, f"blocks.{number}")
    return keys | {"C5/final/norm/scale": "norm.weight", "C5/final/norm/bias": "norm.bias"}


BACKBONE = Backbone(
    network=ViTS16,
    title="ViT-S/16",
    citation="Dosovitskiy et al. 2021, arXiv:2010.11929",
    source="timm's vit_small_patch16_224",
    key_maps=(
        KeyMap(
            "timm and DINOv2",
            _keys(),
            dropped=("head", "mask_token"),
            defaults={path: 1.0 for path in _keys() if path.endswith(("scale1", "scale2"))},
        ),
    ),
    summary="the vision transformer ViT-S/16 (Dosovitskiy et al. 2021), whose patch embedding and "
    "four groups of three blocks are treated as five layers, and five fully connected layers as in "
    "the paper's AlexNet on its class token",
    layers="ViT-S/16 with the patch embedding (C1), four groups of three transformer blocks (C2 to "
    "C5) of 197 tokens, and five fully connected layers (F) on the class token",
    no_maps="There are no deconvolution maps: they are defined for a chain of convolutions, and "
    "ViT-S/16 is a transformer.",
)
