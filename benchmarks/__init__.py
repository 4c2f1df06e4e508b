"""Measurements against the peer libraries; see `benchmarks.protocol` for how every one of them is taken."""
