"""Known answers of the methods whose sums torch does not fix: what the usual numbers give. Spec: merge §2, §5.10."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from model_verify.merge.kernel import Call, Number
from model_verify.merge.known_answers import MethodAnswer, method_answer

FMA, NOFMA, OLD = "mergekit-0.1.5/fma", "mergekit-0.1.5/nofma", "mergekit-0.1.4"
Row = tuple[str, str, str]
"""A profile, a dtype, and the output."""

_OPERANDS: Mapping[str, tuple[str, str, str]] = {
    "F32": (
        "be9f7c79 bf9f0b2b bf1e4cdb 00000007 3fcedacd 3e2eaa33 bf8940ba bf4f54e6 3eccafb3",
        "bf7d9faf bfbc41e3 beecb9e1 00000005 3f8efdd0 bd8977c6 bedc08fa bf092bbf 3e82fd4c",
        "bf4d4b61 bfa98498 be7e5282 00000002 3f9169f9 3de0adc0 bf0d7a4b bf48e75e 3f3fadce",
    ),
    "BF16": (
        "be9f bf9f bf1e 0007 3fcf 3e2f bf89 bf4f 3ecd",
        "bf7e bfbc beed 0005 3f8f bd89 bedc bf09 3e83",
        "bf4d bfaa be7e 0002 3f91 3de1 bf0d bf49 3f40",
    ),
    "F16": (
        "b4fc bcf8 b8f2 0007 3e77 3175 bc4a ba7b 3665",
        "bbed bde2 b766 0005 3c78 ac4c b6e0 b849 3418",
        "ba6a bd4c b3f3 0002 3c8b 2f05 b86c ba47 39fd",
    ),
}
"""Nine elements near those of the last operand, one of them subnormal: one more than there are lanes."""


def answers(
    method: str,
    shared: Mapping[str, Number],
    own: tuple[Mapping[str, Number], ...],
    rows: Sequence[Row],
    *,
    base: int | None = 2,
) -> tuple[MethodAnswer, ...]:
    """Return the answers of a method over these operands."""
    return tuple(
        method_answer(
            f"{method} in {dtype}",
            Call(profile, method, dtype, dtype, base=base, shared=shared, own=own),
            _OPERANDS[dtype],
            expected,
            shape=(9,),
        )
        for profile, dtype, expected in rows
    )


MODEL_STOCK = (
    (FMA, "F32", "bf47563c bfaa27d5 be963aa1 00000003 3f95f798 3dce5b2e bf155046 bf447b96 3f2f0d41"),
    (FMA, "BF16", "bf47 bfab be96 0003 3f96 3dce bf15 bf44 3f2e"),
    (FMA, "F16", "ba3a bd50 b4b1 0003 3caf 2e73 b8aa ba24 3978"),
    (OLD, "F32", "bf47563c bfaa27d5 be963aa1 00000003 3f95f798 3dce5b2e bf155046 bf447b96 3f2f0d41"),
    (NOFMA, "F32", "bf47563c bfaa27d5 be963aa2 00000003 3f95f798 3dce5b2e bf155046 bf447b96 3f2f0d41"),
)
NUSLERP = (
    (FMA, "F32", "bef5dde0 bfa9aac0 bf2944b9 00000007 3fc3d9f9 3d9c7e36 bf6e2b4c bf2fe16e 3e61b90c"),
    (FMA, "BF16", "bef5 bfa9 bf29 0007 3fc4 3d9d bf6e bf30 3e60"),
    (FMA, "F16", "b7ae bd4d b94a 0007 3e1f 2ce4 bb71 b97f 330c"),
    (OLD, "F32", "bef5dde0 bfa9aac0 bf2944b9 00000007 3fc3d9f9 3d9c7e36 bf6e2b4c bf2fe16e 3e61b90c"),
    (NOFMA, "F32", "bef5dde0 bfa9aac0 bf2944b9 00000007 3fc3d9f9 3d9c7e36 bf6e2b4c bf2fe16e 3e61b90c"),
)
KARCHER = (
    (FMA, "F32", "bf3cee81 bfb1fb40 bee6574b 00000005 3fa861ed 3d8d1721 bf30a05b bf3a18d6 3ef7a705"),
    (FMA, "BF16", "bf3d bfb1 bee8 0005 3fa7 3d8e bf30 bf3a 3ef8"),
    (FMA, "F16", "b9e5 bd8f b731 0005 3d43 2c68 b984 b9d0 37bb"),
    (OLD, "F32", "bf3cee81 bfb1fb40 bee6574b 00000005 3fa861ed 3d8d1721 bf30a05b bf3a18d6 3ef7a705"),
    (NOFMA, "F32", "bf3cee81 bfb1fb40 bee6574b 00000005 3fa861ed 3d8d1721 bf30a05b bf3a18d6 3ef7a705"),
)
MULTISLERP = (
    (FMA, "F32", "bf0849b4 bfac36c3 bf281512 00000006 3fbf625c 3d6141c1 bf61f16e bf293aa4 3e492918"),
    (FMA, "BF16", "bf08 bfac bf28 0006 3fc0 3d63 bf62 bf29 3e48"),
    (FMA, "F16", "b842 bd61 b940 0006 3dfb 2b0c bb10 b94a 324c"),
    (OLD, "F32", "bf0849b4 bfac36c3 bf281512 00000006 3fbf625c 3d6141c1 bf61f16e bf293aa4 3e492918"),
    (NOFMA, "F32", "bf0849b4 bfac36c3 bf281512 00000006 3fbf625c 3d6141bc bf61f16e bf293aa3 3e492918"),
)
SCE_SELECTED = (
    (FMA, "F32", "be9f7c79 bfa98498 be7e5282 00000002 3fcedacd bd8977c6 bf8940ba bf092bbf 3f3fadce"),
    (FMA, "BF16", "be9f bfaa be7e 0002 3fcf bd89 bf89 bf09 3f40"),
    (FMA, "F16", "b4fd bd4c b3f3 0002 3e77 ac4b bc4a b849 39fd"),
)
SCE = (
    (FMA, "F32", "be9f7c79 bfbc41e3 bf11e934 00000006 3fcedacd bd8977c6 bf8940ba bf092bbf 3eb5d2fb"),
    (FMA, "BF16", "be9e bfbc bf12 0006 3fcf bd89 bf89 bf09 3eb6"),
    (FMA, "F16", "b4fd bde2 b88f 0006 3e77 ac4b bc4a b849 35af"),
)
