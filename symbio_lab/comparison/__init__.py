"""Arms on one world under one judge: ``symbio compare``."""
