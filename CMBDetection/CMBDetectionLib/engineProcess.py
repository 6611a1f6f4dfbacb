"""One run of ``python -m microbleeds`` as a child process that talks in JSON lines.

The child ends when its stdin closes. That is how it is cancelled, because ``PythonSlicer`` is a launcher: killing it
leaves the interpreter behind it running. It also ends the child when Slicer crashes.
"""

import json
import logging
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

import qt
from slicer.i18n import tr as _

DONE, CANCELLED, FAILED = "done", "cancelled", "failed"
_EXIT_CODES_OF_KILL = (9, 137)
"""After SIGKILL, as seen directly and through a shell."""
_LAUNCHER_SAW_CRASH = b"exit abnormally"
"""What PythonSlicer writes, with exit code 1, when the interpreter behind it was killed or crashed."""
_GRACE_MS = 1400
"""The engine takes up to a second to remove what it was writing."""
_LOG_LENGTH = 8000


@dataclass(frozen=True)
class EngineCommand:
    """How the engine is started: program, and the arguments before ``detect``."""

    program: str
    arguments: tuple[str, ...] = ("-m", "microbleeds")


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    `status` is done, cancelled or failed; `kind` is the engine's error kind when failed (``input``, ``memory``,
    ``cuda_memory``, ``crash``, ...); `message` is the sentence to show; `files` are the result's paths by role,
    `questions` what a reader has to answer (see `microbleeds.export.pair_answers.Question`).
    """

    status: str
    kind: str = ""
    message: str = ""
    files: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    questions: tuple[dict, ...] = ()


def defaultCommand() -> EngineCommand:
    """Return Slicer's own interpreter running the engine."""
    return EngineCommand(shutil.which("PythonSlicer") or sys.executable)


class EngineProcess:
    """Starts one child; calls `onProgress(fraction, text)` any number of times and `onFinished(Outcome)` once.

    Whoever started it may forget it in `onFinished`: the QProcess must not die inside its own signal, and does not.
    """

    def __init__(self, command, onProgress, onFinished):
        self._command = command
        self._onProgress = onProgress
        self._onFinished = onFinished
        self._pending = b""
        self._log = b""
        self._error = None
        self._files = None
        self._questions = []
        self._warnings = []
        self._cancelled = False
        self._process = qt.QProcess()
        self._killTimer = qt.QTimer()
        self._killTimer.setSingleShot(True)

    def start(self, arguments):
        """Start the engine with `arguments` (``["detect", ...]``)."""
        self._process.setProcessEnvironment(_environment())
        for sender, signal, slot in self._connections():
            sender.connect(signal, slot)
        self._process.start(self._command.program, [*self._command.arguments, *arguments])

    def isRunning(self) -> bool:
        """Whether the child is there."""
        return self._process.state() != qt.QProcess.NotRunning

    def cancel(self):
        """Ask the child to end, kill it if it does not; `onFinished` follows."""
        self._cancelled = True
        self._process.closeWriteChannel()
        self._killTimer.start(_GRACE_MS)

    def stop(self):
        """End the child before returning; nothing is called."""
        self._onFinished = None
        self._cancelled = True
        self._killTimer.stop()
        if self.isRunning():
            self._process.closeWriteChannel()
            if not self._process.waitForFinished(_GRACE_MS):
                self._process.kill()
                self._process.waitForFinished(_GRACE_MS)

    def _kill(self):
        if self.isRunning():
            self._process.kill()

    def _connections(self):
        """Return sender, signal and slot of each connection."""
        process = self._process
        return ((process, "readyReadStandardOutput()", self._readOutput),
                (process, "readyReadStandardError()", self._readLog),
                (process, "finished(int,QProcess::ExitStatus)", self._onExit),
                (process, "errorOccurred(QProcess::ProcessError)", self._onError),
                (self._killTimer, "timeout()", self._kill))

    def _letGo(self):
        """Disconnect what has ended: QProcess and its slots would keep each other alive for good."""
        for sender, signal, slot in self._connections():
            sender.disconnect(signal, slot)

    def _readOutput(self):
        self._pending += _bytes(self._process.readAllStandardOutput())
        *lines, self._pending = self._pending.split(b"\n")
        for line in lines:
            self._onLine(line)

    def _onLine(self, line):
        try:
            event = json.loads(line.decode("utf-8"))
        except ValueError:  # libraries write to stdout too
            return
        name = event.get("event") if isinstance(event, dict) else None
        if name == "progress" and not self._cancelled:
            self._onProgress(float(event["fraction"]), event["message"])
        elif name == "warning":
            self._warnings.append(event["message"])
        elif name == "error":
            self._error = (event["kind"], event["message"])
        elif name == "result":
            self._files, self._questions = event["files"], event.get("questions", [])

    def _readLog(self):
        self._log = (self._log + _bytes(self._process.readAllStandardError()))[-_LOG_LENGTH:]

    def _onError(self, error):
        if error == qt.QProcess.FailedToStart:
            qt.QTimer.singleShot(0, self._letGo)
            self._finish(Outcome(FAILED, "start", _(
                "The engine could not start: the Python interpreter {program} was not found. "
                "Install Slicer again.").format(program=self._command.program)))

    def _onExit(self, exitCode, exitStatus):
        # after this signal; until then the timer keeps the process alive
        qt.QTimer.singleShot(0, self._letGo)
        self._killTimer.stop()
        self._readOutput()
        self._readLog()
        if self._cancelled:
            self._finish(Outcome(CANCELLED))
            return
        crashed = exitStatus == qt.QProcess.CrashExit
        if self._error:
            self._finish(Outcome(FAILED, *self._error))
        elif self._files and exitCode == 0 and not crashed:
            self._finish(Outcome(DONE, files=self._files, warnings=tuple(self._warnings),
                                 questions=tuple(self._questions)))
        elif exitCode in _EXIT_CODES_OF_KILL or _LAUNCHER_SAW_CRASH in self._log:
            self._finish(Outcome(FAILED, "memory", _(
                "The system stopped the engine, most likely because memory ran out. "
                "Close other volumes and programs, then try again.")))
        else:
            self._finish(Outcome(FAILED, "crash", _(
                "The engine ended unexpectedly (exit code {code}). The error log holds the details.").format(
                    code=exitCode)))

    def _finish(self, outcome):
        onFinished, self._onFinished = self._onFinished, None
        if onFinished is None:
            return
        if outcome.status == FAILED:
            logging.error("CMBDetection: %s\n%s", outcome.message, self._log.decode("utf-8", "replace"))
        onFinished(outcome)


def _bytes(byteArray) -> bytes:
    # PythonQt gives bytes, but str or None in some of its versions
    data = byteArray.data() or b""
    return data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data


def _environment():
    environment = qt.QProcessEnvironment.systemEnvironment()
    moduleFolder = str(Path(__file__).resolve().parents[1])
    separator = ";" if sys.platform == "win32" else ":"
    before = environment.value("PYTHONPATH", "")
    environment.insert("PYTHONPATH", moduleFolder + (separator + before if before else ""))
    environment.insert("PYTHONIOENCODING", "utf-8")
    environment.insert("PYTHONUNBUFFERED", "1")
    return environment
