"""Surgery methods: one file each; they train on ``repair`` and ``replay`` and return tensors, never a model."""
