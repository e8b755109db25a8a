"""Signed patches: who said what about which bytes, and the rules under which we believe it.

Files, in reading order:
    - ``keys.py``: Ed25519 keys and their keyids.
    - ``envelope.py``: DSSE, the signature around exact bytes.
    - ``strict_fields.py``, ``statement.py``, ``manifest.py``: the in-toto statement inside, read strictly.
    - ``evaluation_statement.py``: what somebody else measured about a patch, signed.
    - ``naming.py``: names that are safe as paths.
    - ``policy.py``, ``trusted_set.py``: the rules, pure; ``seen_versions.py``: their memory on disk.
    - ``folder_reading.py``, ``tensors.py``, ``adapter_files.py``: bytes and tensors, checked before any library.
    - ``merkle.py``, ``checkpoint.py``: proofs of a transparency log, and what it signs about itself.
    - ``verifying.py``: a folder of strangers becomes a ``Patch``; ``sealing.py``: our own tensors become one.

Nothing here imports torch, and nothing is deserialised before its digest, size, names and shapes were checked.
"""
