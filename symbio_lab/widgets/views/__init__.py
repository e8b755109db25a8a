"""Views that ipywidgets lacks: a long table, a scatter with a lasso, a spoken line, code to copy.

Their JavaScript lies beside this file, is vendored with it and fetches nothing. Traits are JSON only: one trait that
cannot be cloned keeps a whole notebook's widget state from being saved.
"""
