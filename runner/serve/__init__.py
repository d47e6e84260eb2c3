"""Models that answer many callers: who may ask, who has to wait, and what came of it. It knows nothing of HTTP."""
