"""Why a run failed, and whether starting it again can help.

Rules:
    1. Assertion errors, wrong settings and every other error of the work itself are permanent: the same run would fail
       again, or a flaky check would pass by luck.
    2. A kernel that died without a word is started again; so is what failed for memory, on fewer slots.
    3. Network and file system errors that pass are started again.
"""

from __future__ import annotations

import errno
import re
from typing import Literal

from symbio_lab.errors import KernelDiedError, NetworkUnavailableError, NotebookFailedError

FailureClass = Literal["dead_kernel", "out_of_memory", "transient", "permanent", "timeout", "cancelled"]
_NO_MEMORY = re.compile(
    r"MemoryError|OutOfMemoryError|CUDA out of memory|not enough memory|Cannot allocate memory|"
    r"CUBLAS_STATUS_ALLOC_FAILED"
)
_PASSING = re.compile(
    r"ConnectionError|ConnectionResetError|ConnectTimeout|ReadTimeout|TimeoutError|BrokenPipeError|RemoteDisconnected|"
    r"IncompleteRead|HTTPError: (429|5\d\d)|Temporary failure in name resolution"
)
_PASSING_ERRNO = {errno.EIO, errno.EAGAIN, errno.ESTALE, errno.ETIMEDOUT, errno.ECONNRESET, errno.EINTR}


def failure_class(error: BaseException) -> FailureClass:
    """Return the class of an error that stopped a run.

    >>> failure_class(NotebookFailedError("a.ipynb stopped in cell 3: AssertionError: 1 != 2"))
    'permanent'
    >>> failure_class(NotebookFailedError("a.ipynb stopped in cell 3: OutOfMemoryError: CUDA out of memory"))
    'out_of_memory'
    >>> failure_class(RuntimeError("Kernel died before replying to kernel_info"))
    'dead_kernel'
    """
    text = str(error)
    # The second one is jupyter_client's: the kernel was gone before it said its first word.
    if isinstance(error, KernelDiedError) or (isinstance(error, RuntimeError) and text.startswith("Kernel died")):
        return "dead_kernel"
    if isinstance(error, NotebookFailedError) and re.search(r"stopped in cell \S+ AssertionError", text):
        return "permanent"
    if isinstance(error, MemoryError) or _NO_MEMORY.search(text):
        return "out_of_memory"
    if isinstance(error, NetworkUnavailableError | ConnectionError | TimeoutError):
        return "transient"
    if isinstance(error, OSError) and error.errno in _PASSING_ERRNO:
        return "transient"
    if isinstance(error, NotebookFailedError) and _PASSING.search(text):
        return "transient"
    return "permanent"
