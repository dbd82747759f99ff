"""What the gateway holds in memory, and what it does without."""

import subprocess
import sys

IMPORTS = """
import sys
import gateway.app
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
HEAPS = """
import ctypes, threading
from gateway.allocator import prepare_heap
if {prepared}:
    prepare_heap()
thread = threading.Thread(target=lambda: bytes(100_000))
thread.start()
thread.join()
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
stdout = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, stdout)
libc.fflush(stdout)
"""
FAULTS = """
import resource
from gateway.allocator import prepare_heap
if {prepared}:
    prepare_heap()
for _ in range(20):
    arrays = [bytearray(b"1") * (1 << 20) for _ in range(4)]
    del arrays
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


def python(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True)
    return done.stdout.decode()


def test_what_few_need_is_imported_when_they_need_it() -> None:
    found = python(IMPORTS).split()
    assert "aiohttp" in found
    assert not {"paho", "rich", "psutil", "sqlite_utils", "pyarrow"} & set(found)


def test_all_threads_prepare_heap() -> None:
    """That they do not do so by themselves shows that it matters, and that it can be seen."""
    assert python(HEAPS.format(prepared=False)).count("<heap nr=") > 1
    assert python(HEAPS.format(prepared=True)).count("<heap nr=") == 1


def test_memory_of_one_commit_serves_the_next_one() -> None:
    """By default the kernel would take each page back, and zero it again."""
    fresh, kept = (int(python(FAULTS.format(prepared=prepared))) for prepared in (False, True))
    assert fresh - kept > 10_000
