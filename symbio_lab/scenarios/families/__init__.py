"""The families of worlds that come with the lab, one a file."""
