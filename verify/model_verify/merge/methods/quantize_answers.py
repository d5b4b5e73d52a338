"""Known answers of the block formats. Those of `ggml/nofma` are what ggml's own code gives. Spec: forms §4."""

from __future__ import annotations

from model_verify.merge.kernel import Call
from model_verify.merge.known_answers import MethodAnswer

_FIRST = bytes.fromhex(
    "e2bf87bf24bf843fac3d09bf46bf7abe983fa43f5fbfc1be083e943e89bf143f"
    "4f3f643ff03f7d3f20beb6bf7fbd29bf8d3fb5bda0bf01bfbf3f2abf413e873f"
)
_SECOND = bytes.fromhex(
    "513e5bbc0bbf7dbfb03f7e3daf3e1e3ff8be95bf21be6cbe26bf19bfc0bf453f"
    "9abf73bf8abf1dbd6cbf2e3c8fbf8f3ed83cfbbe29bf55bf42bf8dbf44bfac3c"
)
"""Two blocks of BF16 in each of which one code of Q4_0, of Q5_0, hangs on whether a multiply-add is fused."""
_TINY = bytes.fromhex("80034000") + bytes(60)
"""2^-120 and 2^-127: Q8_0 has a subnormal scale for it, and a subnormal element."""
_ROWS = 5


def _answer(name: str, dtype: str, block: bytes, expected: str, profile: str = "ggml/nofma") -> MethodAnswer:
    call = Call(profile, "quantize", dtype)
    shape = (_ROWS, len(block) // 2)
    return MethodAnswer(name, call, shape, (("BF16", block * _ROWS),), bytes.fromhex(expected) * _ROWS)


ANSWERS = (
    _answer("Q4_0", "GGML_Q4_0", _FIRST, "80b35f4d0b4498ea8bb93383dcaa27b77d46"),
    _answer("Q4_0, fused", "GGML_Q4_0", _FIRST, "80b35f4d0b4498ea8bb93383dcaa27b77d36", "ggml/fma"),
    _answer("Q4_1", "GGML_Q4_1", _FIRST, "c43310bfb0b3f5bc78157456cc7d2456d85883ca"),
    _answer("Q5_0", "GGML_Q5_0", _SECOND, "002ef380a88132605a056f0144370bb49e7e894a8008"),
    _answer("Q5_0, fused", "GGML_Q5_0", _SECOND, "002ef380a88132604a056f0144370bb49e7e894a8008", "ggml/fma"),
    _answer("Q5_1", "GGML_Q5_1", _FIRST, "842f10bf18b30fd16076fa78e03af89d89ea48bcc0911684"),
    _answer("Q8_0", "GGML_Q8_0", _FIRST, "8f2388b9d54606dcccef5057c5e60914b827373c7f43f5a0fcd34bfaabde65d30d47"),
    _answer("subnormals in Q8_0", "GGML_Q8_0", _TINY, "00007f01" + "00" * 30),
    _answer("MXFP4", "GGML_MXFP4", _FIRST, "7d5f6e7d6691fc0dda6697edcb71d22e64"),
    _answer(
        "TQ1_0",
        "GGML_TQ1_0",
        _FIRST * 8,
        "000080ff80808080ffff8080808000808080ffff80008080ff800080ff8080ff2020a0ff80608080ffe06080a08020a08c62cbd7803f",
    ),
    _answer(
        "TQ2_0",
        "GGML_TQ2_0",
        _FIRST * 8,
        "000055aa55555555aaaa5555555500555555aaaa55005555aa550055aa5555aa"
        "000055aa55555555aaaa5555555500555555aaaa55005555aa550055aa5555aa803f",
    ),
    _answer("the scale of zeros", "GGML_Q4_0", bytes(64), "0080" + "88" * 16),
    _answer("a minimum of minus zero", "GGML_Q4_1", b"\x00\x80" * 32, "00000080" + "00" * 16),
)
