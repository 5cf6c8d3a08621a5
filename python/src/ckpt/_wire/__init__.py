"""The protocol without any input or output: what both doors send and understand."""
