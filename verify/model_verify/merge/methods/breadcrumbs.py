"""`breadcrumbs` and `breadcrumbs_ties` of the mergekit profiles. Spec: merge §5.7."""

from __future__ import annotations

from collections.abc import Mapping

from model_verify.errors import OperationRefused
from model_verify.merge.kernel import Call, Number
from model_verify.merge.known_answers import MethodAnswer, method_answer
from model_verify.merge.methods.possible import Span
from model_verify.merge.methods.thinning import ThinningKernel


def _call(method: str, dtype: str, *own: tuple[float, float] | None) -> Call:
    """Return a call with weight and density of each input; the base is where there are none."""
    shared = {"normalize": True, "lambda": 0.9, "rescale": False}
    parameters = tuple({} if one is None else {"weight": one[0], "density": one[1], "gamma": 0.25} for one in own)
    return Call("mergekit-0.1.4", method, dtype, dtype, base=own.index(None), shared=shared, own=parameters)


def _hard(dtype: str, expected: str, *operands: str, method: str = "breadcrumbs") -> MethodAnswer:
    call = _call(method, dtype, (0.7, 0.5), None, (-0.3, 0.5), (0.6, 0.75))
    return method_answer("differences in the middle", call, operands, expected, shape=(2, 4))


def _minus_zero(method: str, expected: str) -> MethodAnswer:
    call = _call(method, "F32", None, (-0.3, 1.0))
    return method_answer("minus zero", call, ("80000000", "80000000"), expected, shape=(1,))


class Breadcrumbs(ThinningKernel):
    """The differences of each input that are neither among the largest nor among the smallest."""

    known_answers = (
        # Elements that other orders, precisions, cuts and signs get wrong: computed from the text in integers.
        _hard(
            "F32",
            "3e8e6f70 3fa23336 bf9e9b60 c00f08d9 bf25f225 bf787868 bce766f8 bca8d5a0",
            "bfaeaa51 3f092178 bf9ea70d bfe80908 bedfaf73 3f209a19 3e611b50 be967d0c",
            "be652237 3f521f38 be671e37 bfbc978a bed1629d bfc55168 be3fc638 3e5f82a8",
            "be012b95 bf552160 3f4d025f 3ec3a717 3ef457bb 3fcab889 3e526063 bff50798",
            "3f34ae77 be7fce61 bed01425 bfc7ab34 3f8a2386 bef7eaf0 bebc4815 3ebf3606",
        ),
        _hard(
            "BF16",
            "3e90 3fa2 bf9e c00f bf26 bf78 bcf8 bca0",
            "bfae 3f09 bf9e bfe8 bedf 3f20 3e61 be96",
            "be65 3f52 be67 bfbc bed1 bfc5 be3f 3e5f",
            "be01 bf55 3f4d 3ec3 3ef4 3fca 3e52 bff5",
            "3f34 be7f bed0 bfc7 3f8a bef7 bebc 3ebf",
        ),
        _hard(
            "F16",
            "3474 3d11 bcf5 c078 b930 bbc3 a740 a548",
            "bd75 3849 bcf5 bf40 b6fd 3904 3308 b4b3",
            "b329 3a90 b338 bde4 b68b be2a b1fe 32fc",
            "b009 baa9 3a68 361d 37a2 3e55 3293 bfa8",
            "39a5 b3fe b680 be3d 3c51 b7bf b5e2 35f9",
        ),
        _minus_zero("breadcrumbs", "80000000"),
    )

    def span(self, elements: int, own: Mapping[str, Number]) -> Span | None:
        density, gamma = float(own["density"]), float(own["gamma"])
        if density >= 1:
            return None
        if density < 0 or gamma < 0:
            raise OperationRefused("OPERAND_INVALID", "density and gamma cannot be negative")
        kept, largest = int(density * elements), int(min(gamma, 1.0) * elements)
        smallest = max(0, elements - kept - largest)
        if self.call.profile == "mergekit-0.1.4" and min(largest, elements - kept) == 0:
            return 0, 0
        return smallest, smallest + kept


class BreadcrumbsTies(Breadcrumbs):
    """The same, where they have the sign of the sum of them."""

    known_answers = (
        # Elements that other orders, precisions, cuts and signs get wrong: computed from the text in integers.
        _hard(
            "F32",
            "3f1ce290 bf2ace1c bf9e9b60 c00f08d9 3ec6f84b bf1706ce 3e376b28 be788738",
            "bfaeaa51 3f092178 bf9ea70d bfe80908 bedfaf73 3f209a19 3e611b50 be967d0c",
            "be652237 3f521f38 be671e37 bfbc978a bed1629d bfc55168 be3fc638 3e5f82a8",
            "be012b95 bf552160 3f4d025f 3ec3a717 3ef457bb 3fcab889 3e526063 bff50798",
            "3f34ae77 be7fce61 bed01425 bfc7ab34 3f8a2386 bef7eaf0 bebc4815 3ebf3606",
            method="breadcrumbs_ties",
        ),
        _hard(
            "BF16",
            "3f1d bf2c bf9e c00f 3ec5 bf17 3e35 be79",
            "bfae 3f09 bf9e bfe8 bedf 3f20 3e61 be96",
            "be65 3f52 be67 bfbc bed1 bfc5 be3f 3e5f",
            "be01 bf55 3f4d 3ec3 3ef4 3fca 3e52 bff5",
            "3f34 be7f bed0 bfc7 3f8a bef7 bebc 3ebf",
            method="breadcrumbs_ties",
        ),
        _hard(
            "F16",
            "39bc 41ac 3a88 3c61 3c10 bd1f 3adc 3873",
            "3927 3ecd b314 bff1 3dd6 bde3 b5a3 336f",
            "3c07 3310 3fdf 3c61 b5d1 b208 31f5 31f7",
            "397a b277 31f4 3ea3 ba90 b556 3290 b19a",
            "bbc7 3240 3981 bb91 b152 bd47 3b75 32c2",
            method="breadcrumbs_ties",
        ),
        _minus_zero("breadcrumbs_ties", "00000000"),
    )

    elect = True
