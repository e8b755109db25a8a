"""The gate, deployment with rollback, and who may deploy what."""
