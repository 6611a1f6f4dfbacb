"""One export: the scan and its review as files, child process, temporary folder removed at the end."""

import logging
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import slicer
from microbleeds.outputs import FILE_NAMES
from microbleeds.read_write import scan_stem, write_text
from microbleeds.review_files import FILE_NAME

from .detectionRun import exportVolume, fileNameOf
from .engineProcess import EngineProcess
from .volumeNodes import imageFileOf

_INSTANCES = "DICOM.instanceUIDs"


@dataclass(frozen=True)
class ExportOptions:
    """What the user chose; `formats` as `cmbdetect export` names them; `baseline`, `answers` (on pairs with it) and
    `cohortTable` may be ""."""

    formats: tuple
    folder: str
    unreviewed: bool = False
    overwrite: bool = False
    baseline: str = ""
    answers: str = ""
    cohortTable: str = ""


class ExportRun:
    """Exports one review. `onFinished(outcome)` is called once."""

    def __init__(self, session, options, command, onProgress, onFinished):
        self._session = session
        self._options = options
        self._onFinished = onFinished
        self._folder = None
        self._process = EngineProcess(command, onProgress, self._finish)

    def start(self):
        """Write what the engine needs and start it.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        self._folder = Path(tempfile.mkdtemp(prefix="CMBDetection-", dir=slicer.app.temporaryPath))
        try:
            image = _scanOf(self._session.volumeNode, self._folder)
            review = self._folder / FILE_NAME.format(scan_stem(image))
            write_text(review, self._session.text())
            self._session.writeRegions(self._folder / FILE_NAMES["labels"].format(scan_stem(image)))
        except OSError:
            self._removeFolder()
            raise
        self._process.start(exportArguments(image, review, self._options))

    def cancel(self):
        """End the run soon, with an outcome."""
        self._process.cancel()

    def stop(self):
        """End the run before returning, without an outcome."""
        self._onFinished = None
        self._process.stop()
        self._removeFolder()

    def _finish(self, outcome):
        onFinished, self._onFinished = self._onFinished, None
        try:
            if onFinished is not None:
                onFinished(outcome)
        finally:
            self._removeFolder()

    def _removeFolder(self):
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            if self._folder.exists():
                logging.warning("CMBDetection: the temporary folder %s could not be removed", self._folder)


def exportArguments(image, review, options) -> list[str]:
    """Return the engine's arguments for an export."""
    arguments = ["export", str(image), "--review", str(review), "-o", options.folder, "--progress", "json",
                 "--exit-with-stdin"]
    if options.formats:
        arguments += ["--formats", *options.formats]
    answers = options.answers if options.baseline else ""
    for name, value in (("--baseline", options.baseline), ("--answers", answers),
                        ("--cohort-table", options.cohortTable)):
        arguments += [name, value] if value else []
    for name, wanted in (("--unreviewed", options.unreviewed), ("--overwrite", options.overwrite)):
        arguments += [name] if wanted else []
    return arguments


def isFromDicom(volumeNode) -> bool:
    """Whether the files of the DICOM series that a volume came from are known and there."""
    return bool(_instanceFiles(volumeNode))


def _scanOf(volumeNode, folder):
    """Return where the scan can be read: its DICOM series, its own file if nothing has changed since, else a copy."""
    files = _instanceFiles(volumeNode)
    if files:
        # a folder may hold more than one series
        series = folder / fileNameOf(volumeNode)
        series.mkdir()
        for number, path in enumerate(files):
            shutil.copyfile(path, series / f"{number:05d}.dcm")
        return series
    image = imageFileOf(volumeNode)
    if image is not None and not volumeNode.GetModifiedSinceRead():
        return image
    return exportVolume(volumeNode, folder)


def _instanceFiles(volumeNode):
    instances = (volumeNode.GetAttribute(_INSTANCES) or "").split() if volumeNode is not None else []
    database = getattr(slicer, "dicomDatabase", None)
    files = [database.fileForInstance(uid) for uid in instances] if database is not None else []
    return files if files and all(path and os.path.isfile(path) for path in files) else []
