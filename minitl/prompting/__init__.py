"""Classification without training: the question is put into words, and a language model answers it."""

from minitl.prompting.calibration import CONTENT_FREE as CONTENT_FREE
from minitl.prompting.classifier import PromptClassifier as PromptClassifier
