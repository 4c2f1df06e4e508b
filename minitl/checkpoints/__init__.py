"""Weights in and out: strict reading, atomic writing, names translated both ways."""
