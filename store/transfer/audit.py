"""Whether an object in a bucket still is what its block list says, by reading it back."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from ..backends import Backend
from ..blocks import BLOCK_SIZE, BlockList

_READERS = 4


def wrong_blocks(
    backend: Backend, key: str, blocks: BlockList, *, indexes: Iterable[int], progress: Callable[[int], None]
) -> list[int]:
    """Those of the blocks `indexes` of the object that are not what the list says, in order.

    `progress` is given the number of blocks that were looked at. Raises KeyNotFound, Unreachable or Refused.
    """
    if not backend.properties.ranges:
        return _wrong_in_stream(backend, key, blocks, set(indexes))
    wrong = []
    with ThreadPoolExecutor(_READERS, thread_name_prefix="audit") as threads:
        asked = list(indexes)
        answers = threads.map(lambda index: _sound(backend, key, blocks, index), asked)
        try:
            for done, (index, sound) in enumerate(zip(asked, answers, strict=True), 1):
                wrong += [] if sound else [index]
                progress(done)
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise
    return wrong


def _sound(backend: Backend, key: str, blocks: BlockList, index: int) -> bool:
    return blocks.holds(index, b"".join(backend.read(key, start=index * BLOCK_SIZE, length=_length(blocks, index))))


def _wrong_in_stream(backend: Backend, key: str, blocks: BlockList, wanted: set[int]) -> list[int]:
    right, waiting = set(), bytearray()
    index = 0
    for piece in backend.read(key):
        waiting += piece
        while index < len(blocks.hashes) and len(waiting) >= _length(blocks, index):
            right |= {index} if blocks.holds(index, waiting[: _length(blocks, index)]) else set()
            del waiting[: _length(blocks, index)]
            index += 1
    return sorted(wanted - right)


def _length(blocks: BlockList, index: int) -> int:
    return min(BLOCK_SIZE, blocks.size - index * BLOCK_SIZE)
