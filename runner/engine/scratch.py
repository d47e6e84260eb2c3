"""Memory for a KV state on its way from one slot to another."""

_MOST = 256 * 1024 * 1024  # bytes that are kept for the next one


class Scratch:
    """Lends the same memory again and again: to be given fresh memory can take many times as long as to fill it."""

    def __init__(self) -> None:
        self._memory = bytearray()

    def room(self, size: int) -> memoryview:
        """So many bytes, until the next are asked for."""
        if size > _MOST:
            return memoryview(bytearray(size))
        if size > len(self._memory):
            self._memory = bytearray(size)
        return memoryview(self._memory)[:size]
