"""What produced an answer, written down so that it can be made again (docs/receipts.md)."""
