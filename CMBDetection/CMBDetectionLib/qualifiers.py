"""Certainty, reason, region and comment: what is said beside a verdict, about the finding that was judged."""

from microbleeds import review_log
from microbleeds.review_files import ACCEPTED, REJECTED, UNDECIDED
from slicer.i18n import tr as _

from . import parameters, regionTexts
from .reviewKeys import MIMIC, mimicTexts
from .widgets import fillCombo, selectedValue, selectValue


class Qualifiers:
    """The widgets below the verdicts; `say(text)` shows a message."""

    def __init__(self, ui, say):
        self.ui = ui
        self._say = say
        self._session = None
        self._judged = 0
        """Id of the finding that was judged last."""
        self._commented = None
        """Id of the finding that a comment is being typed for."""
        fillCombo(ui.regionCombo, regionTexts.choices())
        ui.certaintyCombo.connect("activated(int)", self._onCertaintyChosen)
        ui.mimicCombo.connect("activated(int)", self._onMimicChosen)
        ui.regionCombo.connect("activated(int)", self._onRegionChosen)
        ui.commentEdit.connect("textEdited(QString)", self._onCommentTyped)
        ui.commentEdit.connect("editingFinished()", self._onCommentEdited)
        ui.commentEdit.connect("returnPressed()", self._onCommentReturned)

    def begin(self, session):
        """Belong to another review from now on (None: to none)."""
        self._session, self._judged, self._commented = session, 0, None

    def judged(self, number):
        """Belong to a finding that was judged just now."""
        self._judged = number

    def showKeys(self, keyMap):
        """Fill the lists anew, with the keys that choose from them."""
        for combo, choices, prefix in ((self.ui.certaintyCombo, parameters.certaintyChoices(), ""),
                                       (self.ui.mimicCombo, mimicTexts().items(), MIMIC)):
            combo.blockSignals(True)
            combo.clear()
            for value, text in choices:
                key = keyMap.key(prefix + value) if value else ""
                combo.addItem(f"{text} ({key})" if key else text, value)
            combo.blockSignals(False)
        self.update()

    def update(self):
        """Show what was said about the finding."""
        item, ui = self._item(), self.ui
        ui.qualifiedLabel.setText(_("No. {number} {sign}").format(
            number=item.id, sign="✓" if item.verdict == ACCEPTED else "✗") if item else "–")
        ui.certaintyCombo.setEnabled(item is not None)
        ui.commentEdit.setEnabled(item is not None)
        ui.regionCombo.setEnabled(item is not None)
        ui.mimicCombo.setEnabled(item is not None and item.verdict == REJECTED)
        selectValue(ui.certaintyCombo, item.certainty if item else "")
        selectValue(ui.mimicCombo, item.mimic_kind if item else "")
        self._showRegion(item)
        if not ui.commentEdit.hasFocus() and self._commented is None:
            ui.commentEdit.setText(item.comment if item else "")

    def _showRegion(self, item):
        """Show what a reader has chosen, with what the region map says as the first entry."""
        combo = self.ui.regionCombo
        place = self._session.places().get(item.id) if item is not None and not item.chosen_region else None
        combo.setItemText(0, regionTexts.placeText(place) if place is not None else regionTexts.choices()[0][1])
        selectValue(combo, regionTexts.choiceOf(item) if item is not None else "")

    def give(self, action, value):
        """Say something more about the finding that was judged."""
        item = self._item()
        if item is None or (action == review_log.MIMIC_KIND and item.verdict != REJECTED):
            self._say(_("Judge a finding first; a reason belongs to a rejected one."))
            return
        self._say(_("Finding {number}: {value}").format(number=item.id, value=value) if value else "")
        self._session.act(action, item.id, value)

    def commit(self):
        """Store a comment that was begun."""
        number, self._commented = self._commented, None
        item = self._session.item(number) if number is not None and self._session is not None else None
        if item is not None and self.ui.commentEdit.text != item.comment:
            self._session.act(review_log.COMMENT, item.id, self.ui.commentEdit.text)

    def _item(self):
        """Return the item that is meant: the selected one if it is judged, otherwise the one judged last."""
        if self._session is None:
            return None
        for number in (self._session.current, self._judged):
            item = self._session.item(number)
            if item is not None and item.verdict != UNDECIDED:
                return item
        return None

    def _onCertaintyChosen(self, index):
        self.give(review_log.CERTAINTY, selectedValue(self.ui.certaintyCombo))

    def _onMimicChosen(self, index):
        self.give(review_log.MIMIC_KIND, selectedValue(self.ui.mimicCombo))

    def _onRegionChosen(self, index):
        item, choice = self._item(), selectedValue(self.ui.regionCombo)
        if item is not None and choice != regionTexts.choiceOf(item):
            self._say("")
            self._session.act(review_log.REGION, item.id, regionTexts.valueOf(choice))

    def _onCommentTyped(self, text):
        """Remember whom the comment is for; by the time that it is complete another finding may be on screen."""
        item = self._item()
        if self._commented is None and item is not None:
            self._commented = item.id

    def _onCommentReturned(self):
        """Let the next key be a verdict again, no letter of the comment."""
        self.ui.commentEdit.clearFocus()

    def _onCommentEdited(self):
        self._onCommentTyped("")
        self.commit()
