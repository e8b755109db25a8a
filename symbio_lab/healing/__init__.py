"""The healing strategies: how a run searches, operates and asks the gate."""
