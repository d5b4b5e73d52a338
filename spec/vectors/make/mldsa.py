"""ML-DSA-65 (FIPS 204, whose algorithms are cited), deterministic, with the empty context. For vectors only."""

from __future__ import annotations

import hashlib
from functools import cache

Q, N, D = 8380417, 256, 13
K, L, ETA, TAU, BETA, OMEGA = 6, 5, 4, 49, 196, 55
GAMMA_1, GAMMA_2 = 1 << 19, (Q - 1) // 32
LAMBDA_BYTES = 48
Poly = list[int]

_ZETAS = [pow(1753, int(f"{i:08b}"[::-1], 2), Q) for i in range(N)]


def _xof(data: bytes, size: int) -> bytes:
    return hashlib.shake_256(data).digest(size)


def _ntt(poly: Poly) -> Poly:
    """Algorithm 41."""
    w, m, size = list(poly), 0, 128
    while size:
        for start in range(0, N, 2 * size):
            m += 1
            for j in range(start, start + size):
                t = _ZETAS[m] * w[j + size] % Q
                w[j + size], w[j] = (w[j] - t) % Q, (w[j] + t) % Q
        size //= 2
    return w


def _back(poly: Poly) -> Poly:
    """Algorithm 42."""
    w, m, size = list(poly), N, 1
    while size < N:
        for start in range(0, N, 2 * size):
            m -= 1
            for j in range(start, start + size):
                t = w[j]
                w[j] = (t + w[j + size]) % Q
                w[j + size] = -_ZETAS[m] * (t - w[j + size]) % Q
        size *= 2
    return [8347681 * value % Q for value in w]


def _times(a: Poly, b: Poly) -> Poly:
    return [x * y % Q for x, y in zip(a, b, strict=True)]


def _plus(a: Poly, b: Poly) -> Poly:
    return [(x + y) % Q for x, y in zip(a, b, strict=True)]


def _minus(a: Poly, b: Poly) -> Poly:
    return [(x - y) % Q for x, y in zip(a, b, strict=True)]


def _sum_of(row: list[Poly], vector: list[Poly]) -> Poly:
    made = [0] * N
    for a, b in zip(row, vector, strict=True):
        made = _plus(made, _times(a, b))
    return made


def _uniform(seed: bytes) -> Poly:
    """Algorithm 30."""
    stream, made, at = hashlib.shake_128(seed).digest(2048), [], 0
    while len(made) < N:
        value = int.from_bytes(stream[at : at + 3], "little") & 0x7FFFFF
        made += [value] if value < Q else []
        at += 3
    return made


def _bounded(seed: bytes) -> Poly:
    """Algorithm 31, for an eta of 4."""
    halves = [half for byte in _xof(seed, 1024) for half in (byte & 15, byte >> 4) if half < 9]
    return [ETA - half for half in halves[:N]]


@cache
def _matrix(rho: bytes) -> list[list[Poly]]:
    """Algorithm 32."""
    return [[_uniform(rho + bytes([s, r])) for s in range(L)] for r in range(K)]


def _mask(seed: bytes, kappa: int) -> list[Poly]:
    """Algorithm 34."""
    made = []
    for r in range(L):
        data = _xof(seed + (kappa + r).to_bytes(2, "little"), 640)
        made.append([GAMMA_1 - value for value in _unpack(data, 20)])
    return made


def _ball(seed: bytes) -> Poly:
    """Algorithm 29."""
    stream, made, at = _xof(seed, 2048), [0] * N, 8
    signs = int.from_bytes(stream[:8], "little")
    for i in range(N - TAU, N):
        while stream[at] > i:
            at += 1
        made[i] = made[stream[at]]
        made[stream[at]] = 1 - 2 * (signs >> (i + TAU - N) & 1)
        at += 1
    return made


def _centred(value: int, modulus: int) -> int:
    """Return the residue from -modulus / 2 on, that end left out."""
    rest = value % modulus
    return rest - modulus if rest > modulus // 2 else rest


def _decompose(value: int) -> tuple[int, int]:
    """Algorithm 36."""
    value %= Q
    low = _centred(value, 2 * GAMMA_2)
    return (0, low - 1) if value - low == Q - 1 else ((value - low) // (2 * GAMMA_2), low)


def _high(poly: Poly) -> Poly:
    return [_decompose(value)[0] for value in poly]


def _norm(vector: list[Poly]) -> int:
    return max(abs(_centred(value, Q)) for poly in vector for value in poly)


def _pack(values: Poly, bits: int) -> bytes:
    """Algorithm 16."""
    return sum(value << (bits * i) for i, value in enumerate(values)).to_bytes(len(values) * bits // 8, "little")


def _unpack(data: bytes, bits: int) -> Poly:
    """Algorithm 18."""
    whole = int.from_bytes(data, "little")
    return [whole >> (bits * i) & (1 << bits) - 1 for i in range(8 * len(data) // bits)]


@cache
def _keys(seed: bytes) -> tuple[bytes, bytes, bytes, bytes, list[Poly], list[Poly], list[Poly]]:
    """Algorithm 6: rho, K, tr, the public key, s1, s2 and t0."""
    drawn = _xof(seed + bytes([K, L]), 128)
    rho, secret, key = drawn[:32], drawn[32:96], drawn[96:]
    s = [_bounded(secret + i.to_bytes(2, "little")) for i in range(L + K)]
    s1, s2 = s[:L], s[L:]
    hat = [_ntt(poly) for poly in s1]
    t = [_plus(_back(_sum_of(row, hat)), own) for row, own in zip(_matrix(rho), s2, strict=True)]
    t0 = [[_centred(value, 1 << D) for value in poly] for poly in t]
    t1 = [[(value - low) >> D for value, low in zip(poly, lows, strict=True)] for poly, lows in zip(t, t0, strict=True)]
    public = rho + b"".join(_pack(poly, 10) for poly in t1)
    return rho, key, _xof(public, 64), public, s1, s2, t0


def public_key(seed: bytes) -> bytes:
    """Return the public key of a seed of 32 bytes, 1952 bytes."""
    return _keys(seed)[3]


def sign(seed: bytes, message: bytes) -> bytes:
    """Return the signature, 3309 bytes. Algorithms 2 and 7, without randomness."""
    rho, key, tr, _, s1, s2, t0 = _keys(seed)
    mu = _xof(tr + b"\0\0" + message, 64)
    private = _xof(key + bytes(32) + mu, 64)
    s1_hat, s2_hat, t0_hat = ([_ntt(poly) for poly in vector] for vector in (s1, s2, t0))
    kappa = 0
    while True:
        y = _mask(private, kappa)
        kappa += L
        y_hat = [_ntt(poly) for poly in y]
        w = [_back(_sum_of(row, y_hat)) for row in _matrix(rho)]
        commitment = _xof(mu + b"".join(_pack(_high(poly), 4) for poly in w), LAMBDA_BYTES)
        c = _ntt(_ball(commitment))
        z = [_plus(own, _back(_times(c, poly))) for own, poly in zip(y, s1_hat, strict=True)]
        less = [_minus(own, _back(_times(c, poly))) for own, poly in zip(w, s2_hat, strict=True)]
        low = max(abs(_decompose(value)[1]) for poly in less for value in poly)
        if _norm(z) >= GAMMA_1 - BETA or low >= GAMMA_2 - BETA:
            continue
        ct0 = [_back(_times(c, poly)) for poly in t0_hat]
        hints = [
            [int(_decompose(value)[0] != _decompose(value + more)[0]) for value, more in zip(own, extra, strict=True)]
            for own, extra in zip(less, ct0, strict=True)
        ]
        if _norm(ct0) >= GAMMA_2 or sum(map(sum, hints)) > OMEGA:
            continue
        packed = b"".join(_pack([GAMMA_1 - _centred(value, Q) for value in poly], 20) for poly in z)
        return commitment + packed + _hint_bytes(hints)


def _hint_bytes(hints: list[Poly]) -> bytes:
    """Algorithm 20."""
    made, count = bytearray(OMEGA + K), 0
    for i, poly in enumerate(hints):
        for j, bit in enumerate(poly):
            if bit:
                made[count] = j
                count += 1
        made[OMEGA + i] = count
    return bytes(made)


def check() -> None:
    """Compare the public key of a seed with that of OpenSSL 3.5; the tests hold the signatures against it."""
    made = hashlib.sha256(public_key(bytes(range(32)))).hexdigest()
    assert made == "d666806e11cee19a7c989f7445f90dd419cf4d2d51db8c0fdb4c0f0a542238c9"
