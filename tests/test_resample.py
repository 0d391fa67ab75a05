"""Resampling of ROIs to the input size of a backbone, compared with Pillow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from mtl_jax.models.resample import resample


@pytest.mark.parametrize("size", [224, 129, 64, 40])
def test_resampled_images_equal_those_of_pillow(size: int) -> None:
    """Pillow's bicubic kernel has a = -0.5 too, and is widened where images become smaller."""
    images = np.random.default_rng(0).standard_normal((2, 128, 128, 1)).astype(np.float32)
    ours = resample(jnp.asarray(images), size)
    assert ours.shape == (2, size, size, 1)
    for image, resampled in zip(images, ours, strict=True):
        theirs = Image.fromarray(image[..., 0]).resize((size, size), Image.Resampling.BICUBIC)
        np.testing.assert_allclose(resampled[..., 0], theirs, atol=1e-4)


def test_a_constant_image_stays_constant_and_each_channel_is_resampled_alone() -> None:
    image = jnp.stack([jnp.full((128, 128), value) for value in (1.0, -2.0, 0.5)], -1)[None]
    np.testing.assert_allclose(resample(image, 224)[0, 100, 3], (1.0, -2.0, 0.5), atol=1e-6)
    assert resample(image, 128) is image


def test_half_precision_images_stay_half_precision() -> None:
    image = jax.random.normal(jax.random.key(0), (1, 128, 128, 1))
    half = resample(image.astype(jnp.bfloat16), 224)
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), resample(image, 224), atol=0.05)
