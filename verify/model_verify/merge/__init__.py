"""Merge arithmetic to the bit. Spec: merge.

coefficient    decimal text -> float32, in one rounding
formats        F32, BF16 and F16 as bits in numpy
difference     how two stretches of a tensor differ
backend        what computes has to offer, and the check that it must pass
known_answers  what that check asks
reference      the profile in plain numpy: the shortest code that follows the text
compiled       the same in numba, for the CPU
tensor         the same in torch, for CUDA
selection      chooses one of the three
"""
