"""The report: results of a comparison as one self-contained page."""
