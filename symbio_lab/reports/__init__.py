"""A finished comparison as a report: collected, told in sections, executed as a notebook, exported as one page."""
