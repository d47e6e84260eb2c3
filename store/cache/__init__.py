"""This machine's verified blobs: what is kept, for how long, and within which budget."""

from .cache import Cache

__all__ = ["Cache"]
