"""What was signed before and beside an attestation, and what is revoked. Spec: history; verification V4.

    folder       files of these kinds in a model's folder
    target       whose history is looked at
    revocation   what is revoked, and whether that is to be honoured
    chain        what an attestation took the place of
    commitment   what its signer committed to before
    freshness    before or after it was published
    check        all of it, for the procedure
    report       what the report says of it

Nothing here makes a verdict better, and nothing is read below an attestation that was refused.
"""
