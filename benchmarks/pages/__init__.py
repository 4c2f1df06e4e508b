"""README.md and docs/ say what was measured, and where the code stands: `python -m benchmarks.pages`.

filling     the tables between markers, made from benchmarks/results/
studies     the tables of the study of five ways
recipes     those of what the recipes reach
lora        those of the LoRA layer
lines       the lines of the code that a page links by a name
"""
