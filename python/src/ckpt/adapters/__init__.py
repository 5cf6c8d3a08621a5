"""ckpt inside other people's frameworks: a module for each, which needs that framework installed.

`pip install "ckpt[gymnasium]"` and the like bring them; see `docs/adapters.md`.
"""
