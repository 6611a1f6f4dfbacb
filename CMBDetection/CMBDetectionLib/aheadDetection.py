"""Detection on image files, one at a time in the background, with the results kept for when a reader gets there."""

from .detectionRun import detectArguments
from .engineProcess import EngineProcess


class AheadDetection:
    """Runs the engine on the cases of a work list.

    `onProgress(case, fraction, text)` any number of times, `onFinished(case, outcome)` once per run that was not
    stopped.

    Attributes
    ----------
    case : work_list.Case or None
        The one that is running.
    """

    def __init__(self, command, onProgress, onFinished):
        self.case = None
        self._command = command
        self._onProgress = onProgress
        self._onFinished = onFinished
        self._process = None
        self._former = None
        """Kept until the next one ends: a QProcess must not die inside its own signal."""

    def start(self, case, folder, options):
        """Detect in a case; a run on another one is stopped."""
        self.stop()
        self.case = case
        self._former = self._process
        self._process = EngineProcess(self._command, lambda fraction, text: self._onProgress(case, fraction, text),
                                      lambda outcome: self._finish(case, outcome))
        self._process.start(detectArguments(case.image, folder, options))

    def stop(self):
        """End the run before returning; nothing is called."""
        if self.case is not None:
            self.case = None
            self._process.stop()

    def _finish(self, case, outcome):
        self.case = None
        self._onFinished(case, outcome)
