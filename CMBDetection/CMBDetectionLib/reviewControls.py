"""The review's widgets: table, verdicts, what is said beside them, threshold, keys. The review is in reviewSession."""

import qt
import slicer
from microbleeds import review_log
from microbleeds.errors import InputError
from microbleeds.review_files import ACCEPTED, CERTAINTIES, REJECTED, UNDECIDED
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from . import (
    findingsMarkups,
    findingsOrder,
    findingsOutline,
    keysTable,
    outlineEditing,
    probeCard,
    readingViews,
    regionTexts,
    reviewSession,
    reviewTexts,
    sliceViews,
)
from .findingsTable import fillTable, selectedNumber, setUpTable
from .qualifiers import Qualifiers
from .reviewKeys import MIMIC, KeyMap, Shortcuts
from .widgets import fillCombo, selectedValue, selectValue

_ORDER_SETTING = "CMBDetection/order"


class ReviewControls(VTKObservationMixin):
    """Shows one review at a time.

    Attributes
    ----------
    session : ReviewSession or None
    """

    def __init__(self, ui, say):
        """`say(text)` shows a message in the panel."""
        VTKObservationMixin.__init__(self)
        self.ui = ui
        self.session = None
        self._say = say
        self._warned = None
        """Id and place of the finding that a new one would lie on."""
        self._entered = False
        self._dragging = False
        """Whether a point is being dragged in a view."""
        self._scan = None
        self._staleCrosshair = sliceViews.NEVER_PLACED
        """Where the crosshair was when the scan before this one was left."""
        self._toArrange = False
        self._left = None
        """Findings node and fingerprint of its outlines when the reader went to another module."""
        self.qualifiers = Qualifiers(ui, say)
        self._keyMap = KeyMap()
        self._shortcuts = Shortcuts(self._keyMap, self.runCommand)
        self._setUpWidgets()
        self._connectWidgets()

    def _setUpWidgets(self):
        ui = self.ui
        setUpTable(ui.findingsTable)
        fillCombo(ui.orderCombo, findingsOrder.orderChoices())
        selectValue(ui.orderCombo, str(qt.QSettings().value(_ORDER_SETTING) or ""))
        fillCombo(ui.verdictFilterCombo, findingsOrder.verdictChoices())
        fillCombo(ui.sizeFilterCombo, findingsOrder.sizeChoices())
        fillCombo(ui.regionFilterCombo, regionTexts.categoryChoices())
        ui.readerEdit.setText(reviewSession.readerName())
        self._showKeys()

    def _connectWidgets(self):
        ui = self.ui
        ui.findingsTable.connect("itemSelectionChanged()", self._onRowSelected)
        ui.findingsTable.connect("cellClicked(int,int)", self._onRowSelected)
        ui.orderCombo.connect("currentIndexChanged(int)", self._onOrderChanged)
        for combo in self._filters():
            combo.connect("currentIndexChanged(int)", self._onFilterChanged)
        ui.acceptButton.connect("clicked(bool)", self._onAcceptClicked)
        ui.rejectButton.connect("clicked(bool)", self._onRejectClicked)
        ui.resetButton.connect("clicked(bool)", self._onResetClicked)
        ui.undoButton.connect("clicked(bool)", self._onUndoClicked)
        ui.redoButton.connect("clicked(bool)", self._onRedoClicked)
        ui.addButton.connect("clicked(bool)", self._onAddClicked)
        ui.removeButton.connect("clicked(bool)", self._onRemoveClicked)
        ui.logButton.connect("clicked(bool)", self._onLogClicked)
        ui.tabs.connect("currentChanged(int)", self._onTabChanged)
        ui.outlineButton.connect("clicked(bool)", self._onOutlineClicked)
        ui.thresholdSlider.connect("valueChanged(double)", self._onThresholdChanged)
        ui.readerEdit.connect("editingFinished()", self._onReaderEdited)
        ui.readerEdit.connect("returnPressed()", self._onReaderReturned)
        ui.keysTable.connect("cellChanged(int,int)", self._onKeyEdited)
        ui.resetKeysButton.connect("clicked(bool)", self._onResetKeysClicked)

    # The review that is shown

    def scanChosen(self, volumeNode):
        """Read this scan from now on (None: none); where the crosshair is in the one before says nothing of it."""
        if volumeNode is not self._scan:
            if self._scan is not None:
                self._staleCrosshair = sliceViews.crosshairPosition()
            self._scan = volumeNode

    def open(self, node):
        """Show the review of a findings node (None: nothing)."""
        if self.session is None or self.session.node is not node:
            self._leaveSession()
            self.session = None
            if node is not None:
                self.session = self._opened(node)
            self._begin()
        self.update()

    def _opened(self, node):
        """Return the review of a findings node, or None and say why it cannot be shown."""
        volume = node.GetNodeReference(findingsMarkups.VOLUME_ROLE)
        if volume is None or volume.GetImageData() is None:
            self._say(_("The scan of “{name}” is not in the scene; load it to go on with its review.").format(
                name=node.GetName()))
            return None
        if not findingsMarkups.isOnGrid(node):
            self._say(reviewTexts.movedAway(volume.GetName()))
            return None
        try:
            session, fromFile = reviewSession.open_(node, self.update)
        except InputError as error:
            self._say(str(error))
            return None
        if fromFile:
            self._say(_("The scene is older than the review in {path}, which is shown.").format(path=session.place))
        return session

    def take(self, session):
        """Show a review that was begun just now, or in which was detected once more."""
        if session is self.session:
            # what the reader is about to say in it goes on
            self._arrangeViews()
            return
        self._leaveSession()
        self.session = session
        self._begin()

    def _begin(self):
        self.qualifiers.begin(self.session)
        self._observeFindings()
        self._arrangeViews()
        if self.session is not None:
            # when the scene has come to rest, so that the first verdict does not wait for it
            qt.QTimer.singleShot(0, self._settle)

    def _settle(self):
        """Do what takes a moment: read the outlines, and save what is in the scene alone."""
        scene = slicer.mrmlScene
        if self.session is not None and scene.IsNodePresent(self.session.node) and not scene.IsBatchProcessing():
            self.session.readRegions()
            if not self.session.isSaved:
                # the scene says more than the file, for instance after an autosave that failed
                self.session.save()
                self.update()

    def close(self):
        """Let go of keys and scene."""
        self._shortcuts.close()
        self._leaveSession()
        self.removeObservers()

    def _leaveSession(self):
        """Take over what the reader was about to say, and forget what belongs to this review alone."""
        self.takeBack()
        self.qualifiers.commit()
        self._keepWindow()
        self._warned, self._left = None, None
        for combo in self._filters():
            combo.blockSignals(True)
            combo.setCurrentIndex(0)
            combo.blockSignals(False)

    def _observeFindings(self):
        markups = slicer.vtkMRMLMarkupsNode
        self.removeObservers()
        self._dragging = False
        if self.session is not None:
            for event, method in ((markups.PointAddedEvent, self._onFindingsModified),
                                  (markups.PointRemovedEvent, self._onFindingsModified),
                                  (markups.PointModifiedEvent, self._onPointModified),
                                  (markups.PointStartInteractionEvent, self._onDragBegun),
                                  (markups.PointEndInteractionEvent, self._onDragEnded)):
                self.addObserver(self.session.node, event, method)
            self.addObserver(self.session.node, slicer.vtkMRMLTransformableNode.TransformModifiedEvent,
                             self._onFindingsTransformed)
            findingsMarkups.followVolume(self.session.node)

    def _arrangeViews(self):
        """Arrange the views for the review, but not behind another module that is open."""
        self._toArrange = not self._entered
        volume = self.session.volumeNode if self.session is not None else None
        if volume is not None and self._entered:
            readingViews.arrange(volume, self.session.modality)

    def _keepWindow(self):
        volume = self.session.volumeNode if self.session is not None else None
        if volume is not None and volume.GetImageData() is not None:
            readingViews.keepWindow(volume, self.session.modality)

    def _onFindingsModified(self, caller=None, event=None):
        self._adopt()

    def _adopt(self):
        """Take over what was done to the points elsewhere; if it has taken the current item away, go on to another."""
        session = self.session
        wasThere = session.item(session.current) is not None
        session.adopt()
        if wasThere:
            self._leaveGone()

    def _onPointModified(self, caller=None, event=None):
        """Take over a move by code at once, but a drag only where it ends: it modifies the point at every step."""
        if not self._dragging:
            self._adopt()

    def _onDragBegun(self, caller=None, event=None):
        self._dragging = True

    def _onDragEnded(self, caller=None, event=None):
        self._dragging = False
        self._adopt()

    def _onFindingsTransformed(self, caller=None, event=None):
        findingsMarkups.followVolume(self.session.node)
        self.update()

    def update(self):
        """Show the review as it stands."""
        session, ui = self.session, self.ui
        self._fillTable()
        ui.summaryLabel.setText(reviewTexts.summary(session.items) if session is not None
                                else _("No detection yet."))
        provenance = session.state.provenance if session is not None else None
        ui.summaryLabel.setToolTip(reviewTexts.howFound(provenance) if provenance else _("Counts of the findings"))
        if session is not None and session.problem:
            self._say(session.problem)
        self._updateThreshold()
        self._updateSaveLabel()
        self._updateButtons()

    def _listed(self):
        """Return the items that the table lists, in its order."""
        if self.session is None:
            return []
        return self._ordered(self.session.items, *map(selectedValue, self._filters()))

    def _ordered(self, items, *filters):
        listing = findingsOrder.Listing(selectedValue(self.ui.orderCombo), *filters)
        return findingsOrder.listed(items, self.session.places(), self.session.volumeNode, listing)

    def _filters(self):
        ui = self.ui
        return ui.verdictFilterCombo, ui.sizeFilterCombo, ui.regionFilterCombo

    def _fillTable(self):
        fillTable(self.ui.findingsTable, self.session, self._listed(),
                  self.session.places() if self.session is not None else {})

    def _updateThreshold(self):
        slider = self.ui.thresholdSlider
        slider.setEnabled(self.session is not None)
        slider.blockSignals(True)
        slider.value = self.session.threshold if self.session is not None else 0.0
        slider.blockSignals(False)

    def _updateSaveLabel(self):
        session, label = self.session, self.ui.saveLabel
        label.setText(reviewTexts.circumstances(session) if session is not None else "")
        saved = session is not None and session.place.exists()
        label.setToolTip(_("Every verdict is saved at once in {path}").format(path=session.place) if saved
                         else _("Every verdict is saved at once"))

    def _updateButtons(self):
        session, ui = self.session, self.ui
        item = session.item(session.current) if session is not None else None
        # what a filter hides is not judged unseen
        listed = item is not None and any(one.id == item.id for one in self._listed())
        ui.acceptButton.setEnabled(listed)
        ui.rejectButton.setEnabled(listed)
        ui.resetButton.setEnabled(item is not None and item.verdict != UNDECIDED)
        ui.addButton.setEnabled(session is not None)
        ui.outlineButton.setEnabled(item is not None)
        ui.logButton.setEnabled(session is not None)
        ui.removeButton.setEnabled(item is not None and item.added_by_reader)
        ui.undoButton.setEnabled(session is not None and session.state.to_undo is not None)
        ui.redoButton.setEnabled(session is not None and session.state.to_redo is not None)
        self.qualifiers.update()
        self._updateProbe()

    def _updateProbe(self):
        """Probe the current item, if anybody looks."""
        if self.ui.tabs.currentWidget() is self.ui.probeTab:
            probeCard.show(self.ui.probeText, self.ui.probePlot, self.session)

    def _onTabChanged(self, index):
        self._updateProbe()

    # From finding to finding

    def _onOrderChanged(self, index):
        qt.QSettings().setValue(_ORDER_SETTING, selectedValue(self.ui.orderCombo))
        self._fillTable()

    def _onFilterChanged(self, index):
        self._fillTable()
        self._updateButtons()

    def _onRowSelected(self, row=-1, column=-1):
        """Jump when another row is selected, and again when the selected one is clicked after looking around."""
        if self.session is not None:
            self._show(selectedNumber(self.ui.findingsTable))

    def _show(self, number):
        """Make an item the current one and bring the slice views there."""
        self.session.show(number)
        self._updateButtons()
        self._jump(number)

    def _jump(self, number):
        place = findingsMarkups.worldPositions(self.session.node).get(number)
        if place is not None:
            sliceViews.showPosition(place, self.session.volumeNode)

    def showAndSelect(self, number):
        """Make an item the current one in views and table."""
        self._show(number)
        self._fillTable()

    def showNextOpen(self):
        """Go on to the next open item."""
        following = self._nextOpen()
        if following is not None:
            self.showAndSelect(following)

    def _showCurrent(self):
        """Bring the slice views to the current item, or if it has gone from the screen to another one.

        It goes when it is removed, or when what was said about it is taken back and its probability is below the
        threshold.
        """
        session, number = self.session, self.session.current
        if session.item(number) is not None:
            self._jump(number)
            return
        self._leaveGone()
        if session.state.item(number) is not None:
            self._say(_("Finding {number} is open again and below the threshold; a lower one shows it.").format(
                number=number))

    def _leaveGone(self):
        """If the current item has gone from the screen, go on to the next open one, otherwise to the first."""
        session, listed = self.session, self._listed()
        if session.item(session.current) is None and listed:
            self.showAndSelect(self._nextOpen() or listed[0].id)

    def _nextOpen(self) -> int | None:
        """Return the next open item but the current one, round the table.

        A current item that the table does not list has its place in the order nevertheless.
        """
        current = self.session.current
        order = [item.id for item in self._ordered(self.session.state.items)]
        start = order.index(current) if current in order else 0
        # from the current one on, then round
        rank = {number: (index - start) % len(order) for index, number in enumerate(order)}
        following = [item.id for item in self._listed() if item.verdict == UNDECIDED and item.id != current]
        return min(following, key=rank.__getitem__, default=None)

    def _step(self, direction):
        """Show the next or previous item, judged or not, round the table."""
        numbers = [item.id for item in self._listed()]
        if numbers:
            before = -1 if direction > 0 else 0
            here = numbers.index(self.session.current) if self.session.current in numbers else before
            self.showAndSelect(numbers[(here + direction) % len(numbers)])

    def _onThresholdChanged(self, value):
        if self.session is not None:
            self.session.setThreshold(value)
            self._leaveGone()

    def _searchForMisses(self):
        """Show the next ring of improbable candidates, and the first of them."""
        threshold = self.session.nextRing()
        if threshold is None:
            self._say(_("All candidates are on screen."))
            return
        self._say("")
        self.session.setThreshold(threshold)
        self.showNextOpen()

    # Verdicts and what is said beside them

    def _onAcceptClicked(self, checked=False):
        self._judge(ACCEPTED)

    def _onRejectClicked(self, checked=False):
        self._judge(REJECTED)

    def _onResetClicked(self, checked=False):
        self.session.act(review_log.VERDICT, self.session.current, UNDECIDED)
        self._showCurrent()

    def _judge(self, verdict):
        """Give the current item a verdict and go on to the next open one."""
        self.qualifiers.commit()
        self.qualifiers.judged(self.session.current)
        self._say("" if reviewSession.readerName()
                  else _("Your verdicts carry no name; enter it under “Keys and reader”."))
        self._actAndGoOn(review_log.VERDICT, verdict)

    def _actAndGoOn(self, action, value=None):
        """Do something with the current item, and show the next open one; stay if there is none."""
        session, following = self.session, self._nextOpen()
        session.act(action, session.current, value, then=following)
        if following is not None:
            self._jump(following)
            return
        filtered = session.undecidedCount
        if filtered and len(self._listed()) < len(session.items):
            text = _("1 open finding is not in the list, because of its filters.") if filtered == 1 else \
                _("{count} open findings are not in the list, because of its filters.")
            self._say(text.format(count=filtered))
        elif not filtered and session.nextRing() is not None:
            self._say(_("All on screen are judged. {key} shows the next less probable ones.").format(
                key=self._keyMap.key("misses") or _("A lower threshold")))

    # Adding, moving, removing, undoing

    def _onAddClicked(self, checked=False):
        """Add a microbleed where the reader points; where there is a finding already, only when asked twice."""
        session = self.session
        try:
            place = self._pointedAt()
            close = session.near(place)
            if close is not None and self._warned != (close[1].id, place):
                self._warned = (close[1].id, place)
                self._say(_("Finding {number} is only {distance:.1f} mm away; once more adds another one.").format(
                    number=close[1].id, distance=close[0]))
                return
            session.add(place)
        except ValueError as error:
            self._say(str(error))
            return
        self.qualifiers.judged(session.current)
        self._say("")
        self._jump(session.current)

    def _pointedAt(self):
        """Return the world position (RAS mm) that the reader points at; ValueError if he does not in this scan."""
        place = sliceViews.pointedAt(self._staleCrosshair)
        if place is None:
            raise ValueError(_("The crosshair was not placed in this scan yet; hold Shift and move the mouse to the "
                               "place in a slice view."))
        return place

    def _onRemoveClicked(self, checked=False):
        self.session.remove(self.session.current)
        self._showCurrent()

    def _onMove(self):
        session = self.session
        if session.item(session.current) is None:
            return
        try:
            session.move(session.current, self._pointedAt())
        except ValueError as error:
            self._say(str(error))
            return
        self._jump(session.current)

    def _onUndoClicked(self, checked=False):
        self.session.undo()
        self._showCurrent()

    def _onRedoClicked(self, checked=False):
        self.session.redo()
        self._showCurrent()

    def _onReaderEdited(self):
        reviewSession.setReaderName(self.ui.readerEdit.text.strip())
        self._updateSaveLabel()

    def _onReaderReturned(self):
        """Let the keys act again."""
        self.ui.readerEdit.clearFocus()

    def _onOutlineClicked(self, checked=False):
        """Let the reader change the outline of the current item in the Segment Editor; `enter` takes it over."""
        if self.session is not None and self.session.item(self.session.current) is not None:
            self._say(_("Change the outline in the Segment Editor, then come back to this module."))
            outlineEditing.openEditor(self.session.node, self.session.current)

    def _onLogClicked(self, checked=False):
        try:
            self._say(_("The log is in {path}").format(path=self.session.saveLog()))
        except OSError as error:
            self._say(_("The log could not be written: {error}").format(error=error))

    # Coming and going

    def enter(self, window):
        """Let the keys act in a window, and take over outlines that were changed meanwhile."""
        self._shortcuts.open(window)
        self._entered = True
        self.takeBack()
        self._left = None
        if self._toArrange:
            self._arrangeViews()

    def takeBack(self):
        """Take over outlines that were changed since the reader went to another module."""
        if self.session is None or self._left is None or self._left[0] is not self.session.node \
                or not slicer.mrmlScene.IsNodePresent(self.session.node) \
                or not findingsMarkups.isOnGrid(self.session.node):
            return
        present = findingsOutline.fingerprint(self.session.node)
        if self._left[1] != present:
            self.session.takeOutlines()
            self._left = (self.session.node, findingsOutline.fingerprint(self.session.node))

    def exit(self):
        """Give the keys back while another module is open."""
        self._shortcuts.close()
        self._entered = False
        self._left = None
        if self.session is not None:
            self.session.readRegions()
            self._left = (self.session.node, findingsOutline.fingerprint(self.session.node))

    # Keys

    def runCommand(self, name):
        """Do what a key says."""
        session, ui = self.session, self.ui
        buttons = {"accept": ui.acceptButton, "reject": ui.rejectButton, "reset": ui.resetButton,
                   "undo": ui.undoButton, "redo": ui.redoButton, "add": ui.addButton, "remove": ui.removeButton,
                   "edit": ui.outlineButton, "case": ui.nextCaseButton}
        if name in buttons:
            buttons[name].click()
        elif session is None:
            return
        elif name in CERTAINTIES:
            self.qualifiers.give(review_log.CERTAINTY, name)
        elif name.startswith(MIMIC):
            self.qualifiers.give(review_log.MIMIC_KIND, name.removeprefix(MIMIC))
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
        elif name == "probe":
            ui.tabs.setCurrentWidget(ui.findingsTab if ui.tabs.currentWidget() is ui.probeTab else ui.probeTab)
        elif name == "sequence":
            self._say(_("Shown: {name}").format(name=readingViews.showNextSequence(session.volumeNode)))

    def _onKeyEdited(self, row, column):
        self._say(keysTable.take(self.ui.keysTable, row, self._keyMap))
        self._renewKeys()

    def _onResetKeysClicked(self, checked=False):
        self._keyMap.reset()
        self._renewKeys()

    def _renewKeys(self):
        self._showKeys()
        self._shortcuts.renew()

    def _showKeys(self):
        """Show the keys in the legend and on the buttons of the verdicts."""
        keysTable.fill(self.ui.keysTable, self._keyMap)
        self.qualifiers.showKeys(self._keyMap)
        for name, button, text in (("accept", self.ui.acceptButton, _("✓ Accept")),
                                   ("reject", self.ui.rejectButton, _("✗ Reject"))):
            key = self._keyMap.key(name)
            button.setText(f"{text} ({key})" if key else text)
