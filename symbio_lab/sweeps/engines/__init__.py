"""Where runs execute: one file for each kind of machine, one protocol."""
