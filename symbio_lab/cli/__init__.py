"""The command line ``symbio``: thin wrappers over library functions."""
