"""A registry over a market: which versions exist, signed, fresh, and never older than before (TUF).

A market is dumb storage. Signed manifests say who made a patch; a registry adds what no single manifest can say: that
this is the newest state, that nothing was withheld or mixed, and which keys no longer count. It is a set of static
files beside the market, written by its keeper and read by stock python-tuf (extra ``registry``).

Files, in reading order:
    - ``layout.py``: where everything lies; ``role_keys.py``: who signs what, for how long.
    - ``registered.py``, ``reading.py``: the client; ``refusals.py``: its codes; ``transport.py``: a market behind
      its registry.
    - ``static_files.py``, ``opening.py``: folders and web addresses that nobody needs to trust.
    - ``keeping.py``, ``describing.py``: the keeper's side, checked before it is signed; ``registered_lists.py``: lists
      and hash bins; ``signing.py``, ``writing.py``, ``renewing.py``: new states; ``revoked.py``: keys that no longer
      count.
    - ``offers.py``: what a market holds, beside what is registered; ``uploading.py``: a folder goes to a Hub.
    - ``signer.py``, ``tuf_names.py``: our keys for python-tuf.
"""
