"""The work list: cases with their status, the next one loaded and detected in while one reads."""

import logging
import os
from dataclasses import replace
from pathlib import Path

import qt
import slicer
from microbleeds import work_list
from microbleeds.cohort.inputs import scan_of
from microbleeds.errors import InputError
from slicer.i18n import tr as _

from . import findingsMarkups, reviewStore
from .aheadDetection import AheadDetection
from .engineProcess import FAILED
from .volumeNodes import CASE_ATTRIBUTE, imageFileOf, removeWithOwn
from .widgets import setColumns

_LOAD_AHEAD_MS = 800
"""After a case is shown: reading the next file holds the window up for a moment."""
_DETECT_AHEAD = 2
_FOLDER_SETTING = "CMBDetection/cases"


class WorkListControls:
    """The tab of the cases. `panel` shows a case, `say(text)` shows a message, `ensureTorch()` as in the panel."""

    def __init__(self, ui, panel, say, command, ensureTorch):
        self.ui = ui
        self.cases = ()
        self.states = {}
        self._panel = panel
        self._say = say
        self._ensureTorch = ensureTorch
        self._detection = AheadDetection(command, self._onProgress, self._onDetected)
        self._results = None
        self._current = None
        self._volumes = {}
        """Volume nodes that the list has loaded, by case (not by name: another list may have the same names)."""
        self._torchIsThere = False
        self._problems = {}
        self._places = {}
        """Where reviews are that lie elsewhere than beside their image, as far as is known."""
        self._asked = ""
        """Name of the case that has open findings and was asked about."""
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.connect("timeout()", self._loadAhead)
        ui.casesFolderButton.connect("clicked(bool)", self._onFolderClicked)
        ui.casesTableButton.connect("clicked(bool)", self._onTableClicked)
        ui.nextCaseButton.connect("clicked(bool)", self._onNextClicked)
        ui.casesTable.connect("cellDoubleClicked(int,int)", self._onCaseDoubleClicked)
        self._setUpTable()
        self._show()

    def _setUpTable(self):
        setColumns(self.ui.casesTable, (
            (_("Case"), _("Name of the image")), (_("Status"), _("How far the case is")),
            (_("Reader"), _("Who finished it, or read in it last")),
            (_("Acc."), _("Findings accepted")), (_("Open"), _("Findings without a verdict"))), stretched=0)

    def close(self):
        """Stop what runs in the background; the reviews are saved already."""
        self._timer.stop()
        self._detection.stop()

    def forgetVolumes(self):
        """The scene is about to be closed: the volumes go, what runs in the background has nobody to show it to."""
        self._timer.stop()
        self._detection.cancel()
        self._renew(self._current)
        self._volumes = {}

    # Opening a list

    def _onFolderClicked(self, checked=False):
        folder = qt.QFileDialog.getExistingDirectory(self.ui.casesTable, _("Folder or BIDS tree of cases"),
                                                     str(qt.QSettings().value(_FOLDER_SETTING) or ""))
        if folder:
            self.open(Path(folder))

    def _onTableClicked(self, checked=False):
        chosen = qt.QFileDialog.getOpenFileName(self.ui.casesTable, _("Table of cases"),
                                                str(qt.QSettings().value(_FOLDER_SETTING) or ""), "*.tsv")
        # with its filter where Qt is used from Python directly
        path = chosen[0] if isinstance(chosen, tuple) else chosen
        if path:
            self.open(Path(path))

    def open(self, source):
        """Show the cases of a folder, BIDS tree or table."""
        try:
            cases = work_list.find_cases(source)
        except InputError as error:
            self._say(str(error))
            return
        if not self._isSaved():
            return
        self._timer.stop()
        self._detection.cancel()
        self._say("")
        # the scan on screen stays, it is the reader's now
        self._volumes.pop(self._current, None)
        self._release(())
        qt.QSettings().setValue(_FOLDER_SETTING, str(source))
        self.cases, self._current, self._problems, self._places, self._asked = cases, None, {}, {}, ""
        self._results = _writable(work_list.results_folder(source))
        self.states = {case.name: work_list.state_of(case, work_list.sidecar_of(case)) for case in cases}
        self.ui.casesTable.setToolTip(str(source))
        self._show()
        self._takeCaseOnScreen()

    def _takeCaseOnScreen(self):
        """Go on from the scan that is on screen already, if it is one of the list."""
        volume = self.ui.inputSelector.currentNode()
        image = imageFileOf(volume) if volume is not None else None
        self._current = next((case for case in self.cases if image is not None and case.image == image), None)
        if self._current is not None:
            volume.SetAttribute(CASE_ATTRIBUTE, str(image))
            self._volumes[self._current] = volume
            self._renew(self._current)

    # From case to case

    def _onCaseDoubleClicked(self, row, column):
        self.openCase(self.cases[row])

    def _onNextClicked(self, checked=False):
        self.next()

    def next(self):
        """Finish the case if nothing is open, and open the next one; ask once if something is."""
        if not self.cases:
            self._finishOne()
            return
        session = self._session()
        if session is not None:
            undecided = session.undecidedCount
            if undecided and self._asked != self._current.name:
                self._asked = self._current.name
                text = _("1 finding is still open; once more leaves this case in progress.") if undecided == 1 else \
                    _("{count} findings are still open; once more leaves this case in progress.")
                self._say(text.format(count=undecided))
                return
            if not undecided:
                session.finish()
        self._renew(self._current)
        following = work_list.next_open(self.cases, self.states, self._current.name if self._current else "")
        if following is None:
            self._say(_("No other case is open."))
            return
        self.openCase(following)

    def _finishOne(self):
        """Finish the review on screen where there is no list."""
        session = self._panel.review.session
        if session is None:
            self._say(_("Choose a folder or table of cases first."))
        elif session.undecidedCount:
            self._say(_("Some findings are still open."))
        else:
            session.finish()
            self._say(_("The review is finished; choose a folder or table of cases to go on."))

    def openCase(self, case):
        """Show a case: as it was left, as the detection in the background found it, or after a detection now."""
        problem = "" if self._torchIsThere else self._ensureTorch()
        self._torchIsThere = not problem
        if not self._isSaved():
            return
        slicer.app.setOverrideCursor(qt.QCursor(qt.Qt.WaitCursor))
        try:
            self._open(case)
        finally:
            slicer.app.restoreOverrideCursor()
        if problem:
            self._say(problem)

    def _isSaved(self) -> bool:
        """Whether the review of the current case is in its file; if not, say so, because leaving it would lose it."""
        session = self._session()
        if session is not None and session.problem:
            session.save()
            if session.problem:
                self._say(session.problem)
                return False
        return True

    def _open(self, case):
        volume = self._volumeOf(case)
        if volume is None:
            self._problems[case.name] = _("{path} cannot be loaded.").format(path=case.image)
            self._say(self._problems[case.name])
            self._renew(case)
            return
        self._renew(self._current)
        self._current, self._asked = case, ""
        self._say("")
        known = self._panel.showScan(volume, case.modality)
        self._release((case, *work_list.coming(self.cases, self.states, case.name, 1)))
        if not known:
            self._showDetection(case, volume)
        self._renew(case)
        self._timer.start(_LOAD_AHEAD_MS)

    def _showDetection(self, case, volume):
        files = self._resultFiles(case)
        if files is not None:
            self._panel.showFiles(volume, files)
        elif self._detection.case is None or self._detection.case.name != case.name:
            self._detect(case)

    def _session(self):
        """Return the review of the current case, None if the panel shows another one."""
        session = self._panel.review.session
        node = self._volumes.get(self._current)
        return session if session is not None and node is not None and session.volumeNode is node else None

    def _volumeOf(self, case):
        node = self._volumes.get(case)
        if node is not None and slicer.mrmlScene.IsNodePresent(node):
            return node
        try:
            node = slicer.util.loadVolume(str(case.image), properties={"show": False})
        except RuntimeError:
            logging.exception("CMBDetection: %s could not be loaded", case.image)
            return None
        # when it is loaded a second time, Slicer would number it
        node.SetName(case.name)
        node.SetAttribute(CASE_ATTRIBUTE, str(case.image))
        self._volumes[case] = node
        return node

    def _release(self, kept):
        """Take all cases but some out of the scene; their reviews are in their files."""
        for case in [case for case in self._volumes if case not in kept]:
            node = self._volumes.pop(case)
            if slicer.mrmlScene.IsNodePresent(node):
                for findings in findingsMarkups.findingsNodes():
                    if findings.GetNodeReference(findingsMarkups.VOLUME_ROLE) is node:
                        findingsMarkups.remove(findings)
                removeWithOwn(node)

    # While one reads

    def _loadAhead(self):
        """Load the next case without showing it, and detect in those to come."""
        for case in work_list.coming(self.cases, self.states, self._current.name, 1):
            self._volumeOf(case)
        self._detectAhead()

    def _detectAhead(self):
        if self._detection.case is not None or self._current is None:
            return
        waiting = (case for case in work_list.coming(self.cases, self.states, self._current.name, _DETECT_AHEAD)
                   if case.name not in self._problems and self._resultFiles(case) is None)
        case = next(waiting, None)
        if case is not None:
            self._detect(case)

    def _resultFiles(self, case):
        """Return the files of a detection in a case, by the list or by a cohort into the same folder."""
        return work_list.result_files(self._results, case) \
            or work_list.result_files_in(self._results / scan_of(case).folder, case)

    def _detect(self, case):
        if self._torchIsThere:
            self._detection.start(case, work_list.case_folder(self._results, case),
                                  replace(self._panel.detectionOptions(), modality=case.modality))

    def _onProgress(self, case, fraction, text):
        if case is self._current:
            self._say(_("{text} {percent:.0f} %").format(text=text, percent=100 * fraction))

    def _onDetected(self, case, outcome):
        failed, isCurrent = outcome.status == FAILED, case is self._current
        if not failed:
            self._problems.pop(case.name, None)
        elif isCurrent or outcome.kind == "input":
            self._problems[case.name] = outcome.message
        node = self._volumes.get(case)
        if isCurrent and failed:
            self._say(outcome.message)
        elif isCurrent and self._session() is None and node is not None and slicer.mrmlScene.IsNodePresent(node):
            self._panel.showFiles(node, outcome.files, outcome.warnings)
        self._renew(case)
        # what failed for want of memory or the like would fail for the next cases too
        if not failed or outcome.kind == "input":
            self._detectAhead()

    # What is shown

    def _renew(self, case):
        """Look again how far a case is."""
        if case is None:
            return
        session = self._session() if case is self._current else None
        if session is not None:
            self._places[case.name] = session.place
        self.states[case.name] = work_list.state_of(case, self._places.get(case.name, work_list.sidecar_of(case)),
                                                    self._problems.get(case.name, ""))
        self._showRow(self.cases.index(case))
        self._showProgress()

    def _show(self):
        """Show all cases, and how many are done."""
        self.ui.casesTable.setRowCount(len(self.cases))
        for row in range(len(self.cases)):
            self._showRow(row)
        self._showProgress()

    def _showRow(self, row):
        texts = {work_list.OPEN: _("○ open"), work_list.IN_PROGRESS: _("◐ in progress"),
                 work_list.DONE: _("✓ done"), work_list.FAILED: _("✗ failed")}
        case = self.cases[row]
        state = self.states[case.name]
        judged = state.status in (work_list.IN_PROGRESS, work_list.DONE)
        for column, text in enumerate((case.name, texts[state.status], state.reader,
                                       str(state.accepted) if judged else "",
                                       str(state.undecided) if judged else "")):
            cell = qt.QTableWidgetItem(text)
            cell.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
            cell.setToolTip(state.problem or str(case.image))
            self.ui.casesTable.setItem(row, column, cell)

    def _showProgress(self):
        if self._current is not None:
            self.ui.casesTable.selectRow(self.cases.index(self._current))
        self.ui.casesLabel.setText(self._progress())

    def _progress(self):
        if not self.cases:
            return _("No cases. Choose a folder, a BIDS tree or a table with a column “image”.")
        done = sum(state.status == work_list.DONE for state in self.states.values())
        readers = [f"{reader or _('no name')} {count}"
                   for reader, count in work_list.progress_by_reader(self.states).items()]
        return " · ".join([_("{done} of {all} done").format(done=done, all=len(self.cases)), *readers])


def _writable(folder) -> Path:
    """Return a folder for results, beside Slicer's settings where the data cannot be written to."""
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return folder if os.access(there, os.W_OK) else reviewStore.ownFolder() / "detections"
