"""What a model is taught: one file per task."""
