"""An example plugin of symbio_lab."""
