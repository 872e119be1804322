import hashlib

import numpy as np
import pytest

from attribution.projections import sign_rows, signs, signs_reference, stream_signs


@pytest.mark.parametrize(("rows", "columns"), [(0, 3), (3, 0), (1, 1), (5, 255), (4, 256), (3, 700)])
def test_signs_equal_plain_integers(rows: int, columns: int) -> None:
    matrix = signs(b"tag", rows, columns)
    assert (matrix.dtype, matrix.shape) == (np.int8, (rows, columns))
    assert matrix.tolist() == signs_reference(b"tag", rows, columns)


def test_the_first_bits_are_those_of_the_first_block() -> None:
    first = hashlib.sha256(b"tag" + bytes(8)).digest()[0]
    assert signs(b"tag", 1, 8).tolist() == [[1 - 2 * (first >> (7 - i) & 1) for i in range(8)]]


def test_a_row_depends_on_neither_the_number_of_rows_nor_of_columns() -> None:
    whole = signs(b"tag", 20, 300)
    assert np.array_equal(sign_rows(b"tag", 7, 5, 300), whole[7:12])
    assert np.array_equal(signs(b"tag", 20, 10), whole[:, :10])
    assert np.array_equal(np.vstack(list(stream_signs(b"tag", 20, 300, 6))), whole)


def test_what_is_kept_cannot_be_written_and_another_tag_is_another_matrix() -> None:
    matrix = signs(b"tag", 20, 300)
    assert signs(b"tag", 20, 300) is matrix
    with pytest.raises(ValueError, match="read-only"):
        matrix[0, 0] = 1
    assert not np.array_equal(signs(b"tags", 20, 300), matrix)


def test_the_signs_are_as_good_as_fair() -> None:
    matrix = signs(b"fair", 256, 1024).astype(int)
    assert abs(matrix.sum()) < 5 * 512  # five standard deviations
    assert np.abs(matrix @ matrix.T - 1024 * np.eye(256, dtype=int)).max() < 6 * 32
