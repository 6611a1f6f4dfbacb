"""Refuses whatever reaches beyond a process's machine by a socket, and writes down what tried.

Two layers. An audit hook sees what Python does with sockets, whatever module it comes from, and every name that is
looked up; it raises `NetworkRefused`. Sockets within the machine (AF_UNIX) stay free, and so does making a socket that
goes nowhere or listens to this machine only. Libraries that are not Python's are beyond the hook: on Linux the kernel
can end a process that so much as makes an internet socket (`die_of_sockets`), with SIGSYS. Processes that a guarded one
starts are guarded too, by both: the first through ``sitecustomize``, the second because the kernel hands it on.

Only the standard library, because a real Slicer runs it too.
"""

import ctypes
import os
import platform
import socket
import struct
import sys
import traceback
from contextlib import contextmanager
from pathlib import Path

_LOCAL = {getattr(socket, "AF_UNIX", None)} - {None}
_HARMLESS = {"socket.__new__", "socket.gethostname", "socket.sethostname"}
_THIS_MACHINE = {"127.0.0.1", "::1"}
_log: list[Path | None] = []
"""Where attempts are written to; None or nothing: they are not refused."""


class NetworkRefused(OSError):
    """A socket was asked for that reaches beyond the machine."""


@contextmanager
def refused(log: Path):
    """Refuse sockets of this process and of Python processes started by it while the block runs."""
    begin(log)
    before = os.environ.get("PYTHONPATH")
    os.environ.update(child_environment(log))
    try:
        yield
    finally:
        _log.append(None)
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def child_environment(log: Path) -> dict[str, str]:
    """Return what guards a Python process from its start; it makes a ``sitecustomize`` beside `log`."""
    folder = log.parent / "guard"
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(
        f"import sys\nsys.path.append({str(Path(__file__).parent)!r})\nimport network_guard\n"
        f"network_guard.begin(network_guard.Path({str(log)!r}))\n",
        encoding="utf-8")
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths)}


def begin(log: Path) -> None:
    """Refuse sockets from now on."""
    if not _log:
        # an audit hook stays for good
        sys.addaudithook(_audit)
    _log.append(log)


def die_of_sockets() -> None:
    """Have the kernel end this process and its children when they make an internet socket; Linux only.

    Raises
    ------
    OSError
        If the kernel does not do that here.
    """
    machine = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}.get(platform.machine())
    if not sys.platform.startswith("linux") or machine is None:
        raise OSError("no filter of system calls for this system")
    architecture, socket_call = machine
    load, equal, end = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K
    allow, kill = 0x7FFF0000, 0x80000000
    program = [(load, 0, 0, 4), (equal, 0, 5, architecture), (load, 0, 0, 0), (equal, 0, 3, socket_call),
               (load, 0, 0, 16), (equal, 2, 0, socket.AF_INET), (equal, 1, 0, socket.AF_INET6), (end, 0, 0, allow),
               (end, 0, 0, kill)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    filter_program = struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))
    library = ctypes.CDLL(None, use_errno=True)
    no_new_privileges, set_seccomp, mode_filter = 38, 22, 2
    if library.prctl(no_new_privileges, 1, 0, 0, 0) or library.prctl(set_seccomp, mode_filter, filter_program, 0, 0):
        raise OSError(ctypes.get_errno(), "the kernel takes no filter of system calls")


def _audit(event: str, arguments: tuple) -> None:
    if not event.startswith("socket.") or event in _HARMLESS or _log[-1] is None:
        return
    first = arguments[0] if arguments else None
    if getattr(first, "family", None) in _LOCAL:
        return
    if event == "socket.bind" and arguments[1][0] in _THIS_MACHINE:
        return
    told = [repr(value) for value in arguments if not isinstance(value, socket.socket)]
    with open(_log[-1], "a", encoding="utf-8") as file:
        file.write(f"{event} {' '.join(told)}\n{''.join(traceback.format_stack()[:-1])}\n")
    raise NetworkRefused(f"{event} {' '.join(told)} is refused by the test")
