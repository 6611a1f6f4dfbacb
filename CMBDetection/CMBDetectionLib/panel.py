"""The panel: volume, detection and the scene. The review's widgets are in reviewControls."""

import logging
from pathlib import Path

import slicer
import vtk
from microbleeds.errors import InputError
from microbleeds.model_folders import detection_models
from microbleeds.outputs import read_result
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from . import dependencies, findingsMarkups, parameters, reviewSession, reviewStore, reviewTexts, sampleScan
from .detectionRun import DetectionOptions, DetectionRun
from .engineProcess import CANCELLED, FAILED, defaultCommand
from .exportControls import ExportControls
from .reviewControls import ReviewControls
from .volumeWatch import VolumeWatch
from .widgets import fillCombo, selectedValue, selectValue
from .workListControls import WorkListControls

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
        self._volumeWatch = VolumeWatch(self._onVolumeChanged)
        self._offer = None
        """A review of the volume that was kept as a file and can be gone on with."""
        self._run = None
        self.widget = slicer.util.loadUI(str(_UI_PATH))
        layout.addWidget(self.widget)
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self.widget.setMRMLScene(slicer.mrmlScene)
        self.review = ReviewControls(self.ui, self._setMessage)
        self.workList = WorkListControls(self.ui, self, self._setMessage, self._command, ensureTorch)
        self.export = ExportControls(self.ui, lambda: self.review.session, self.review.showAndSelect,
                                     self._setMessage, self._command)
        self._setUpWidgets()
        self._connectWidgets()
        self._observeScene()
        self._attach()

    # Set-up and end

    def _setUpWidgets(self):
        fillCombo(self.ui.modalityCombo, parameters.modalityChoices())
        fillCombo(self.ui.modelCombo, self._models)
        fillCombo(self.ui.operatingPointCombo, parameters.operatingPointChoices())
        if not self._models:
            self.ui.modelCombo.addItem(_("No model installed"), "")
        self.ui.findingsSelector.addAttribute("vtkMRMLMarkupsFiducialNode", findingsMarkups.FINDINGS_ATTRIBUTE)
        self.ui.progressBar.setVisible(False)

    def _connectWidgets(self):
        ui = self.ui
        ui.inputSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._onVolumeSelected)
        ui.findingsSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._onFindingsSelected)
        for combo in (ui.modalityCombo, ui.modelCombo, ui.operatingPointCombo):
            combo.connect("currentIndexChanged(int)", self._onOptionChanged)
        ui.detectButton.connect("clicked(bool)", self._onDetectClicked)
        ui.resumeButton.connect("clicked(bool)", self._onResumeClicked)
        ui.sampleButton.connect("clicked(bool)", self._onSampleClicked)

    def _observeScene(self):
        scene = slicer.vtkMRMLScene
        for event, method in ((scene.StartCloseEvent, self._onSceneStartClose), (scene.StartImportEvent, self._detach),
                              (scene.EndBatchProcessEvent, self._onSceneEndBatch),
                              (scene.NodeRemovedEvent, self._onNodeRemoved)):
            self.addObserver(slicer.mrmlScene, event, method, priority=_AFTER_SELECTORS)

    def enter(self):
        """Offer the volume in view if none is chosen, and let the keys act."""
        self._offerVolumeInView()
        self.review.enter(slicer.util.mainWindow() or self.widget.window())

    def _offerVolumeInView(self):
        if self._parameterNode is not None and self._parameterNode.inputVolume is None:
            self._parameterNode.inputVolume = _volumeInView()

    def exit(self):
        """Give the keys back while another module is open."""
        self.review.exit()

    def cleanup(self):
        """Stop a running detection and let go of keys and scene."""
        self.review.close()
        self.workList.close()
        self.export.close()
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
            self._parameterNode.findings = _findingsOf(volume)
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
        self.review.takeBack()
        self.workList.forgetVolumes()
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
            self._parameterNode.findings = _findingsOf(volume) if volume is not None else None
        elif findings is not shownFindings:
            reference = findings.GetNodeReference(findingsMarkups.VOLUME_ROLE)
            if reference is not None:
                self._shown = (reference, findings)
                self._parameterNode.inputVolume = reference
        self._updateWidgets()

    def _updateWidgets(self):
        node = self._parameterNode
        self._volumeWatch.watch(node.inputVolume if node else None)
        self.review.scanChosen(node.inputVolume if node else None)
        self._updating = True
        try:
            self.ui.inputSelector.setCurrentNode(node.inputVolume if node else None)
            self.ui.findingsSelector.setCurrentNode(node.findings if node else None)
            if node is not None:
                selectValue(self.ui.modalityCombo, node.modality)
                selectValue(self.ui.modelCombo, node.model)
                selectValue(self.ui.operatingPointCombo, node.operatingPoint)
        finally:
            self._updating = False
        shown = self.review.session
        self.review.open(node.findings if node else None)
        if self.review.session is not shown:
            self.export.sessionChanged()
        if node is not None:
            self._showOnlyCurrent()
        self._offerReview()
        self._updateDetectButton()

    def _showOnlyCurrent(self):
        """Show rays and outlines of the review that is open alone: those of others lie on other scans."""
        session = self.review.session
        findingsMarkups.showOnly(session.node if session is not None else None)

    def _onVolumeChanged(self, gridIsOther):
        """Let the findings go with the volume; on another grid they are not its own until it is as it was."""
        node, session = self._parameterNode, self.review.session
        if not gridIsOther:
            if session is not None:
                findingsMarkups.followVolume(session.node)
            return
        node.findings = findingsMarkups.findingsNodeOf(node.inputVolume)
        if node.findings is not None:
            self._setMessage("")
        elif session is not None:
            self._setMessage(reviewTexts.movedAway(node.inputVolume.GetName()))
        self._updateWidgets()

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
                selectedValue(combo) for combo in (ui.modalityCombo, ui.modelCombo, ui.operatingPointCombo))

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeRemoved(self, caller, event, node):
        if self._run is not None and not slicer.mrmlScene.IsNodePresent(self._run.volumeNode):
            self._stopRun()
            self._setMessage(_("Detection was cancelled, because its volume was removed from the scene."))
        if self._parameterNode is not None:
            self._onParametersModified()
            if node.GetAttribute(findingsMarkups.FINDINGS_ATTRIBUTE):
                # deleted elsewhere in Slicer; nobody else would remove these
                findingsMarkups.removeParts(node)

    def showScan(self, volume, modality):
        """Show a volume and its review if there is one, in the scene or kept as a file; return whether there is."""
        self._stopRun()
        node = self._parameterNode
        with slicer.util.NodeModify(node.parameterNode):
            node.modality = modality
            node.inputVolume = volume
        if self.review.session is None and self._offer is not None and self._offer[1] is not None:
            self._onResumeClicked()
        return self.review.session is not None

    def detectionOptions(self):
        """Return what is chosen for a detection."""
        return DetectionOptions(self._parameterNode.modality, selectedValue(self.ui.modelCombo),
                                self._parameterNode.operatingPoint)

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
        self._run = DetectionRun(self._parameterNode.inputVolume, self.detectionOptions(), self._command,
                                 self._onProgress, self._onRunFinished)
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
                self.showFiles(run.volumeNode, outcome.files, outcome.warnings)
        finally:
            self._updateDetectButton()

    def showFiles(self, volume, files, warnings=()):
        """Show the result files of the engine for a volume, or say why that is impossible."""
        try:
            self._showResult(volume, files, warnings)
        except (OSError, ValueError, KeyError, InputError) as error:
            logging.exception("CMBDetection: the result could not be shown")
            self._setMessage(_("The result could not be shown: {error}").format(error=error))

    def _showResult(self, volume, files, warnings):
        """Add the findings to the review of the volume; what was said about earlier ones stays."""
        result = read_result(files["findings"])
        self.review.takeBack()
        former, shown = findingsMarkups.findingsNodeOf(volume), self.review.session
        kept = self._keptReview(volume) if former is None else None
        if kept is not None:
            # whoever detects again instead of going on with a review keeps it
            session = reviewSession.resume(volume, kept, self.review.update)
        elif former is None:
            session = reviewSession.begin(volume, self.review.update)
        elif shown is not None and shown.node is former:
            session = shown
        else:
            session, _fromFile = reviewSession.open_(former, self.review.update)
        try:
            lost = session.detected(result, files["labels"], result.threshold)
        except OSError:
            if former is None:
                slicer.mrmlScene.RemoveNode(session.node)
            raise
        if self._parameterNode.inputVolume is volume:
            self._take(session)
        self._showOnlyCurrent()
        self._setMessage("\n".join([*warnings, *filter(None, [lost])]))
        if self.review.session is session and session.item(session.current) is None:
            session.show(0)
            self.review.showNextOpen()

    def _take(self, session):
        """Show a review that was begun just now."""
        self.review.take(session)
        self.export.sessionChanged()
        self._parameterNode.findings = session.node

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

    def _setMessage(self, text, details=""):
        self.ui.messageLabel.setText(text)
        self.ui.messageLabel.setToolTip(details)
        self.ui.messageLabel.setVisible(bool(text))

    # Reviews that were kept

    def _onSampleClicked(self, checked=False):
        self._parameterNode.inputVolume = sampleScan.load()

    def _offerReview(self):
        """Offer to go on with the review of a volume that has none in the scene."""
        volume = self._parameterNode.inputVolume if self._parameterNode else None
        if volume is None or self.review.session is not None or volume.GetImageData() is None:
            self._offer = None
        elif self._offer is None or self._offer[0] is not volume:
            self._offer = (volume, self._keptReview(volume))
        self.ui.sampleButton.setVisible(volume is None)
        if volume is None:
            self.ui.summaryLabel.setText(reviewTexts.firstSteps())
        kept = self._offer[1] if self._offer else None
        self.ui.resumeButton.setVisible(kept is not None)
        if kept is not None:
            self.ui.summaryLabel.setText(reviewTexts.resumeOffer(kept.sidecar))

    def _keptReview(self, volume):
        """Return what is kept of the review of a volume, None if nothing is."""
        try:
            kept = reviewStore.find(volume)
        except InputError as error:
            self._setMessage(str(error))
            return None
        return kept if kept.sidecar is not None else None

    def _onResumeClicked(self, checked=False):
        volume, kept = self._offer
        try:
            session = reviewSession.resume(volume, kept, self.review.update)
        except OSError as error:
            self._setMessage(str(error))
            return
        self._offer = None
        self._take(session)
        if session.current:
            self.review.showAndSelect(session.current)


def _findingsOf(volume):
    """Return the findings node of a volume, also one whose scan was missing and is this volume, or None."""
    node = findingsMarkups.findingsNodeOf(volume)
    if node is None and volume.GetImageData() is not None:
        node = reviewStore.withoutScan(volume)
        if node is not None:
            node.SetNodeReferenceID(findingsMarkups.VOLUME_ROLE, volume.GetID())
    return node


def _volumeInView():
    """Return the active volume of the slice views if it is one that can be examined."""
    selection = slicer.app.applicationLogic().GetSelectionNode()
    volumeId = selection.GetActiveVolumeID() if selection is not None else None
    node = slicer.mrmlScene.GetNodeByID(volumeId) if volumeId else None
    return node if node is not None and node.GetClassName() == "vtkMRMLScalarVolumeNode" else None

