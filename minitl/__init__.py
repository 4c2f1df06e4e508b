"""minitl: transfer learning in NLP from first principles, in pure PyTorch."""
