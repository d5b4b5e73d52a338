"""Steps as they happen: recorded beside the model that they gave, for `attest sign` to absorb.

steps       `.attest/steps/NNN.json`: one step each
"""

from model_attest.record.steps import (
    MAX_RECORD_BYTES,
    RECORD_FOLDER,
    merge_materials,
    read_records,
    write_record,
)

__all__ = ["MAX_RECORD_BYTES", "RECORD_FOLDER", "merge_materials", "read_records", "write_record"]
