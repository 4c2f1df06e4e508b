"""Look into a model as it reads: activations by name, and a page that shows them."""

from minitl.inspect.look import Look, look
from minitl.inspect.page import write_page
from minitl.inspect.trace import Trace, point_names, trace

__all__ = ["Look", "Trace", "look", "point_names", "trace", "write_page"]
