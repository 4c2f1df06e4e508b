"""What reports are made of: numbers as text, drawings, verdicts, and pages of one file."""
