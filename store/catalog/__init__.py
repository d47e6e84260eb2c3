"""A store's journal as SQL tables, for names, prefixes and lists: a projection, rebuilt at will (docs/cache.md)."""
