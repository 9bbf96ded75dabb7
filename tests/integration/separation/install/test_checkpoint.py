"""A TensorFlow checkpoint is read without TensorFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from orchestrator.separation.install.checkpoint import BundleError, read_bundle

if TYPE_CHECKING:
    from tests.integration.separation.conftest import Checkpoints

NARROW = (2, 1, 2, 1, 2, 1, 2)


def test_all_tensors_are_read_by_name(checkpoints: Checkpoints) -> None:
    """All float tensors are read, from blocks with shared key prefixes; counters are not."""
    weights = checkpoints.random(NARROW)
    read = read_bundle(*checkpoints.write(weights))
    assert len(read) == 148
    assert read.keys() == weights.keys()
    for name, tensor in weights.items():
        np.testing.assert_array_equal(read[name], tensor)


def test_a_scalar_and_an_empty_tensor_keep_their_shape(checkpoints: Checkpoints) -> None:
    """A shape may have no dimension, or a dimension of zero."""
    read = read_bundle(
        *checkpoints.write({"a": np.array(2.5, np.float32), "b": np.zeros((0, 3), np.float32)})
    )
    assert read["a"].shape == ()
    assert read["b"].shape == (0, 3)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda index, data: (index[:-1], data), "not a LevelDB table"),
        (lambda _, data: (b"", data), "not a LevelDB table"),
        (lambda index, data: (index, data[:-4]), "outside its data"),
        (lambda index, data: (index[400:], data), "damaged|compressed|outside|size of its shape"),
    ],
)
def test_a_damaged_checkpoint_is_refused(
    checkpoints: Checkpoints, damage: object, words: str
) -> None:
    """A bundle that contradicts itself raises an error."""
    assert callable(damage)
    with pytest.raises(BundleError, match=words):
        read_bundle(*damage(*checkpoints.write(checkpoints.random(NARROW))))


def test_a_compressed_index_is_refused(checkpoints: Checkpoints) -> None:
    """Snappy blocks raise an error instead of being read as plain ones."""
    index, data = checkpoints.write({"a": np.zeros(1, np.float32)}, per_block=100)
    footer = index[-48:]
    start = footer[2]  # the index block's offset, a small number here
    with pytest.raises(BundleError, match="compressed"):
        read_bundle(index[: start - 5] + b"\x01" + index[start - 4 :], data)
