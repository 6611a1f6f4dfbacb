"""The tab of the export: which forms, where to, what to compare with; and the import of a review made elsewhere."""

import logging
import os
from pathlib import Path

import qt
from microbleeds.errors import InputError
from slicer.i18n import tr as _

from . import dependencies
from .engineProcess import CANCELLED, FAILED
from .exportRun import ExportOptions, ExportRun, isFromDicom
from .pairQuestions import PairQuestions
from .reviewImport import importReview

_FORMATS_SETTING, _FOLDER_SETTING = "CMBDetection/exportFormats", "CMBDetection/exportFolder"
_FIRST = ("page", "tables")
_COHORT = "cohort"
_MAX_WARNINGS = 2
_NEEDED = {"pdf": "reportlab", "dicom": "highdicom"}


def formatTexts() -> dict[str, tuple[str, str]]:
    """Return text and tool tip of every form, by the name that the engine gives it."""
    return {
        "page": (_("Report (HTML)"), _("Counts, bands, table, pictures, provenance; opens in a browser, prints on A4")),
        "pdf": (_("Report (PDF)"), _("The same as PDF; needs the Python package reportlab")),
        "tables": (_("Tables (TSV, CSV)"), _("One row per finding, and one per subject")),
        _COHORT: (_("Cohort table"), _("Adds a row to cmb_cohort.tsv in the folder; several people may do so at once")),
        "points": (_("Points"), _("All findings as .mrk.json and .fcsv for 3D Slicer")),
        "segmentation": (_("Segmentation"), _("Microbleeds as .seg.nrrd")),
        "labels": (_("Label map"), _("Microbleeds as .nii.gz on the grid of the scan")),
        "bids": (_("BIDS derivative"), _("Mask, labels and table with data dictionary in the folder bids")),
        "dicom": (_("DICOM SEG and SR"), _("For scans that were loaded from DICOM")),
        "training": (_("Training set"), _("Image, labels and split for cmbdetect finetune, in the folder training")),
        "nnunet": (_("nnU-Net data set"), _("Raw data set in the folder nnUNet_raw"))}


class ExportControls:
    """`session()` returns the review that is shown or None, `show(number)` brings the views to a finding, `say(text)`
    shows a message, with details in its tool tip if given."""

    def __init__(self, ui, session, show, say, command):
        self.ui = ui
        self._session = session
        self._say = say
        self._command = command
        self._run = None
        self._baseline = ""
        self._questions = PairQuestions(ui, session, show, say)
        self._fillList()
        ui.exportFolderButton.connect("clicked(bool)", self._onFolderClicked)
        ui.exportBaselineButton.connect("clicked(bool)", self._onBaselineClicked)
        ui.exportButton.connect("clicked(bool)", self._onExportClicked)
        ui.importButton.connect("clicked(bool)", self._onImportClicked)
        ui.exportList.connect("itemChanged(QListWidgetItem*)", self._onChoice)
        self._showFolder(str(qt.QSettings().value(_FOLDER_SETTING) or ""))
        self._showBaseline("")

    def _fillList(self):
        chosen = str(qt.QSettings().value(_FORMATS_SETTING) or " ".join(_FIRST)).split()
        for name, (text, toolTip) in formatTexts().items():
            item = qt.QListWidgetItem(text)
            item.setToolTip(toolTip)
            item.setData(qt.Qt.UserRole, name)
            item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsUserCheckable)
            item.setCheckState(qt.Qt.Checked if name in chosen else qt.Qt.Unchecked)
            self.ui.exportList.addItem(item)

    def close(self):
        """Stop a running export."""
        run, self._run = self._run, None
        if run is not None:
            run.stop()

    def sessionChanged(self):
        """Another review is shown: a baseline belongs to one subject."""
        self._showBaseline("")
        self.update()

    def update(self):
        """Enable what can be done."""
        session, running = self._session(), self._run is not None
        self.ui.exportButton.setText(_("Cancel") if running else _("Export"))
        self.ui.exportButton.setEnabled(running or (session is not None and bool(self._folder and self._chosen())))
        self.ui.exportBaselineButton.setEnabled(session is not None and not running)
        self.ui.importButton.setEnabled(session is not None)

    def _chosen(self) -> list[str]:
        items = [self.ui.exportList.item(row) for row in range(self.ui.exportList.count)]
        return [item.data(qt.Qt.UserRole) for item in items if item.checkState() == qt.Qt.Checked]

    def _onChoice(self, item):
        qt.QSettings().setValue(_FORMATS_SETTING, " ".join(self._chosen()))
        self.update()

    def _onFolderClicked(self, checked=False):
        folder = qt.QFileDialog.getExistingDirectory(self.ui.exportList, _("Folder for the export"), self._folder)
        if folder:
            qt.QSettings().setValue(_FOLDER_SETTING, folder)
            self._showFolder(folder)

    def _showFolder(self, folder):
        self._folder = folder
        self.ui.exportFolderLabel.setText(folder or _("No folder chosen"))
        self.ui.exportFolderLabel.setToolTip(folder)
        self.update()

    def _onBaselineClicked(self, checked=False):
        """Choose an earlier scan, or take the choice back."""
        if self._baseline:
            self._showBaseline("")
            return
        chosen = qt.QFileDialog.getOpenFileName(self.ui.exportList, _("Earlier scan, with its review beside it"),
                                                self._folder, "*.nii.gz *.nii *.nrrd *.mha *.mhd")
        # with its filter where Qt is used from Python directly
        path = chosen[0] if isinstance(chosen, tuple) else chosen
        if path:
            self._showBaseline(path)

    def _showBaseline(self, path):
        self._baseline = path
        self._questions.forget()
        self.ui.exportBaselineLabel.setText(Path(path).name if path else _("Not compared"))
        self.ui.exportBaselineLabel.setToolTip(path)
        self.ui.exportBaselineButton.setText(_("Forget") if path else _("Baseline…"))

    def _onImportClicked(self, checked=False):
        chosen = qt.QFileDialog.getOpenFileName(self.ui.exportList, _("Review made elsewhere"), self._folder,
                                                "*.nii.gz *.nii *.nrrd *.mha *.json *.fcsv *.tsv *.csv")
        path = chosen[0] if isinstance(chosen, tuple) else chosen
        if path:
            try:
                self._say(importReview(self._session(), path))
            except InputError as error:
                self._say(str(error))

    # The run

    def _onExportClicked(self, checked=False):
        if self._run is not None:
            self._run.cancel()
            return
        session, formats = self._session(), self._chosen()
        if "dicom" in formats and not isFromDicom(session.volumeNode):
            self._say(_("This volume was not loaded from DICOM, so no DICOM objects can be made of it; "
                        "take away their tick."))
            return
        for name in formats:
            problem = dependencies.ensurePackage(_NEEDED[name]) if name in _NEEDED else ""
            if problem:
                self._say(problem)
                return
        self._start(session, formats)

    def _start(self, session, formats):
        options = ExportOptions(
            tuple(name for name in formats if name != _COHORT), self._folder, self.ui.exportUnreviewedCheck.checked,
            self.ui.exportOverwriteCheck.checked, self._baseline, self._questions.answersFile(),
            str(Path(self._folder) / "cmb_cohort.tsv") if _COHORT in formats else "")
        self._run = ExportRun(session, options, self._command, self._onProgress, self._onFinished)
        self._say(_("Exporting…"))
        try:
            self._run.start()
        except OSError as error:
            logging.exception("CMBDetection: export could not start")
            self._run = None
            self._say(str(error))
        self.update()

    def _onProgress(self, fraction, text):
        self._say(f"{text} {round(100 * fraction)} %")

    def _onFinished(self, outcome):
        self._run = None
        if outcome.status == FAILED:
            self._say(outcome.message)
        elif outcome.status == CANCELLED:
            self._say(_("Export cancelled; each file that is there is whole."))
        else:
            self._sayDone(outcome.warnings, self._asked(outcome))
            page = outcome.files.get("page")
            if page and os.path.isfile(page) and self.ui.exportOpenCheck.checked:
                qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(page))
        self.update()

    def _sayDone(self, warnings, questions):
        """Many warnings would push the questions out of sight: the report has them too."""
        lines = [_("Exported to {folder}").format(folder=self._folder), *questions]
        if questions and len(warnings) > _MAX_WARNINGS:
            lines.append(_("{count} remarks: in the report, and here under the mouse.").format(count=len(warnings)))
        else:
            lines += warnings
        self._say("\n".join(lines), "\n".join(warnings))

    def _asked(self, outcome) -> list[str]:
        """Show the questions of the comparison and return what to do about them."""
        self._questions.take(outcome.questions)
        if not self._questions.openCount:
            return []
        return [_("{count} of the microbleeds may be new or not: answer below the baseline, then export again with "
                  "\"Replace files\".").format(count=self._questions.openCount)]
