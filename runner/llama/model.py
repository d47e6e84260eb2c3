"""A model loaded by llama.cpp, and its vocabulary."""

import ctypes
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ...store.closing import Closing
from ..engine_settings import SPLITS
from ..errors import LoadFailed, RunnerError
from ..notes import notes
from .library import errors_logged, ll, quick
from .shards import problem

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fdopen.restype = ctypes.c_void_p
_libc.fdopen.argtypes = [ctypes.c_int, ctypes.c_char_p]
_libc.fclose.argtypes = [ctypes.c_void_p]

Source = Path | int
_ALL_LAYERS = -1


@dataclass(frozen=True, slots=True)
class Loading:
    """How a model is loaded.

    `gpu_layers` go to the GPU (None is all, where there is one), `split` is how several GPUs share them. `repack`
    copies weights into the layout that the CPU computes fastest; without it, processes that map a file share memory.
    `vocabulary_only` is enough to make tokens of text.
    """

    gpu_layers: int | None = None
    split: str = "layer"
    repack: bool = True
    vocabulary_only: bool = False


_USUAL = Loading()


class LlamaModel(Closing):
    """A model's weights, mapped into memory, and its vocabulary. Closing it closes its contexts.

    A source is a path, opened once, or a file descriptor of the caller's, read from its start and left open: either
    way what is loaded is the very file that was opened. Several sources are the shards of a split model, in order.
    `vocabulary_read` is called when weights are next. `load_seconds` is how long loading took. Raises LoadFailed.
    """

    def __init__(
        self,
        source: Source | Sequence[Source],
        loading: Loading = _USUAL,
        *,
        vocabulary_read: Callable[[], None] | None = None,
    ) -> None:
        started = time.perf_counter()
        self.contexts: set[Closing] = set()
        sources = source if isinstance(source, Sequence) else [source]
        if not sources:
            raise LoadFailed("a model of no files")
        wanted = _ALL_LAYERS if loading.gpu_layers is None else loading.gpu_layers
        self._wanted_layers = wanted if ll.llama_supports_gpu_offload() else 0
        self._pieces: dict[int, bytes] = {}
        self._ends: dict[int, bool] = {}
        self.has_weights = not loading.vocabulary_only
        params = _params(loading, self._wanted_layers)
        if vocabulary_read:
            params.progress_callback = _told_once(vocabulary_read)
        notes.loading()
        self._open = _load(sources, params)
        self._vocab = ll.llama_model_get_vocab(self._open)
        self.vocabulary_size: int = ll.llama_vocab_n_tokens(self._vocab)
        self.load_seconds = time.perf_counter() - started
        notes.begin("")
        unfit = _unfit(self._open, self._vocab)
        if unfit:
            self.close()
            raise LoadFailed(f"{sources[0]}: {unfit}")

    def close(self) -> None:
        """Frees the model and every context over it."""
        for context in tuple(self.contexts):
            context.close()
        handle, self._open = self._open, None
        self._pieces.clear()
        self._ends.clear()
        if handle:
            ll.llama_model_free(handle)

    @property
    def context_length(self) -> int:
        """How many tokens the model was trained to attend to."""
        return int(ll.llama_model_n_ctx_train(self.handle))

    @property
    def window(self) -> int:
        """How many tokens back some of its layers see; 0 when all of them see everything."""
        return max(0, int(ll.llama_model_n_swa(self.handle)))

    @property
    def gpu_layers(self) -> int:
        """How many layers are on the GPU; the output's is one of them."""
        layers = int(ll.llama_model_n_layer(self.handle)) + 1
        return layers if self._wanted_layers == _ALL_LAYERS else min(self._wanted_layers, layers)

    @property
    def bos(self) -> str:
        """The text of the token that begins a sequence; "" when there is none."""
        return self._token_text(ll.llama_vocab_bos(self.vocabulary))

    @property
    def eos(self) -> str:
        """The text of the token that ends a sequence; "" when there is none."""
        return self._token_text(ll.llama_vocab_eos(self.vocabulary))

    @property
    def add_bos(self) -> bool:
        """Whether `add_special` puts the BOS token in front."""
        return bool(ll.llama_vocab_get_add_bos(self.vocabulary))

    @property
    def chat_template(self) -> str | None:
        """The model's own chat template, a Jinja source."""
        source = ll.llama_model_chat_template(self.handle, None)
        return None if source is None else source.decode("utf-8", errors="replace")

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """The tokens of `text`: `add_special` adds BOS and EOS as the vocabulary says, `parse_special` reads
        `<|im_start|>` and its kin as the one token they name. Raises RunnerError for a text of 2 GiB."""
        data = text.encode("utf-8", errors="replace")
        if len(data) >= 2**30:
            raise RunnerError(f"a text of {len(data)} bytes is more than llama.cpp can tokenize")
        room = len(data) + 8
        while True:
            tokens = (ll.llama_token * room)()
            count = ll.llama_tokenize(self.vocabulary, data, len(data), tokens, room, add_special, parse_special)
            if count >= 0:
                return list(tokens[:count])
            # A vocabulary without a token for spaces makes three of each.
            if -count <= room:
                raise RunnerError(f"llama.cpp cannot tokenize a text of {len(data)} bytes")
            room = -count

    def piece(self, token: int) -> bytes:
        """The bytes of `token`, which may be part of a character; b"" for a special token."""
        # A text uses few of the vocabulary's tokens, again and again.
        found = self._pieces.get(token)
        if found is None:
            found = self._pieces[token] = self._piece(token, special=False)
        return found

    def mark(self, token: int) -> bytes:
        """`piece`, of a special token too: the bytes of its name."""
        return self._piece(token, special=True)

    def _piece(self, token: int, *, special: bool) -> bytes:
        room = 64
        while True:
            buffer = ctypes.create_string_buffer(room)
            count = ll.llama_token_to_piece(self.vocabulary, self.known(token), buffer, room, 0, special)
            if count >= 0:
                return buffer.raw[:count]
            room = -count

    @cached_property
    def end_tokens(self) -> tuple[int, ...]:
        """The tokens that end a generation; to ask for each token of the vocabulary takes 10 to 50 ms, once."""
        is_end, vocabulary = quick.llama_vocab_is_eog, self.vocabulary
        return tuple(token for token in range(self.vocabulary_size) if is_end(vocabulary, token))

    @cached_property
    def suppressed_tokens(self) -> tuple[int, ...]:
        """The tokens that the model's file says never to choose."""
        count = ctypes.c_int32()
        tokens = quick.llama_vocab_get_suppress_tokens(self.vocabulary, ctypes.byref(count))
        return tuple(token for token in tokens[: count.value] if token < self.vocabulary_size) if count.value else ()

    def is_end(self, token: int) -> bool:
        """Whether `token` ends a generation: end of sequence, of turn or of message."""
        found = self._ends.get(token)
        if found is None:
            found = self._ends[token] = bool(quick.llama_vocab_is_eog(self.vocabulary, self.known(token)))
        return found

    @property
    def handle(self) -> Any:
        """llama.cpp's pointer. Raises RunnerError once the model is closed."""
        if self._open is None:
            raise RunnerError("the model is closed")
        return self._open

    @property
    def vocabulary(self) -> Any:
        """llama.cpp's pointer to the vocabulary. Raises RunnerError once the model is closed."""
        return self.handle and self._vocab

    def known(self, token: int) -> int:
        """`token`, if the vocabulary has it; raises RunnerError if not."""
        if not 0 <= token < self.vocabulary_size:
            raise RunnerError(f"the vocabulary has {self.vocabulary_size} tokens, there is no {token}")
        return token

    def _token_text(self, token: int) -> str:
        if token < 0:
            return ""
        text: bytes = ll.llama_vocab_get_text(self.vocabulary, token)
        return text.decode("utf-8", errors="replace")


def _params(loading: Loading, gpu_layers: int) -> Any:
    params = ll.llama_model_default_params()
    params.load_mode = 1  # LLAMA_LOAD_MODE_MMAP
    params.n_gpu_layers = gpu_layers
    params.split_mode = SPLITS[loading.split]
    params.use_extra_bufts = loading.repack
    params.vocab_only = loading.vocabulary_only
    return params


def _told_once(vocabulary_read: Callable[[], None]) -> Any:
    """A progress callback. llama.cpp calls it for each tensor, the first time when it has read all but the tensors."""
    told = False

    def progress(_fraction: float, _user_data: object) -> bool:
        nonlocal told
        if not told:
            told = True
            vocabulary_read()
        return True

    return ll.llama_progress_callback(progress)


def _load(sources: Sequence[Source], params: Any) -> Any:
    with _opened(sources) as descriptors:
        errors_logged.clear()
        load = _load_one if len(descriptors) == 1 else _load_shards
        model = load(descriptors, params)
        if not model:
            said = errors_logged.summary()
            # A lone shard is refused for what it lacks; that it is one of several says more.
            # A descriptor's number tells nobody anything.
            what = "the model" if isinstance(sources[0], int) else sources[0]
            raise LoadFailed(f"llama.cpp cannot load {what}: {problem(ll._lib, _paths(descriptors)) or said}")
    return model


def _load_one(descriptors: list[int], params: Any) -> Any:
    fd = os.dup(descriptors[0])
    os.lseek(fd, 0, os.SEEK_SET)
    file: int | None = _libc.fdopen(fd, b"rb")
    if not file:
        os.close(fd)
        raise LoadFailed(f"a model cannot be read: {os.strerror(ctypes.get_errno())}")
    try:
        return ll.llama_model_load_from_file_ptr(file, params)
    finally:
        _libc.fclose(file)


def _load_shards(descriptors: list[int], params: Any) -> Any:
    paths = _paths(descriptors)
    if problem(ll._lib, paths):
        return None
    array = (ctypes.c_char_p * len(paths))(*map(bytes, _paths(descriptors)))
    return ll.llama_model_load_from_splits(array, len(paths), params)


def _paths(descriptors: list[int]) -> list[Path]:
    """Paths that mean the very files that are open, each read from its start: on macOS they share its position."""
    for fd in descriptors:
        os.lseek(fd, 0, os.SEEK_SET)
    return [Path(f"/dev/fd/{fd}") for fd in descriptors]


@contextmanager
def _opened(sources: Sequence[Source]) -> Iterator[list[int]]:
    """Descriptors of our own of the files."""
    found: list[int] = []
    try:
        for source in sources:
            found.append(_descriptor(source))
        yield found
    finally:
        for fd in found:
            os.close(fd)


def _descriptor(source: Source) -> int:
    try:
        fd = os.dup(source) if isinstance(source, int) else os.open(source, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise LoadFailed(f"{source}: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise LoadFailed(f"{source}: not a regular file")
    return fd


def _unfit(model: Any, vocab: Any) -> str | None:
    """Why a model that loads cannot be run; each reason would abort the process later."""
    if ll.llama_vocab_type(vocab) == 0:
        return "the file has no vocabulary"
    if ll.llama_model_has_encoder(model) or not ll.llama_model_has_decoder(model):
        return "an encoder model, which does not continue text"
    return None
