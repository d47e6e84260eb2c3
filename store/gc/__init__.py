"""Collecting what no live model needs, beside writers that go on (docs/bucket-format.md)."""
