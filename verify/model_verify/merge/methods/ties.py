"""`ties` of the mergekit profiles. Spec: merge §5.6."""

from __future__ import annotations

from collections.abc import Mapping

from model_verify.errors import OperationRefused
from model_verify.merge.kernel import Call, Number
from model_verify.merge.known_answers import MethodAnswer, method_answer
from model_verify.merge.methods.possible import Span
from model_verify.merge.methods.thinning import ThinningKernel


def _call(dtype: str, *own: tuple[float, float] | None) -> Call:
    """Return a call with weight and density of each input; the base is where there are none."""
    shared = {"normalize": True, "lambda": 0.9, "rescale": False}
    parameters = tuple({} if one is None else {"weight": one[0], "density": one[1]} for one in own)
    return Call("mergekit-0.1.4", "ties", dtype, dtype, base=own.index(None), shared=shared, own=parameters)


def _hard(dtype: str, expected: str, *operands: str) -> MethodAnswer:
    call = _call(dtype, (0.7, 0.5), None, (-0.3, 0.5), (0.6, 0.75))
    return method_answer("the largest differences", call, operands, expected, shape=(2, 4))


class Ties(ThinningKernel):
    """The largest differences of each input, where they have the sign of the sum of them."""

    known_answers = (
        # Elements that other orders, precisions, cuts and signs get wrong: computed from the text in integers.
        _hard(
            "F32",
            "bd931740 3e67bed2 3eb189f4 3fce4660 c064a65e 3fcc86d2 3f940b2b bc58a100",
            "be05dfdb 3e3cb604 bf1e2ade be205902 bea9724e bf3e8b72 be1646f1 bfb3c9b2",
            "3eeab53a 3e67bed2 bf43a2e0 3e91333d bec3d0e3 bf2e6e00 beae4271 3fd13433",
            "3f8a25eb be70b01a be5c0bd0 3f89e7df 3ebc8b55 be271cda bf9e348d bfd93601",
            "3eb10b47 3e3f1c62 3ef0bd7d 3fe12938 bfe3c48b 3fecf13f 3fe10904 3f9b5074",
        ),
        _hard(
            "BF16",
            "be8c be21 3f74 3f0e 3cc0 3fcd bf97 be53",
            "3f43 bec6 bfaa 3ec6 beeb 3fda bf88 bf83",
            "3f66 be21 bef4 bfa1 3fb3 3f2c 3f5a bedc",
            "bef3 3e16 bf34 bfee be6e 3e0c 3ff4 be10",
            "bed1 be96 3f8e be01 3e83 3f16 be30 be3a",
        ),
        _hard(
            "F16",
            "b1ac abc0 ba79 b7e8 be20 be5b 36e5 3a38",
            "bb79 3ee6 31a8 339f bf02 3c2f 37fa 36ef",
            "b8f1 3c76 324d 3e3c 343b 302b 36e5 3553",
            "ba09 368d 364c b98f 3b8e b54f 3871 3a9e",
            "b01b b21c bb5f bf62 b5e9 bf1f 31d2 b0bb",
        ),
        method_answer("minus zero", _call("F32", None, (-0.3, 1.0)), ("80000000", "80000000"), "00000000", shape=(1,)),
    )

    elect = True
    descending = True

    def span(self, elements: int, own: Mapping[str, Number]) -> Span | None:
        density = float(own["density"])
        if density >= 1:
            return None
        count = int(max(density, 0.0) * elements)
        if self.call.profile != "mergekit-0.1.4":
            count = max(count, 1) if density > 0 else 0
        elif count <= 0:
            raise OperationRefused("OPERAND_INVALID", f"density {density} keeps none of {elements} elements")
        return elements - count, elements
