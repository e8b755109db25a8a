"""The report of a sweep: registered contrasts first, everything else marked as exploratory."""
