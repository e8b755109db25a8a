"""From failures to patterns that a patch could heal."""
