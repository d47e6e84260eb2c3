"""Speed, latency under load, and what peers make of the same."""
