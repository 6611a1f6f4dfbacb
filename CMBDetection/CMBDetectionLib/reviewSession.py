"""The review of one scan while it is open: every action goes into the log, and from there to scene and sidecar."""

import logging
import time
from contextlib import suppress
from dataclasses import replace

import numpy as np
import qt
from microbleeds import review_log
from microbleeds.components import equivalent_diameter_mm
from microbleeds.errors import InputError
from microbleeds.geometry import voxel_to_ras
from microbleeds.point_regions import focus_voxel, grow_region, voxels_within
from microbleeds.read_write import files_sha256, write_text
from microbleeds.region_codes import region_from_json, region_to_json
from microbleeds.review_files import FILE_NAME, REJECTED, UNDECIDED
from microbleeds.review_log import (
    Event,
    detection_value,
    events_table,
    extended,
    now,
    place_of,
    replay,
    shown_items,
)
from microbleeds.review_sidecar import Sidecar, labels_beside, sidecar_text
from slicer.i18n import tr as _

from . import findingsMarkups, findingsOutline, reviewStore
from .volumeNodes import digestOf, imageFileOf, ownRas, volumeOf

_RING = 10
"""Candidates that a search for misses shows at a time."""
_SIDES = {review_log.UNDONE: "before", review_log.REDONE: "after"}
"""Of the value of a changed outline: the region that counts then."""
_BRING_BACK = ((review_log.REMOVED, review_log.UNDONE), (review_log.ADDED, review_log.REDONE))
_LOG_NAME = "_desc-cmb_log.tsv"
_READER_SETTING = "CMBDetection/reader"


def readerName() -> str:
    """Return the name that goes into the log, "" if none was given."""
    return str(qt.QSettings().value(_READER_SETTING) or "")


def setReaderName(name):
    """Remember the reader's name for this and later sessions."""
    qt.QSettings().setValue(_READER_SETTING, name)


class ReviewSession:
    """The review that belongs to a findings node; `onChanged()` is called after every action.

    Attributes
    ----------
    node : vtkMRMLMarkupsFiducialNode
    state : ReviewState
    current : int
        Id of the finding on screen, 0 for none.
    problem : str
        Why the last autosave failed, "" if it did not.
    isSaved : bool
        Whether the file says what the review does, as far as readers have said something.
    """

    def __init__(self, node, sidecar, place, onChanged):
        self.node = node
        self.current = sidecar.current
        self.problem = ""
        self.isSaved = True
        self._sidecar = sidecar
        self.state = replay(sidecar.events)
        self._onChanged = onChanged
        self._mirroring = False
        self._shownAt = time.monotonic()
        self._place = place
        self._regions = None
        self._savedRegions = None

    @property
    def volumeNode(self):
        return self.node.GetNodeReference(findingsMarkups.VOLUME_ROLE)

    @property
    def threshold(self) -> float:
        return self._sidecar.threshold

    @property
    def place(self):
        """Path of the sidecar."""
        return self._place

    @property
    def modality(self) -> str:
        """What the volume was taken as by the latest detection, "" if there was none."""
        return self.state.provenance["modality"] if self.state.provenance is not None else ""

    @property
    def items(self):
        """The items on screen."""
        return list(shown_items(self.state, self.threshold))

    @property
    def undecidedCount(self) -> int:
        """How many items on screen are open."""
        return sum(item.verdict == UNDECIDED for item in self.items)

    def item(self, number):
        """Return the item of an id, None if there is none on screen."""
        return next((item for item in self.items if item.id == number), None)

    # Actions

    def act(self, action, number=0, value=None, then=None):
        """Do one thing, and have finding `then` on screen after it (None: the same one).

        Raises
        ------
        ValueError
            If it cannot be done; nothing has changed.
        """
        self._actAll([(action, number, value)], then)

    def _actAll(self, actions, then=None):
        seconds = round(time.monotonic() - self._shownAt, 2)
        at, reader = now(), readerName()
        events, state = self._sidecar.events, self.state
        for action, number, value in actions:
            events, state = extended(events, Event(at, reader, action, number, value, seconds))
        if then is not None:
            self._turnTo(then)
        self._become(replace(self._sidecar, events=events, reader=reader), state)

    def places(self) -> dict:
        """Return where all items lie, by id: `microbleeds.regions.Place`, None where that is not known."""
        return {item.id: place_of(self.state, item) for item in self.state.items}

    @property
    def image(self) -> tuple[str, str]:
        """Name and SHA-256 of the image file; the latter is "" where there is none."""
        return self._sidecar.input_name, self._sidecar.input_sha256

    def isBright(self) -> bool:
        """Whether microbleeds are bright on the volume."""
        return self.modality == "qsm"

    def add(self, worldRas):
        """Add a microbleed that the reader has seen, at the darkest voxel near a world position (QSM: the brightest).

        Raises
        ------
        ValueError
            If the position is outside the volume.
        """
        place, region, diameterMm = self._focus(worldRas)
        number = self.state.next_id
        # voxels of another finding stay its own
        region = region[self._allRegions()[tuple(region.T[::-1])] == 0]
        self._setRegion(number, region)
        self.act(review_log.ADDED, number, {"ras_mm": list(place), "diameter_mm": diameterMm,
                                            "region": region_to_json(region)}, then=number)

    def labels(self):
        """Return the outlines of all items as a label map (i, j, k) of ids on the grid of the volume."""
        return volumeOf(self.volumeNode).with_data(self._allRegions().T)

    def takeEvents(self, events):
        """Do what events say that were made elsewhere, as the reader's own."""
        for event in events:
            if event.action == review_log.ADDED:
                self._setRegion(event.finding, region_from_json(event.value.get("region")))
        if events:
            self._actAll([(event.action, event.finding, event.value) for event in events])

    def remove(self, number):
        """Remove a finding that a reader has added.

        Raises
        ------
        ValueError
            If it is not one.
        """
        self.act(review_log.REMOVED, number, {"region": region_to_json(_voxels(self._allRegions(), number))})

    def move(self, number, worldRas):
        """Move an item to the darkest voxel near a world position (QSM: the brightest); its outline stays.

        Raises
        ------
        ValueError
            If the position is outside the volume.
        """
        self.act(review_log.MOVED, number, list(self._focus(worldRas)[0]))

    def near(self, worldRas):
        """Return the item on screen within whose diameter the focus at a world position lies, and how far in mm.

        None if there is no such item; of several the nearest.

        Raises
        ------
        ValueError
            If the position is outside the volume.
        """
        place, _region, diameterMm = self._focus(worldRas)
        distances = [(float(np.linalg.norm(np.subtract(item.position_ras, place))), item) for item in self.items]
        close = [pair for pair in distances if pair[0] <= max(pair[1].diameter_mm, diameterMm)]
        return min(close, key=lambda pair: pair[0], default=None)

    def _focus(self, worldRas):
        """Return the own position of the extreme voxel near a world position, its region (n, 3) and diameter in mm."""
        volume, place = volumeOf(self.volumeNode), np.array(ownRas(self.volumeNode, worldRas))
        if not len(voxels_within(volume, place, 0.0)[0]):
            raise ValueError(_("The crosshair is outside the volume."))
        region = grow_region(volume, place, self.isBright())
        center = voxel_to_ras(volume, focus_voxel(volume, place, self.isBright()))
        diameterMm = equivalent_diameter_mm(len(region) * volume.voxel_volume_mm3)
        return tuple(center.tolist()), region, float(diameterMm)

    def takeOutlines(self):
        """Take over outlines that were changed elsewhere in Slicer, for instance in the Segment Editor."""
        former = self._allRegions()
        if self.node.GetNodeReference(findingsMarkups.OUTLINE_ROLE) is None:
            # deleted as a whole, which is no verdict on any of them
            self.showRegions(former)
            self.mirror()
            return
        present = findingsOutline.regionsOf(self.node, [item.id for item in self.state.items])
        changed = np.unique(np.concatenate([former[former != present], present[former != present]]))
        there = {item.id for item in self.state.items}
        voxelVolumeMm3 = volumeOf(self.volumeNode).voxel_volume_mm3
        actions = [(review_log.OUTLINED, number, review_log.outline_value(_voxels(former, number),
                                                                         _voxels(present, number), voxelVolumeMm3))
                   for number in changed.tolist() if number in there]
        if actions:
            before = self._regions
            self._regions, self._savedRegions = present, None
            try:
                self._actAll(actions)
            except ValueError:
                self._regions = before
                raise

    def saveLog(self):
        """Write the log as a table beside the review; return its path.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        path = self._place.with_name(self._place.name.removesuffix(FILE_NAME.format("")) + _LOG_NAME)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, events_table(self._sidecar.events))
        return path

    def finish(self):
        """Say that the review is done."""
        if not self.state.finished:
            self.act(review_log.FINISHED, 0, True)

    def undo(self):
        """Take back the latest action, and show its finding."""
        self._step(review_log.UNDONE, self.state.to_undo)

    def redo(self):
        """Do again what was undone last, and show its finding."""
        self._step(review_log.REDONE, self.state.to_redo)

    def _step(self, action, event):
        if event is None:
            return
        if event.action == review_log.OUTLINED:
            self._setRegion(event.finding, region_from_json(event.value[_SIDES[action]]))
        elif (event.action, action) in _BRING_BACK and event.value:
            self._setRegion(event.finding, region_from_json(event.value.get("region")))
        self.act(action, event.finding, then=event.finding or None)

    def show(self, number):
        """Say which finding is on screen; its time begins, and a review that is gone on with begins there."""
        if number != self.current:
            self._turnTo(number)
            self.save()

    def _turnTo(self, number):
        self.current = number
        self._shownAt = time.monotonic()

    def setThreshold(self, threshold):
        """Show undecided candidates of this probability or more; those that were judged stay.

        Only in the scene: dragging a slider shall not write a file at every step, the next action does.
        """
        if threshold != self.threshold:
            self._sidecar = replace(self._sidecar, threshold=threshold)
            self._keep()
            self.mirror()
            self._onChanged()

    def nextRing(self) -> float | None:
        """Return the threshold that shows the next most probable candidates, None if all are shown."""
        hidden = sorted((item.probability for item in self.state.items
                         if item.probability is not None and item.probability < self.threshold and not item.touched),
                        reverse=True)
        return hidden[min(_RING, len(hidden)) - 1] if hidden else None

    def detected(self, result, labelPath, threshold) -> str:
        """Take the result of a detection; return what became of findings that it does not have, "" if there are none.

        Raises
        ------
        OSError
            If the label map cannot be read; nothing has changed.
        """
        value = detection_value(result, self.state)
        numbers = {candidate["label"]: candidate["id"] for candidate in value["candidates"]}
        regions = findingsOutline.readRegions(self.volumeNode, labelPath, numbers)
        kept = [item.id for item in self.state.items
                if item.outlined or (item.touched and item.id not in numbers.values())]
        former = self._regionsOfItems(kept)
        regions[np.isin(regions, kept)] = 0
        before = {item.id for item in self.state.items if item.touched and not item.added_by_reader}
        self._sidecar = replace(self._sidecar, threshold=threshold)
        self.showRegions(np.where(regions > 0, regions, former))
        self.act(review_log.DETECTED, 0, value)
        orphans = [item.id for item in self.state.items if item.id in before and item.added_by_reader]
        if not orphans:
            return ""
        return _("Not found again, kept as the reader's: {numbers}.").format(numbers=", ".join(map(str, orphans)))

    # Scene and file

    def _setRegion(self, number, voxels):
        """Make the region of an id that of voxels (n, 3), indices (i, j, k)."""
        regions = self._allRegions()
        regions[regions == number] = 0
        regions[tuple(voxels.T[::-1])] = number
        self._savedRegions = None
        findingsOutline.showRegion(self.node, number, voxels)

    def showRegions(self, regions):
        """Make the regions those of a (k, j, i) array of ids."""
        self._regions, self._savedRegions = regions, None
        findingsOutline.showRegions(self.node, regions)

    def mirror(self):
        """Show the review in the scene."""
        if self.node.GetScene() is None:
            # deleted while the reader was about to say something
            return
        self._mirroring = True
        try:
            findingsMarkups.showItems(self.node, self.items)
            findingsOutline.colorOutlines(self.node, self.items)
        finally:
            self._mirroring = False

    def adopt(self):
        """Take over what was done to the points elsewhere in Slicer, for instance in the Markups module.

        A point that was moved or added is so in the review. One that was deleted is removed if it was the reader's;
        what the detector has found is rejected, not deleted.
        """
        if self._mirroring:
            return
        try:
            kept = reviewStore.fromScene(self.node)
        except InputError:
            # deleted or overwritten elsewhere in Slicer, which says nothing about the review
            self._keep()
            kept = self._sidecar
        if (kept.events, kept.threshold) != (self._sidecar.events, self._sidecar.threshold):
            # another panel has changed the review
            self._sidecar, self.state = kept, replay(kept.events)
            self._onChanged()
            return
        there = findingsMarkups.itemIds(self.node)
        moved = [item for item in self.items if item.id in there
                 and findingsMarkups.isMoved(self.node, there.index(item.id), item)]
        if len(moved) > 1 or any(findingsMarkups.isHardened(self.node, there.index(item.id), item) for item in moved):
            # no reader's doing: they were hardened, or dragged as a whole
            self.mirror()
            return
        actions = []
        for item in self.items:
            if item in moved:
                place = findingsMarkups.ownPosition(self.node, there.index(item.id))
                actions.append((review_log.MOVED, item.id, list(place)))
            elif item.id in there:
                continue
            elif item.added_by_reader:
                actions.append((review_log.REMOVED, item.id,
                                {"region": region_to_json(_voxels(self._allRegions(), item.id))}))
            else:
                actions.append((review_log.VERDICT, item.id, REJECTED))
        free = self.state.next_id
        for index, number in enumerate(there):
            if number is None or there.index(number) != index:
                place = {"ras_mm": list(findingsMarkups.ownPosition(self.node, index)), "diameter_mm": 0.0}
                actions.append((review_log.ADDED, free, place))
                free += 1
        if actions:
            self._actAll(actions)

    def _become(self, sidecar, state):
        self._sidecar, self.state = sidecar, state
        text = self._keep()
        self.mirror()
        self._save(text)
        self._onChanged()

    def _keep(self) -> str:
        """Keep the review in the scene; return its text."""
        self._sidecar = replace(self._sidecar, current=self.current)
        text = sidecar_text(self._sidecar)
        if self.node.GetScene() is not None:
            reviewStore.keepInScene(self.node, text)
        return text

    def save(self):
        """Save the review as it stands; `problem` says whether that was possible."""
        self._save(self._keep())

    def readRegions(self):
        """Read the regions out of the outlines now; see `_allRegions`."""
        if self.volumeNode is not None and self.volumeNode.GetImageData() is not None:
            self._allRegions()

    def _save(self, text):
        """Write the sidecar, once a reader has done something."""
        if all(event.action == review_log.DETECTED for event in self._sidecar.events) and not self._place.exists():
            self.isSaved = True
            return
        try:
            self._place.parent.mkdir(parents=True, exist_ok=True)
            self._saveRegions()
            write_text(self._place, text)
            self.problem = ""
            self.isSaved = True
        except OSError as error:
            self.isSaved = False
            logging.warning("CMBDetection: autosave failed: %s", error)
            self.problem = _("Not saved to {path}: {error}. Save the scene.").format(path=self._place,
                                                                                   error=error.strerror or error)

    def _saveRegions(self):
        numbers = tuple(item.id for item in self.state.items)
        if numbers != self._savedRegions and self.volumeNode is not None:
            self.writeRegions(labels_beside(self._place))
            self._savedRegions = numbers

    def writeRegions(self, path):
        """Write the outlines of all items as a label map on the grid of the volume."""
        numbers = [item.id for item in self.state.items]
        findingsOutline.writeRegions(self.volumeNode, self._regionsOfItems(numbers), path)

    def text(self) -> str:
        """Return what the sidecar holds."""
        return sidecar_text(self._sidecar)

    def _allRegions(self):
        """Return the regions as (k, j, i) array of ids, kept because reading them out of the outlines takes long."""
        if self._regions is None:
            self._regions = findingsOutline.regionsOf(self.node, [item.id for item in self.state.items])
        return self._regions

    def _regionsOfItems(self, numbers):
        regions = self._allRegions()
        return np.where(np.isin(regions, list(numbers)), regions, 0).astype(np.int32)


def _voxels(regions, number) -> np.ndarray:
    """Return the voxels (n, 3), indices (i, j, k), of a number in a (k, j, i) array."""
    return np.argwhere(regions == number)[:, ::-1]


def open_(node, onChanged):
    """Return the session of a findings node of the scene, and whether its file says more than the scene.

    Then the scene was saved before the last verdicts, or has lost its review, which is as in the file.

    Raises
    ------
    InputError
        If the scene has lost its review, and there is no file.
    """
    try:
        inScene = reviewStore.fromScene(node)
    except InputError:
        kept = reviewStore.find(node.GetNodeReference(findingsMarkups.VOLUME_ROLE))
        if kept.sidecar is None:
            raise
        return _asInFile(node, kept, onChanged), True
    kept = reviewStore.ofScene(node.GetNodeReference(findingsMarkups.VOLUME_ROLE), inScene)
    if kept.sidecar is None or reviewStore.goesOnFrom(inScene, kept.sidecar):
        session = ReviewSession(node, inScene, kept.place, onChanged)
        session.isSaved = kept.sidecar is not None and kept.sidecar.events == inScene.events
        regions = None
        if kept.sidecar is not None and not findingsOutline.areThere(node):
            # saved without the file of the outlines, or parted from it: they would be lost with the next verdict
            regions = _keptRegions(session.volumeNode, kept)
        if regions is not None:
            session.showRegions(regions)
        session.mirror()
        return session, False
    return _asInFile(node, kept, onChanged), True


def _asInFile(node, kept, onChanged):
    session = ReviewSession(node, kept.sidecar, kept.place, onChanged)
    _showKept(session, _keptRegions(session.volumeNode, kept))
    return session


def begin(volumeNode, onChanged):
    """Return the session of a new findings node for a volume."""
    image = imageFileOf(volumeNode)
    sidecar = Sidecar((), image.name if image is not None else volumeNode.GetName(),
                      files_sha256([image]) if image is not None else "", digestOf(volumeNode), readerName(), 0.0)
    session = ReviewSession(findingsMarkups.createFindingsNode(volumeNode), sidecar,
                            reviewStore.ofScene(volumeNode, sidecar).place, onChanged)
    _showKept(session, None)
    return session


def resume(volumeNode, kept, onChanged):
    """Return the session of a review that was kept as a file, as it was left.

    Where its label map cannot be read, it is put aside (``.damaged``), and the findings have no outlines.
    """
    regions = _keptRegions(volumeNode, kept)
    session = ReviewSession(findingsMarkups.createFindingsNode(volumeNode), kept.sidecar, kept.place, onChanged)
    _showKept(session, regions)
    return session


def _keptRegions(volumeNode, kept):
    """Return the regions of a review that was kept as a file as (k, j, i) array of ids, None if there are none."""
    labels = labels_beside(kept.source)
    if not labels.exists():
        return None
    numbers = {item.id: item.id for item in replay(kept.sidecar.events).items}
    try:
        return findingsOutline.readRegions(volumeNode, labels, numbers)
    except OSError as error:
        logging.warning("CMBDetection: %s", error)
        with suppress(OSError):
            labels.rename(labels.with_name(labels.name + ".damaged"))
        return None


def _showKept(session, regions):
    """Put a review that begins or goes on into the scene."""
    if regions is not None:
        session.showRegions(regions)
    reviewStore.keepInScene(session.node, session.text())
    session.mirror()
