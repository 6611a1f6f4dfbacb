"""The panel: what each widget does. Detection is in detectionRun, the review in reviewSession."""

import logging
from pathlib import Path

import slicer
import vtk
from microbleeds import review_log
from microbleeds.errors import InputError
from microbleeds.model_folders import detection_models
from microbleeds.outputs import read_result
from microbleeds.review_files import ACCEPTED, CERTAINTIES, REJECTED, UNDECIDED
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from . import dependencies, findingsMarkups, keysTable, parameters, reviewSession, reviewStore, reviewTexts, sliceViews
from .detectionRun import DetectionOptions, DetectionRun
from .engineProcess import CANCELLED, FAILED, defaultCommand
from .findingsTable import fillTable, selectedNumber, setUpTable
from .reviewKeys import MIMIC, KeyMap, Shortcuts, mimicTexts

_UI_PATH = Path(__file__).resolve().parents[1] / "Resources" / "UI" / "CMBDetection.ui"
_AFTER_SELECTORS = -100.0
"""Priority of scene observers: the node selectors (-10) are up to date when the panel looks."""


class Panel(VTKObservationMixin):
    """Puts its widgets into `layout`; `command`, `models` and `ensureTorch` can be replaced in tests."""

    def __init__(self, layout, command=None, models=None, ensureTorch=dependencies.ensureTorch):
        VTKObservationMixin.__init__(self)
        self._command = command or defaultCommand()
        self._models = detection_models() if models is None else models
        self._ensureTorch = ensureTorch
        self._parameterNode = None
        self._shown = (None, None)
        """Volume and findings node that the widgets show."""
        self._updating = False
        self._session = None
        """The review of the findings node that the widgets show."""
        self._judged = 0
        """Id of the finding that was judged last."""
        self._warned = None
        """Id and place of the finding that a new one would lie on."""
        self._offer = None
        """A review of the volume that was kept as a file and can be gone on with."""
        self._run = None
        self._lastRun = None
        """Kept until the next one: its QProcess must not die inside its own signal."""
        self._keyMap = KeyMap()
        self._shortcuts = Shortcuts(self._keyMap, self._runCommand)
        self.widget = slicer.util.loadUI(str(_UI_PATH))
        layout.addWidget(self.widget)
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self.widget.setMRMLScene(slicer.mrmlScene)
        self._setUpWidgets()
        self._connectWidgets()
        self._observeScene()
        self._attach()

    # Set-up and end

    def _setUpWidgets(self):
        for combo, choices in ((self.ui.modalityCombo, parameters.modalityChoices()),
                               (self.ui.modelCombo, self._models),
                               (self.ui.operatingPointCombo, parameters.operatingPointChoices())):
            for value, text in choices:
                combo.addItem(text, value)
        if not self._models:
            self.ui.modelCombo.addItem(_("No model installed"), "")
        self.ui.findingsSelector.addAttribute("vtkMRMLMarkupsFiducialNode", findingsMarkups.FINDINGS_ATTRIBUTE)
        setUpTable(self.ui.findingsTable)
        for value, text in parameters.certaintyChoices():
            self.ui.certaintyCombo.addItem(text, value)
        for value, text in mimicTexts().items():
            self.ui.mimicCombo.addItem(text, value)
        self.ui.readerEdit.setText(reviewSession.readerName())
        self._showKeys()
        self.ui.progressBar.setVisible(False)

    def _connectWidgets(self):
        ui = self.ui
        ui.inputSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._onVolumeSelected)
        ui.findingsSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._onFindingsSelected)
        for combo in (ui.modalityCombo, ui.modelCombo, ui.operatingPointCombo):
            combo.connect("currentIndexChanged(int)", self._onOptionChanged)
        ui.detectButton.connect("clicked(bool)", self._onDetectClicked)
        ui.findingsTable.connect("itemSelectionChanged()", self._onRowSelected)
        ui.findingsTable.connect("cellClicked(int,int)", self._onRowSelected)
        ui.acceptButton.connect("clicked(bool)", self._onAcceptClicked)
        ui.rejectButton.connect("clicked(bool)", self._onRejectClicked)
        ui.resetButton.connect("clicked(bool)", self._onResetClicked)
        ui.undoButton.connect("clicked(bool)", self._onUndoClicked)
        ui.redoButton.connect("clicked(bool)", self._onRedoClicked)
        ui.resumeButton.connect("clicked(bool)", self._onResumeClicked)
        ui.addButton.connect("clicked(bool)", self._onAddClicked)
        ui.removeButton.connect("clicked(bool)", self._onRemoveClicked)
        ui.thresholdSlider.connect("valueChanged(double)", self._onThresholdChanged)
        ui.certaintyCombo.connect("activated(int)", self._onCertaintyChosen)
        ui.mimicCombo.connect("activated(int)", self._onMimicChosen)
        ui.commentEdit.connect("editingFinished()", self._onCommentEdited)
        ui.readerEdit.connect("editingFinished()", self._onReaderEdited)
        ui.keysTable.connect("cellChanged(int,int)", self._onKeyEdited)
        ui.resetKeysButton.connect("clicked(bool)", self._onResetKeysClicked)

    def _observeScene(self):
        scene = slicer.vtkMRMLScene
        for event, method in ((scene.StartCloseEvent, self._onSceneStartClose), (scene.StartImportEvent, self._detach),
                              (scene.EndBatchProcessEvent, self._onSceneEndBatch),
                              (scene.NodeRemovedEvent, self._onNodeRemoved)):
            self.addObserver(slicer.mrmlScene, event, method, priority=_AFTER_SELECTORS)

    def enter(self):
        """Offer the volume in view if none is chosen, and let the keys act."""
        self._offerVolumeInView()

        self._shortcuts.open(slicer.util.mainWindow() or self.widget.window())

    def _offerVolumeInView(self):
        if self._parameterNode is not None and self._parameterNode.inputVolume is None:
            self._parameterNode.inputVolume = _volumeInView()

    def exit(self):
        """Give the keys back while another module is open."""
        self._shortcuts.close()

    def cleanup(self):
        """Stop a running detection and let go of keys and scene."""
        self._shortcuts.close()
        self._stopRun()
        self._detach()
        self.removeObservers()
        self.widget.setMRMLScene(None)

    def _attach(self):
        """Show what the scene's parameter node says."""
        self._parameterNode = parameters.CMBDetectionLogic().getParameterNode()
        self._offerVolumeInView()
        volume = self._parameterNode.inputVolume
        if volume is not None and self._parameterNode.findings is None:
            self._parameterNode.findings = findingsMarkups.findingsNodeOf(volume)
        self._shown = (volume, self._parameterNode.findings)
        self.addObserver(self._parameterNode.parameterNode, vtk.vtkCommand.ModifiedEvent, self._onParametersModified)
        self._updateWidgets()

    def _detach(self, caller=None, event=None):
        if self._parameterNode is not None:
            self.removeObserver(self._parameterNode.parameterNode, vtk.vtkCommand.ModifiedEvent,
                                self._onParametersModified)
        self._parameterNode = None
        self._shown = (None, None)
        self._updateWidgets()

    def _onSceneStartClose(self, caller, event):
        self._stopRun()
        self._setMessage("")
        self._detach()

    def _onSceneEndBatch(self, caller, event):
        """Come back after closing or importing; these are batches, and the node selectors are right at their end."""
        if self._parameterNode is None:
            self._attach()
        else:
            self._updateWidgets()

    # Parameter node <-> widgets

    def _onParametersModified(self, caller=None, event=None):
        """Keep volume and findings together: whichever has changed decides the other."""
        volume, findings = self._parameterNode.inputVolume, self._parameterNode.findings
        shownVolume, shownFindings = self._shown
        self._shown = (volume, findings)
        if volume is not shownVolume or (findings is None and shownFindings is not None):
            self._parameterNode.findings = findingsMarkups.findingsNodeOf(volume) if volume is not None else None
        elif findings is not shownFindings:
            reference = findings.GetNodeReference(findingsMarkups.VOLUME_ROLE)
            if reference is not None:
                self._shown = (reference, findings)
                self._parameterNode.inputVolume = reference
        self._updateWidgets()

    def _updateWidgets(self):
        node = self._parameterNode
        self._updating = True
        try:
            self.ui.inputSelector.setCurrentNode(node.inputVolume if node else None)
            self.ui.findingsSelector.setCurrentNode(node.findings if node else None)
            if node is not None:
                _selectValue(self.ui.modalityCombo, node.modality)
                _selectValue(self.ui.modelCombo, node.model)
                _selectValue(self.ui.operatingPointCombo, node.operatingPoint)
        finally:
            self._updating = False
        self._openReview(node.findings if node else None)
        self._offerReview()
        self._updateDetectButton()

    def _onVolumeSelected(self, volumeNode):
        if not self._updating and self._parameterNode is not None:
            self._parameterNode.inputVolume = volumeNode

    def _onFindingsSelected(self, findingsNode):
        if not self._updating and self._parameterNode is not None:
            self._parameterNode.findings = findingsNode

    def _onOptionChanged(self, index):
        if self._updating or self._parameterNode is None:
            return
        node, ui = self._parameterNode, self.ui
        with slicer.util.NodeModify(node.parameterNode):
            node.modality, node.model, node.operatingPoint = (
                _selectedValue(combo) for combo in (ui.modalityCombo, ui.modelCombo, ui.operatingPointCombo))

    def _onNodeRemoved(self, caller, event):
        if self._run is not None and not slicer.mrmlScene.IsNodePresent(self._run.volumeNode):
            self._stopRun()
            self._setMessage(_("Detection was cancelled, because its volume was removed from the scene."))
        if self._parameterNode is not None:
            self._onParametersModified()

    # Detection

    def _onDetectClicked(self, checked=False):
        if self._run is not None:
            self.ui.detectButton.setEnabled(False)
            self._setMessage(_("Cancelling…"))
            self._run.cancel()
            return
        self.ui.detectButton.setEnabled(False)  # installing PyTorch keeps the window alive
        problem = self._ensureTorch()
        self._setMessage(problem)
        node = self._parameterNode
        if not problem and node is not None and node.inputVolume is not None:
            self._startRun()
        self._updateDetectButton()

    def _startRun(self):
        node = self._parameterNode
        options = DetectionOptions(node.modality, _selectedValue(self.ui.modelCombo), node.operatingPoint)
        self._run = DetectionRun(node.inputVolume, options, self._command, self._onProgress, self._onRunFinished)
        self._lastRun = self._run
        self._onProgress(0.0, _("Starting"))
        try:
            self._run.start()
        except OSError as error:
            logging.exception("CMBDetection: detection could not start")
            self._run = None
            self._setMessage(str(error))

    def _stopRun(self):
        run, self._run = self._run, None
        if run is not None:
            run.stop()
        self._updateDetectButton()

    def _onProgress(self, fraction, text):
        self.ui.progressBar.setValue(round(100 * fraction))
        self.ui.progressBar.setFormat(text + " %p%")

    def _onRunFinished(self, run, outcome):
        self._run = None
        try:
            if outcome.status == FAILED:
                self._setMessage(outcome.message)
            elif outcome.status == CANCELLED:
                self._setMessage(_("Detection cancelled."))
            elif not run.volumeIsUnchanged():
                self._setMessage(_("The volume was transformed during detection; detect again."))
            else:
                self._showResult(run, outcome)
        except (OSError, ValueError, KeyError, InputError) as error:
            logging.exception("CMBDetection: the result could not be shown")
            self._setMessage(_("The result could not be shown: {error}").format(error=error))
        finally:
            self._updateDetectButton()

    def _showResult(self, run, outcome):
        """Add the findings to the review of the volume; what was said about earlier ones stays."""
        volume = run.volumeNode
        result = read_result(outcome.files["findings"])
        former = findingsMarkups.findingsNodeOf(volume)
        if former is None:
            session = reviewSession.begin(volume, self._onReviewChanged)
        elif self._session is not None and self._session.node is former:
            session = self._session
        else:
            session = reviewSession.open_(former, self._onReviewChanged)
        try:
            kept = session.detected(result, outcome.files["labels"], _threshold(result))
        except OSError:
            if former is None:
                slicer.mrmlScene.RemoveNode(session.node)
            raise
        if self._parameterNode.inputVolume is volume:
            self._take(session)
        self._setMessage("\n".join([*outcome.warnings, *filter(None, [kept])]))
        if self._session is not None and self._session.node is session.node:
            self._session.show(0)
            self._showNextOpen()

    def _updateDetectButton(self):
        running = self._run is not None
        volume = self._parameterNode.inputVolume if self._parameterNode else None
        button = self.ui.detectButton
        button.setText(_("Cancel") if running else _("Detect"))
        self.ui.progressBar.setVisible(running)
        for widget in (self.ui.inputSelector, self.ui.modalityCombo, self.ui.modelCombo, self.ui.operatingPointCombo):
            widget.setEnabled(not running)
        if running:
            reason = _("Stop the detection")
        elif not self._models:
            reason = _("No detection model is installed; install CMBDetection again")
        elif volume is None or volume.GetImageData() is None:
            reason = _("Choose a volume first")
        else:
            reason = _("Find microbleeds on the volume; it runs in the background")
        button.setEnabled(running or bool(self._models and volume is not None and volume.GetImageData() is not None))
        button.setToolTip(reason)

    def _setMessage(self, text):
        self.ui.messageLabel.setText(text)
        self.ui.messageLabel.setVisible(bool(text))

    # Review

    def _openReview(self, node):
        """Show the review of a findings node (None: nothing)."""
        if self._session is None or self._session.node is not node:
            self._session = None
            if node is not None:
                try:
                    self._session = reviewSession.open_(node, self._onReviewChanged)
                except InputError as error:
                    self._setMessage(str(error))
            self._observeFindings()
        self._onReviewChanged()

    def _take(self, session):
        """Show a review that was begun just now."""
        self._session = session
        self._observeFindings()
        self._parameterNode.findings = session.node

    def _observeFindings(self):
        markups = slicer.vtkMRMLMarkupsNode
        self.removeObservers(self._onFindingsModified)
        self.removeObservers(self._onReviewChanged)
        if self._session is not None:
            for event in (markups.PointAddedEvent, markups.PointRemovedEvent, markups.PointModifiedEvent,
                          markups.PointEndInteractionEvent):
                self.addObserver(self._session.node, event, self._onFindingsModified)
            self.addObserver(self._session.node, slicer.vtkMRMLTransformableNode.TransformModifiedEvent,
                             self._onReviewChanged)

    def _onFindingsModified(self, caller=None, event=None):
        self._session.adopt()

    def _onReviewChanged(self, caller=None, event=None):
        session = self._session
        fillTable(self.ui.findingsTable, session)
        self.ui.summaryLabel.setText(reviewTexts.summary(session.items) if session is not None
                                     else _("No detection yet."))
        provenance = session.state.provenance if session is not None else None
        self.ui.summaryLabel.setToolTip(reviewTexts.howFound(provenance) if provenance else _("Counts of the findings"))
        self._updateThreshold()
        self._updateSaveLabel()
        self._updateReviewButtons()

    def _updateThreshold(self):
        slider = self.ui.thresholdSlider
        slider.setEnabled(self._session is not None)
        slider.blockSignals(True)
        slider.value = self._session.threshold if self._session is not None else 0.0
        slider.blockSignals(False)

    def _onThresholdChanged(self, value):
        if self._session is not None:
            self._session.setThreshold(value)

    def _updateSaveLabel(self):
        session, label = self._session, self.ui.saveLabel
        saved = session is not None and session.place.exists()
        if session is not None and session.problem:
            label.setText(session.problem)
        else:
            label.setText(_("Saved: {name}").format(name=session.place.name) if saved else _("Nothing to save yet"))
        label.setToolTip(str(session.place) if saved else _("Every verdict is saved at once"))

    def _updateReviewButtons(self):
        session, ui = self._session, self.ui
        item = session.item(session.current) if session is not None else None
        ui.acceptButton.setEnabled(item is not None)
        ui.rejectButton.setEnabled(item is not None)
        ui.resetButton.setEnabled(item is not None and item.verdict != UNDECIDED)
        ui.addButton.setEnabled(session is not None)
        ui.removeButton.setEnabled(item is not None and item.added_by_reader)
        ui.undoButton.setEnabled(session is not None and session.state.to_undo is not None)
        ui.redoButton.setEnabled(session is not None and session.state.to_redo is not None)
        self._updateQualifiers()

    def _qualified(self):
        """Return the item that certainty, reason and comment belong to, None if there is none."""
        if self._session is None:
            return None
        for number in (self._session.current, self._judged):
            item = self._session.item(number)
            if item is not None and item.verdict != UNDECIDED:
                return item
        return None

    def _updateQualifiers(self):
        item, ui = self._qualified(), self.ui
        ui.qualifiedLabel.setText(f"{item.id} {'✓' if item.verdict == ACCEPTED else '✗'}" if item else "–")
        ui.certaintyCombo.setEnabled(item is not None)
        ui.commentEdit.setEnabled(item is not None)
        ui.mimicCombo.setEnabled(item is not None and item.verdict == REJECTED)
        _selectValue(ui.certaintyCombo, item.certainty if item else "")
        _selectValue(ui.mimicCombo, item.mimic_kind if item else "")
        if not ui.commentEdit.hasFocus():
            ui.commentEdit.setText(item.comment if item else "")

    def _onCertaintyChosen(self, index):
        self._qualify(review_log.CERTAINTY, _selectedValue(self.ui.certaintyCombo))

    def _onMimicChosen(self, index):
        self._qualify(review_log.MIMIC_KIND, _selectedValue(self.ui.mimicCombo))

    def _onCommentEdited(self):
        item = self._qualified()
        if item is not None and self.ui.commentEdit.text != item.comment:
            self._qualify(review_log.COMMENT, self.ui.commentEdit.text)

    def _qualify(self, action, value):
        """Say something more about the finding that was judged."""
        item = self._qualified()
        if item is None or (action == review_log.MIMIC_KIND and item.verdict != REJECTED):
            self._setMessage(_("Judge a finding first; a reason belongs to a rejected one."))
            return
        self._session.act(action, item.id, value)

    def _onRowSelected(self, row=-1, column=-1):
        """Jump when another row is selected, and again when the selected one is clicked after looking around."""
        if self._session is not None:
            self._show(selectedNumber(self.ui.findingsTable))

    def _show(self, number):
        """Make an item the current one and bring the slice views there."""
        self._session.show(number)
        self._updateReviewButtons()
        self._jump(number)

    def _jump(self, number):
        place = findingsMarkups.worldPositions(self._session.node).get(number)
        if place is not None:
            sliceViews.showPosition(place, self._session.volumeNode)

    def _showAndSelect(self, number):
        self._show(number)
        fillTable(self.ui.findingsTable, self._session)

    def _onAcceptClicked(self, checked=False):
        self._judge(ACCEPTED)

    def _onRejectClicked(self, checked=False):
        self._judge(REJECTED)

    def _onResetClicked(self, checked=False):
        self._session.act(review_log.VERDICT, self._session.current, UNDECIDED)

    def _judge(self, verdict):
        """Give the current item a verdict and go on to the next open one."""
        self._judged = self._session.current
        self._setMessage("")
        self._actAndGoOn(review_log.VERDICT, verdict)

    def _actAndGoOn(self, action, value=None):
        """Do something with the current item, and show the next open one; stay if there is none."""
        session, following = self._session, self._nextOpen()
        session.act(action, session.current, value, then=following)
        if following is not None:
            self._jump(following)
        elif session.nextRing() is not None:
            self._setMessage(_("All on screen are judged. {key} shows the next less probable ones.").format(
                key=self._keyMap.key("misses") or _("A lower threshold")))

    def _nextOpen(self) -> int | None:
        """Return the next open item but the current one, round the table."""
        items, current = self._session.items, self._session.current
        start = next((index + 1 for index, item in enumerate(items) if item.id == current), 0)
        return next((item.id for item in items[start:] + items[:start]
                     if item.verdict == UNDECIDED and item.id != current), None)

    def _showNextOpen(self):
        following = self._nextOpen()
        if following is not None:
            self._showAndSelect(following)

    def _onAddClicked(self, checked=False):
        """Add a microbleed where the reader points; where there is a finding already, only when asked twice."""
        session, place = self._session, sliceViews.pointedAt()
        try:
            close = session.near(place)
            if close is not None and self._warned != (close[1].id, place):
                self._warned = (close[1].id, place)
                self._setMessage(_("Finding {number} is only {distance:.1f} mm away; once more adds another "
                                   "one.").format(number=close[1].id, distance=close[0]))
                return
            session.add(place)
        except ValueError as error:
            self._setMessage(str(error))
            return
        self._judged = session.current
        self._setMessage("")
        self._jump(session.current)

    def _onRemoveClicked(self, checked=False):
        self._session.act(review_log.REMOVED, self._session.current)

    def _onMove(self):
        session = self._session
        if session.item(session.current) is None:
            return
        try:
            session.move(session.current, sliceViews.pointedAt())
        except ValueError as error:
            self._setMessage(str(error))
            return
        self._jump(session.current)

    def _onUndoClicked(self, checked=False):
        self._session.undo()
        self._jump(self._session.current)

    def _onRedoClicked(self, checked=False):
        self._session.redo()
        self._jump(self._session.current)

    def _onReaderEdited(self):
        reviewSession.setReaderName(self.ui.readerEdit.text.strip())

    # Keys

    def _runCommand(self, name):
        """Do what a key says."""
        session, ui = self._session, self.ui
        buttons = {"accept": ui.acceptButton, "reject": ui.rejectButton, "reset": ui.resetButton,
                   "undo": ui.undoButton, "redo": ui.redoButton, "add": ui.addButton, "remove": ui.removeButton}
        if name in buttons:
            buttons[name].click()
        elif session is None:
            return
        elif name in CERTAINTIES:
            self._qualify(review_log.CERTAINTY, name)
        elif name.startswith(MIMIC):
            self._qualify(review_log.MIMIC_KIND, name.removeprefix(MIMIC))
        elif name == "skip" and session.item(session.current) is not None:
            self._actAndGoOn(review_log.SKIPPED)
        elif name in ("next", "previous"):
            self._step(1 if name == "next" else -1)
        elif name == "comment" and ui.commentEdit.isEnabled():
            ui.commentEdit.setFocus()
        elif name == "move":
            self._onMove()
        elif name == "misses":
            self._searchForMisses()
        elif name == "outline":
            findingsMarkups.toggleVisibility(session.node)

    def _searchForMisses(self):
        """Show the next ring of improbable candidates, and the first of them."""
        threshold = self._session.nextRing()
        if threshold is None:
            self._setMessage(_("All candidates are on screen."))
            return
        self._setMessage("")
        self._session.setThreshold(threshold)
        self._showNextOpen()

    def _step(self, direction):
        """Show the next or previous item, judged or not, round the table."""
        numbers = [item.id for item in self._session.items]
        if numbers:
            before = -1 if direction > 0 else 0
            here = numbers.index(self._session.current) if self._session.current in numbers else before
            self._showAndSelect(numbers[(here + direction) % len(numbers)])

    def _onKeyEdited(self, row, column):
        self._setMessage(keysTable.take(self.ui.keysTable, row, self._keyMap))
        self._renewKeys()

    def _onResetKeysClicked(self, checked=False):
        self._keyMap.reset()
        self._renewKeys()

    def _renewKeys(self):
        self._showKeys()
        self.enter()

    def _showKeys(self):
        """Show the keys in the legend and on the buttons of the verdicts."""
        keysTable.fill(self.ui.keysTable, self._keyMap)
        for name, button, text in (("accept", self.ui.acceptButton, _("✓ Accept")),
                                   ("reject", self.ui.rejectButton, _("✗ Reject"))):
            key = self._keyMap.key(name)
            button.setText(f"{text} ({key})" if key else text)

    def _offerReview(self):
        """Offer to go on with the review of a volume that has none in the scene."""
        volume = self._parameterNode.inputVolume if self._parameterNode else None
        if volume is None or self._session is not None or volume.GetImageData() is None:
            self._offer = None
        elif self._offer is None or self._offer[0] is not volume:
            self._offer = (volume, self._keptReview(volume))
        sidecar = self._offer[1] if self._offer else None
        self.ui.resumeButton.setVisible(sidecar is not None)
        if sidecar is not None:
            self.ui.summaryLabel.setText(reviewTexts.resumeOffer(sidecar))

    def _keptReview(self, volume):
        try:
            return reviewStore.find(volume)
        except InputError as error:
            self._setMessage(str(error))
            return None

    def _onResumeClicked(self, checked=False):
        volume, sidecar = self._offer
        try:
            session = reviewSession.resume(volume, sidecar, self._onReviewChanged)
        except OSError as error:
            self._setMessage(str(error))
            return
        self._offer = None
        self._take(session)
        if session.current:
            self._showAndSelect(session.current)


def _threshold(result) -> float:
    """Return the probability from which the operating point kept candidates."""
    classify = result.provenance.parameters.get("classify", {})
    return float(classify.get("threshold", min((finding.probability for finding in result.findings), default=0.0)))


def _volumeInView():
    """Return the active volume of the slice views if it is one that can be examined."""
    selection = slicer.app.applicationLogic().GetSelectionNode()
    volumeId = selection.GetActiveVolumeID() if selection is not None else None
    node = slicer.mrmlScene.GetNodeByID(volumeId) if volumeId else None
    return node if node is not None and node.GetClassName() == "vtkMRMLScalarVolumeNode" else None


def _selectedValue(combo) -> str:
    return combo.itemData(combo.currentIndex)


def _selectValue(combo, value):
    combo.setCurrentIndex(max(combo.findData(value), 0))
