"""Another's verification, by its signed summary. Spec: summary.

levels    the words of `verifiedLevels`, and back
reading   from a predicate to a summary
revoking  what its verifier has taken back
judging   a summary against what the caller has and asks
report    what came of that
"""

from model_verify.summary.judging import SummaryRequest, judge_summary
from model_verify.summary.reading import Summary, read_summary
from model_verify.summary.report import SummaryReport

__all__ = ["Summary", "SummaryReport", "SummaryRequest", "judge_summary", "read_summary"]
