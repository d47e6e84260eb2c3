"""What a server shows of itself: metrics for Prometheus, and a log of events."""
