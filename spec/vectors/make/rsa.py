"""RSA with keys made from text: PSS with a salt made from the message, and PKCS #1 v1.5. Slow, and for vectors only."""

from __future__ import annotations

import hashlib
from functools import cache
from math import gcd

EXPONENT = 65537
_SMALL = [n for n in range(3, 2000, 2) if all(n % d for d in range(3, int(n**0.5) + 1, 2))]
# SHA-256 in a DigestInfo. RFC 8017 §9.2.
_SHA256_INFO = bytes.fromhex("3031300d060960864801650304020105000420")


@cache
def key(seed: str, bits: int) -> tuple[int, int]:
    """Return modulus and private exponent: of two primes, each the first above a number that the seed gives."""
    p, q = (_prime(f"{seed} {part}", bits // 2) for part in "pq")
    assert (p * q).bit_length() == bits
    return p * q, pow(EXPONENT, -1, (p - 1) * (q - 1))


def _prime(seed: str, bits: int) -> int:
    """Return the first prime above the number of `bits` bits, its two highest set, that SHA-512 gives of the seed."""
    drawn = b"".join(hashlib.sha512(f"{seed} {block}".encode()).digest() for block in range(bits // 512 + 1))
    value = int.from_bytes(drawn[: bits // 8], "big") | 3 << (bits - 2) | 1
    while any(value % small == 0 for small in _SMALL) or gcd(value - 1, EXPONENT) != 1 or not _is_prime(value):
        value += 2
    return value


def _is_prime(value: int) -> bool:
    """Return whether Miller and Rabin find nothing against it, for eight bases; nobody chose it to deceive them."""
    odd, twos = value - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in (2, 3, 5, 7, 11, 13, 17, 19):
        power = pow(base, odd, value)
        if power in (1, value - 1):
            continue
        for _ in range(twos - 1):
            power = power * power % value
            if power == value - 1:
                break
        else:
            return False
    return True


def sign_pss(
    seed: str, bits: int, message: bytes, *, hash_name: str = "sha256", salt_bytes: int | None = None
) -> bytes:
    """Return the signature of RFC 8017 §8.1; the salt is as long as the hash unless another length is given."""
    size = hashlib.new(hash_name).digest_size
    salt_bytes = size if salt_bytes is None else salt_bytes
    digest = hashlib.new(hash_name, message).digest()
    salt = (digest * (salt_bytes // size + 1))[:salt_bytes]
    encoded_bits = bits - 1
    length = (encoded_bits + 7) // 8
    hashed = hashlib.new(hash_name, bytes(8) + digest + salt).digest()
    data = bytes(length - salt_bytes - size - 2) + b"\x01" + salt
    mask = _mask(hashed, len(data), hash_name)
    masked = bytearray(one ^ other for one, other in zip(data, mask, strict=True))
    masked[0] &= 0xFF >> (8 * length - encoded_bits)
    return _apply(seed, bits, bytes(masked) + hashed + b"\xbc")


def sign_pkcs1(seed: str, bits: int, message: bytes) -> bytes:
    """Return the signature of RFC 8017 §8.2 with SHA-256."""
    info = _SHA256_INFO + hashlib.sha256(message).digest()
    return _apply(seed, bits, b"\0\1" + b"\xff" * (bits // 8 - 3 - len(info)) + b"\0" + info)


def _mask(seed: bytes, size: int, hash_name: str) -> bytes:
    """Return the mask of RFC 8017 B.2.1."""
    blocks = range(size // hashlib.new(hash_name).digest_size + 1)
    return b"".join(hashlib.new(hash_name, seed + block.to_bytes(4, "big")).digest() for block in blocks)[:size]


def _apply(seed: str, bits: int, encoded: bytes) -> bytes:
    modulus, secret = key(seed, bits)
    return pow(int.from_bytes(encoded, "big"), secret, modulus).to_bytes(bits // 8, "big")
