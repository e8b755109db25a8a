"""What goes into the API and comes out of it; the field names that users already send are fixed."""
