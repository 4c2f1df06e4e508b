"""Text to token ids and back: one file per algorithm, one table of families, one `Tokenizer` over all of them.

Read in this order: `loading` (which files of a folder are used), `settings` (what the configuration files say),
`families` (what they leave unsaid), `wordpiece`, `byte_level_bpe`, `sentencepiece_model` (the algorithms),
`inputs`, `tokenizer` and `batch` (what the rest of the library calls).
"""

from minitl.tokenization.batch import Batch, Row, Window
from minitl.tokenization.loading import load_tokenizer
from minitl.tokenization.tokenizer import Tokenizer

__all__ = ["Batch", "Row", "Tokenizer", "Window", "load_tokenizer"]
