"""Triton's interpreter, in a process of its own.

    test ── pickle of (function, arguments) ──► worker, where TRITON_INTERPRET=1 ── result or exception ──► test

Triton decides as a kernel is decorated whether to interpret it, and while it interprets it patches its own language for
the whole process. Tests that compile kernels would suffer, so the launches that are to be interpreted run in a worker:
this file as a program, one for each test process, started at the first call, gone when the tests' end of its pipe is.
The interpreter multiplies the raw bits of bfloat16 tensors: float32 and float16 are what it can be asked for.
"""

import functools
import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable
from typing import Any


@functools.cache
def _worker() -> subprocess.Popen[bytes]:
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)


def interpret(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What `function(*args, **kwargs)` returns where every Triton kernel that it launches is interpreted.

    The function is sent by its name, so it lies at the top of an importable module; arguments are copied, results come
    back, and what the function writes into an argument is lost. What it raises is raised here.
    """
    worker = _worker()
    assert worker.stdin is not None
    assert worker.stdout is not None
    pickle.dump((function, args, kwargs), worker.stdin)
    worker.stdin.flush()
    result, error = pickle.load(worker.stdout)
    if error is not None:
        raise error
    return result


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what kernels print goes to standard error
    while True:
        try:
            function, args, kwargs = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = function(*args, **kwargs), None
        except Exception as error:
            # By name and text, as not every exception can be pickled; Triton's own wrap what the kernel raised.
            kind = next((k for k in type(error).__mro__ if k.__module__ == "builtins"), Exception)
            answer = None, kind(f"in the interpreter: {error}\n{traceback.format_exc()}")
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    _serve()
