"""A bounded reader of GGUF headers: it looks at a file before any parser in C does.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian.
"""

from .header import Array, GgufHeader, Scalar, Split, Tensor
from .quantization import parameters, quantization
from .reader import read_header

__all__ = ["Array", "GgufHeader", "Scalar", "Split", "Tensor", "parameters", "quantization", "read_header"]
