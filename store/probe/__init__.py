"""What a bucket really honours, found out by trying it."""

from .probe import nowhere, probe
from .trial import Finding

__all__ = ["Finding", "nowhere", "probe"]
