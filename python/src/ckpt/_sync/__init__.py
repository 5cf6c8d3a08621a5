# Generated from ../_async/__init__.py by scripts/generate-python; edit that one.
"""The async door; the blocking one is made from it."""
