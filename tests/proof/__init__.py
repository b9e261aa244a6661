"""The proof: how often each invariant was tried under faults, at three sizes (docs/proof.md).

``python -m tests.proof --tier commit|night|release`` runs every part and prints one report; the
parts are ordinary functions, so a test or a person can run one alone with any seed.
"""
