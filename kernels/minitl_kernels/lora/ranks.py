"""What a rank is padded to: the matrix units multiply tiles whose inner side is a power of two, at least 16."""


def padded_rank(r: int) -> int:
    """The next power of two from r, at least 16: the columns in which the Triton kernels compute and store S."""
    return max(16, 1 << (r - 1).bit_length())
