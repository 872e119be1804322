"""Ed25519 in plain integers: slow, and written from RFC 8032 alone, to judge what the library decides.

The rule is that of `node.primitives.crypto`: S < L, A and R canonical encodings of points that are not of small order,
and S·B = R + k·A without the cofactor.
"""

from __future__ import annotations

import hashlib

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
"""Order of the base point."""
D = -121665 * pow(121666, -1, P) % P
ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)

Point = tuple[int, int]
"""Affine coordinates."""
Extended = tuple[int, int, int, int]
"""X, Y, Z and T with x = X/Z, y = Y/Z, x·y = T/Z."""
NEUTRAL: Point = (0, 1)


def add(left: Point, right: Point) -> Point:
    """The sum by the complete addition law. Source: RFC 8032, section 5.1.4, in affine form."""
    (x1, y1), (x2, y2) = left, right
    product = D * x1 * x2 * y1 * y2 % P
    x = (x1 * y2 + x2 * y1) * pow(1 + product, -1, P) % P
    y = (y1 * y2 + x1 * x2) * pow(1 - product, -1, P) % P
    return x, y


def multiply(scalar: int, point: Point) -> Point:
    """A multiple by doubling and adding, in extended coordinates. Source: RFC 8032, section 5.1.4."""
    total, power = (0, 1, 1, 0), (*point, 1, point[0] * point[1] % P)
    while scalar:
        if scalar & 1:
            total = _add_extended(total, power)
        power = _add_extended(power, power)
        scalar >>= 1
    inverse = pow(total[2], -1, P)
    return total[0] * inverse % P, total[1] * inverse % P


def encode_point(point: Point) -> bytes:
    """y, with the lowest bit of x on top."""
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def decode_point(data: bytes) -> Point | None:
    """The point that 32 bytes are the canonical encoding of. Source: RFC 8032, section 5.1.3."""
    number = int.from_bytes(data, "little")
    sign, y = number >> 255, number & (1 << 255) - 1
    if y >= P:
        return None
    x = root(y)
    if x is None or (x == 0 and sign):
        return None
    return (x if x & 1 == sign else P - x), y


def root(y: int) -> int | None:
    """An x with (x, y) on the curve."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT_OF_MINUS_ONE % P
    return None if (x * x - square) % P else x


def is_small_order(point: Point) -> bool:
    """Whether eight times the point is the neutral one."""
    return multiply(8, point) == NEUTRAL


def challenge(r: bytes, a: bytes, message: bytes) -> int:
    """k."""
    return int.from_bytes(hashlib.sha512(r + a + message).digest(), "little") % L


def is_valid(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """The verdict of the rule."""
    if len(public_key) != 32 or len(signature) != 64:
        return False
    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    point_a, point_r = decode_point(public_key), decode_point(r)
    if s >= L or point_a is None or point_r is None or is_small_order(point_a) or is_small_order(point_r):
        return False
    return multiply(s, BASE) == add(point_r, multiply(challenge(r, public_key, message), point_a))


def is_valid_with_cofactor(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """What libraries that multiply by eight say: to show on which vectors they would split the chain."""
    point_a, point_r = decode_point(public_key), decode_point(signature[:32])
    if point_a is None or point_r is None:
        return False
    k = challenge(signature[:32], public_key, message)
    left = multiply(8 * int.from_bytes(signature[32:], "little"), BASE)
    return left == multiply(8, add(point_r, multiply(k, point_a)))


def torsion_point() -> Point:
    """A point of order 8."""
    y = 2
    while True:
        x = root(y)
        if x is not None:
            point = multiply(L, (x, y))
            if multiply(4, point) != NEUTRAL:
                return point
        y += 1


def _add_extended(left: Extended, right: Extended) -> Extended:
    (x1, y1, z1, t1), (x2, y2, z2, t2) = left, right
    a, b = (y1 - x1) * (y2 - x2) % P, (y1 + x1) * (y2 + x2) % P
    c, d = 2 * t1 * t2 * D % P, 2 * z1 * z2 % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


_BASE_Y = 4 * pow(5, -1, P) % P
_BASE_X = root(_BASE_Y)
assert _BASE_X is not None, "the base point is on the curve"
BASE: Point = (_BASE_X if _BASE_X % 2 == 0 else P - _BASE_X, _BASE_Y)
"""B."""
