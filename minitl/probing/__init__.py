"""What each layer of a model knows: probes on frozen representations, and the controls that keep them honest."""
