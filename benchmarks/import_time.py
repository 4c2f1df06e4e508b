"""What an import costs, in a fresh process each time: `python -m benchmarks.import_time`.

The clock runs inside the process, around the import alone: the interpreter's own start is not counted. Each import is
taken as a user meets it from the second time on, with compiled bytecode and the files in the page cache.
"""

import json
import subprocess
import sys

from benchmarks.protocol import ROOT, Sample, Side, compare, environment, peers_python, save

SCRIPT = """
import time
start = time.perf_counter()
{statement}
seconds = time.perf_counter() - start
import json
from benchmarks.workers import peak_memory
print(json.dumps({{"seconds": seconds, "memory": peak_memory()}}))
"""


def fresh_import(statement: str, python: str = sys.executable) -> Side:
    """A side that runs an import statement in a new process."""

    def run() -> Sample:
        command = [python, "-c", SCRIPT.format(statement=statement)]
        output = subprocess.check_output(command, cwd=ROOT, env=environment(), text=True)
        return Sample(**json.loads(output.splitlines()[-1]))

    return run


def main() -> None:
    peers = peers_python()
    bare = {
        "import minitl": fresh_import("import minitl"),
        "import torch": fresh_import("import torch"),
        "import transformers": fresh_import("import transformers", peers),
    }
    # Both libraries import late: what a program pays for is the names with which it loads a model.
    loaders = {
        "minitl": fresh_import("from minitl import load_model, load_tokenizer"),
        "torch alone": fresh_import("import torch"),
        "transformers": fresh_import("from transformers import AutoModel, AutoTokenizer", peers),
    }
    rows = [compare("the bare package", bare), compare("what loads a model and its tokenizer", loaders)]
    print(save("import_time", "Import", rows))


if __name__ == "__main__":
    main()
