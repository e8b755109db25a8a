"""One file a resource; each makes its router, and ``app.py`` puts them together."""
