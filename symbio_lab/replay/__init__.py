"""Real test traffic with a shift in the middle, played to the monitor as if it came in."""
