"""Figures and tables as bundles that show in a notebook, in untrusted JupyterLab and in a static page alike."""
