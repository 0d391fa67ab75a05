"""The random order of an epoch: that of jax.random.permutation, in less memory."""

import jax
import numpy as np
import pytest

from mtl_jax.training import shuffle


def permuted(key: jax.Array, count: int) -> np.ndarray:
    order = np.empty(count, np.int32)
    shuffle.permute(key, order)
    return order


@pytest.mark.parametrize("count", [0, 1, 88, 1625, 1626, 10_584])
@pytest.mark.parametrize("at_once", [2**18, 1000])
def test_the_order_is_that_of_jax(
    count: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sorted once up to 1,625, twice from there; in one part and in many."""
    monkeypatch.setattr(shuffle, "AT_ONCE", at_once)
    monkeypatch.setattr(shuffle, "PART", 2 * at_once)
    for key in (jax.random.key(0), jax.random.fold_in(jax.random.key(2**31), 199)):
        np.testing.assert_array_equal(permuted(key, count), jax.random.permutation(key, count))


@pytest.mark.slow
def test_what_is_sorted_three_times_is_in_the_order_of_jax() -> None:
    """From 2.6 million on; by parts of the size they have."""
    count, key = 2_700_000, jax.random.key(5)
    np.testing.assert_array_equal(permuted(key, count), jax.random.permutation(key, count))


def test_equal_numbers_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 32 bits hardly two are equal where so few are drawn: here each is one of 16."""
    monkeypatch.setattr(shuffle, "PART", 64)
    rng = np.random.default_rng(0)
    bits = rng.choice(np.uint32([0, 1, 2**31, 2**32 - 1, *range(2**20, 2**20 + 12)]), 999)
    values, into = rng.permutation(999).astype(np.uint32), np.empty(999, np.uint32)
    shuffle._sort(bits, values, into)
    pairs = sorted(zip(bits.tolist(), range(999), values.tolist(), strict=True))
    assert into.tolist() == [value for _, _, value in pairs]


def test_keys_of_another_kind_give_an_order_too() -> None:
    order = permuted(jax.random.key(0, impl="rbg"), 3000)
    assert sorted(order.tolist()) == list(range(3000)) != order.tolist()
