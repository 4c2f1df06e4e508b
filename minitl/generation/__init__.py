"""Text generation: a causal model continues a prompt, an encoder-decoder answers a source."""

from minitl.generation.generate import generate as generate
from minitl.generation.generate import stream as stream
