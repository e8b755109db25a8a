"""Where patches are offered: transports, the search over them, and the client that refuses or fetches.

Files, in reading order:
    - ``transport.py``: the protocol; ``directory.py``: a folder as a market; ``overlay.py``: write beside a base;
      ``opening.py``: a URI becomes a transport.
    - ``index.py``, ``lexical.py``, ``search.py``: ranked, **unverified** candidates.
    - ``client.py``: a candidate becomes a verified ``Patch`` or a refused ``Attempt``.
    - ``publish.py``: a patch of ours goes to a market; ``snapshot.py``: the digest that names a pool's state.
"""
