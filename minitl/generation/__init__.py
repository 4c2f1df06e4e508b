"""Text generation: a causal model continues a prompt, an encoder-decoder answers a source."""

from minitl.generation.generate import generate as generate
from minitl.generation.generate import stream as stream
from minitl.generation.published import generation_options as generation_options
from minitl.generation.text import TextStream as TextStream
from minitl.generation.text import stream_text as stream_text
