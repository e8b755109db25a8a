"""The local catalogue: what many markets offer, judged, stored and searched on this machine.

``marketplace/search.py`` reads a market whole and ranks all of it in memory: right for a pool of dozens, and what the
experiments use. The catalogue is the way for thousands to millions of offers and for markets that are far away: one
SQLite file is the truth, vectors lie beside it, and a sync reads only what changed.

Files, in reading order:
    - ``schema.py``: the tables; ``packing.py``: an envelope kept whole in half the bytes; ``judging.py``: an envelope
      becomes a row, accepted or refused by ``trust/trusted_set.py``.
    - ``storing.py``: rows with their words and labels, written together or not at all; ``changes.py``: what a market
      offers now, told from what is known; ``syncing.py``: the sync; ``rejudging.py``: a changed policy, and all
      signatures again.
    - ``filtering.py``, ``text_search.py``, ``tantivy_text.py``: the rows that fit, and the best of them by words.
    - ``vectors.py``, ``pruning.py``, ``approximate.py``, ``embedding.py``: the best of them by meaning.
    - ``fusing.py``, ``hybrid.py``: one ranking, with the reason for each place in it.
"""
