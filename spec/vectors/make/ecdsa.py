"""ECDSA on P-256 and P-384 with the deterministic nonces of RFC 6979: slow, plain, and for vectors only."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

Point = tuple[int, int, int]  # Jacobian: x = X / Z^2, y = Y / Z^3; Z = 0 is the point at infinity
INFINITY: Point = (1, 1, 0)


@dataclass(frozen=True, slots=True)
class Curve:
    """A NIST curve y^2 = x^3 - 3x + b, and the hash that goes with it."""

    name: str
    p: int
    order: int
    base: tuple[int, int]
    size_bytes: int
    hash_name: str


P256 = Curve(
    "p256",
    2**256 - 2**224 + 2**192 + 2**96 - 1,
    0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    (
        0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
        0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
    ),
    32,
    "sha256",
)
P384 = Curve(
    "p384",
    2**384 - 2**128 - 2**96 + 2**32 - 1,
    0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
    (
        0xAA87CA22BE8B05378EB1C71EF320AD746E1D3B628BA79B9859F741E082542A385502F25DBF55296C3A545E3872760AB7,
        0x3617DE4A96262C6F5D9E98BF9292DC29F8F41DBD289A147CE9DA3113B5F0B8C00A60B1CE1D7E819D7A431D7C90EA0E5F,
    ),
    48,
    "sha384",
)


def _double(curve: Curve, a: Point) -> Point:
    x, y, z = a
    p = curve.p
    slope = 3 * (x - z * z) * (x + z * z) % p
    s = 4 * x * y * y % p
    out = (slope * slope - 2 * s) % p
    return out, (slope * (s - out) - 8 * y**4) % p, 2 * y * z % p


def _add(curve: Curve, a: Point, b: Point) -> Point:
    if a[2] == 0:
        return b
    if b[2] == 0:
        return a
    p = curve.p
    u, v = a[0] * b[2] ** 2 % p, b[0] * a[2] ** 2 % p
    s, t = a[1] * b[2] ** 3 % p, b[1] * a[2] ** 3 % p
    if u == v:
        return _double(curve, a) if s == t else INFINITY
    h, r = v - u, t - s
    x = (r * r - h**3 - 2 * u * h * h) % p
    return x, (r * (u * h * h - x) - s * h**3) % p, h * a[2] * b[2] % p


def times_base(curve: Curve, scalar: int) -> tuple[int, int]:
    """Return the affine coordinates of the base point, taken `scalar` times; `scalar` is from 1 to order - 1."""
    made, point = INFINITY, (*curve.base, 1)
    while scalar:
        if scalar & 1:
            made = _add(curve, made, point)
        point = _double(curve, point)
        scalar >>= 1
    inverse = pow(made[2], -1, curve.p)
    return made[0] * inverse**2 % curve.p, made[1] * inverse**3 % curve.p


def public_point(curve: Curve, secret: int) -> bytes:
    """Return the public point, uncompressed."""
    x, y = times_base(curve, secret)
    return b"\x04" + x.to_bytes(curve.size_bytes, "big") + y.to_bytes(curve.size_bytes, "big")


def sign(curve: Curve, secret: int, message: bytes, hash_name: str | None = None) -> tuple[int, int]:
    """Return r and s over `message`, with the curve's own hash unless another is named."""
    name = hash_name or curve.hash_name
    hashed = _reduced(curve, hashlib.new(name, message).digest())
    nonce = _nonce(curve, secret, hashed, name)
    r = times_base(curve, nonce)[0] % curve.order
    s = pow(nonce, -1, curve.order) * (hashed + r * secret) % curve.order
    assert r != 0
    assert s != 0
    return r, s


def _reduced(curve: Curve, digest: bytes) -> int:
    value = int.from_bytes(digest, "big") >> max(8 * len(digest) - curve.order.bit_length(), 0)
    return value % curve.order


def _nonce(curve: Curve, secret: int, hashed: int, hash_name: str) -> int:
    """Return the nonce of RFC 6979 §3.2."""
    seed = secret.to_bytes(curve.size_bytes, "big") + hashed.to_bytes(curve.size_bytes, "big")
    size = hashlib.new(hash_name).digest_size
    key, value = bytes(size), b"\x01" * size
    for separator in (b"\x00", b"\x01"):
        key = hmac.digest(key, value + separator + seed, hash_name)
        value = hmac.digest(key, value, hash_name)
    while True:
        drawn = b""
        while len(drawn) < curve.size_bytes:
            value = hmac.digest(key, value, hash_name)
            drawn += value
        nonce = int.from_bytes(drawn[: curve.size_bytes], "big")
        if 1 <= nonce < curve.order:
            return nonce
        key = hmac.digest(key, value + b"\x00", hash_name)
        value = hmac.digest(key, value, hash_name)


def check() -> None:
    """Compare with RFC 6979 A.2.5 and A.2.6, message `sample`, each with the curve's own hash."""
    secret = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721
    assert public_point(P256, secret).hex()[2:66] == "60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"
    r, s = sign(P256, secret, b"sample")
    assert f"{r:064X}" == "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716"
    assert f"{s:064X}" == "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8"
    secret = int("6B9D3DAD2E1B8C1C05B19875B6659F4DE23C3B667BF297BA9AA47740787137D896D5724E4C70A825F872C9EA60D2EDF5", 16)
    r, s = sign(P384, secret, b"sample")
    assert f"{r:096X}" == (
        "94EDBB92A5ECB8AAD4736E56C691916B3F88140666CE9FA73D64C4EA95AD133C81A648152E44ACF96E36DD1E80FABE46"
    )
    assert f"{s:096X}" == (
        "99EF4AEB15F178CEA1FE40DB2603138F130E740A19624526203B6351D0A3A94FA329C145786E679E7B82C71A38628AC8"
    )
