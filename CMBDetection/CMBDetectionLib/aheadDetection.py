"""Detection on image files, one at a time in the background, with the results kept for when a reader gets there."""

from .detectionRun import detectArguments
from .engineProcess import FAILED, EngineProcess


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
        self._run = 0
        self._processes = []
        """Those that run; one that was cancelled may take a moment to end."""

    def start(self, case, folder, options, device="auto"):
        """Detect in a case; a run on another one is cancelled, without waiting for its end."""
        self.cancel()
        self.case = case
        self._run += 1
        run = self._run
        self._processes = [one for one in self._processes if one.isRunning()]
        process = EngineProcess(self._command, lambda fraction, text: self._tell(run, fraction, text),
                                lambda outcome: self._finish(run, outcome, (case, folder, options, device)))
        self._processes.append(process)
        process.start(detectArguments(case.image, folder, options, device))

    def cancel(self):
        """End the run soon; nothing more is called."""
        if self.case is not None:
            self.case = None
            self._run += 1
            self._processes[-1].cancel()

    def stop(self):
        """End all runs before returning; nothing more is called."""
        self.case = None
        self._run += 1
        for process in self._processes:
            process.stop()
        self._processes = []

    def _tell(self, run, fraction, text):
        if run == self._run:
            self._onProgress(self.case, fraction, text)

    def _finish(self, run, outcome, job):
        if run != self._run:
            return
        self.case = None
        case, folder, options, device = job
        if outcome.status == FAILED and outcome.kind == "cuda_memory" and device != "cpu":
            self.start(case, folder, options, "cpu")
        else:
            self._onFinished(case, outcome)
