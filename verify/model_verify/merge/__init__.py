"""Merge arithmetic to the bit. Spec: merge.

coefficient   decimal text -> float32, in one rounding
formats       F32, BF16 and F16 as bits in numpy
reference     the profile in plain numpy: the shortest code that follows the text
compiled      the same in numba, for the CPU
tensor        the same in torch, for CUDA
backend       chooses one of the three and makes it pass the known-answer check
"""
