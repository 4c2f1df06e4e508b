"""Look into a model as it reads: activations by name, and a page that shows them."""

from minitl.inspect.trace import Trace, point_names, trace

__all__ = ["Trace", "point_names", "trace"]
