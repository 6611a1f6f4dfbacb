"""Detection on one volume: export, child process, a second try on the CPU, temporary folder removed at the end."""

import logging
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import slicer
from slicer.i18n import tr as _

from .engineProcess import FAILED, EngineProcess, Outcome
from .volumeNodes import ijkToRas


@dataclass(frozen=True)
class DetectionOptions:
    """What the user chose."""

    modality: str
    model: str
    operatingPoint: str


class DetectionRun:
    """One detection. `onFinished(run, outcome)` is called once; the result's files exist until it returns."""

    def __init__(self, volumeNode, options, command, onProgress, onFinished):
        self.volumeNode = volumeNode
        self._options = options
        self._command = command
        self._onProgress = onProgress
        self._onFinished = onFinished
        self._folder = None
        self._imagePath = None
        self._geometry = None
        self._process = None

    def start(self):
        """Export the volume and start the engine.

        Raises
        ------
        OSError
            If the volume cannot be written to the temporary folder.
        """
        self._folder = Path(tempfile.mkdtemp(prefix="CMBDetection-", dir=slicer.app.temporaryPath))
        try:
            self._imagePath = exportVolume(self.volumeNode, self._folder)
        except OSError:
            self._removeFolder()
            raise
        self._geometry = ijkToRas(self.volumeNode)
        self._startEngine("auto")

    def cancel(self):
        """End the run soon, with an outcome."""
        self._process.cancel()

    def stop(self):
        """End the run before returning, without an outcome."""
        self._onFinished = None
        if self._process is not None:
            self._process.stop()
        self._removeFolder()

    def volumeIsUnchanged(self) -> bool:
        """Whether the volume is still in the scene and where its voxels were when it was exported."""
        return bool(slicer.mrmlScene.IsNodePresent(self.volumeNode)
                    and np.array_equal(self._geometry, ijkToRas(self.volumeNode)))

    def _startEngine(self, device):
        self._process = EngineProcess(self._command, self._onProgress,
                                      lambda outcome: self._onEngineFinished(outcome, device))
        self._process.start(detectArguments(self._imagePath, self._folder / "result", self._options, device))

    def _onEngineFinished(self, outcome: Outcome, device):
        if outcome.status == FAILED and outcome.kind == "cuda_memory" and device != "cpu":
            self._onProgress(0.0, _("GPU memory ran out, starting again on the CPU"))
            self._startEngine("cpu")
            return
        onFinished, self._onFinished = self._onFinished, None
        try:
            if onFinished is not None:
                onFinished(self, outcome)
        finally:
            self._removeFolder()

    def _removeFolder(self):
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            if self._folder.exists():
                logging.warning("CMBDetection: the temporary folder %s could not be removed", self._folder)


def detectArguments(imagePath, folder, options, device="auto") -> list[str]:
    """Return the engine's arguments for a detection in an image file with its results in a folder."""
    arguments = ["detect", str(imagePath), "-o", str(folder), "--progress", "json", "--exit-with-stdin",
                 "--improbable-regions", "--modality", options.modality, "--operating-point", options.operatingPoint,
                 "--device", device]
    return [*arguments, "--model", options.model] if options.model else arguments


def fileNameOf(volumeNode) -> str:
    """Return the name of a volume as a file can have it everywhere."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", volumeNode.GetName() or "").strip("._-")[:80] or "volume"


def exportVolume(volumeNode, folder: Path) -> Path:
    """Write `volumeNode` in its own RAS (parent transforms not applied) to a file that carries its name.

    Raises
    ------
    OSError
        If Slicer cannot write the file.
    """
    path = folder / f"{fileNameOf(volumeNode)}.nrrd"
    if not slicer.util.exportNode(volumeNode, str(path), {"useCompression": 0}):
        raise OSError(_("The volume {name} could not be written to {folder}; check that the disk is not full.").format(
            name=volumeNode.GetName(), folder=folder))
    return path
