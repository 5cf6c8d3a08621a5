"""The version of this package, which is that of the ckpt it speaks to."""

__version__ = "0.1.0"

API = "v1"
"""The version of the API that this package speaks."""
