"""A recipe against the tensors of its parents: which operation gives each output tensor. Spec: pipeline §3.

models       what is known of a parent: its tensors, and what its config.json says
layers       layers by the names of tensors; what mergekit knows of architectures
placement    which tensors of which parents give each output tensor
operands     who takes part in the end, and in which dtypes
operations   method and parameters of each output tensor, all of them written out
grouping     operations that are alike become one; the merge step
vocabulary   whether mergekit's tokenizer options change a tensor
"""

from model_attest.resolution.grouping import ResolvedMerge, resolve
from model_attest.resolution.models import Model, read_model
from model_attest.resolution.vocabulary import check_vocabularies

__all__ = ["Model", "ResolvedMerge", "check_vocabularies", "read_model", "resolve"]
