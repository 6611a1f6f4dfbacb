"""Questions of the comparison with a baseline: is a microbleed new, or one that was there? Answers lie beside the
review, so that they are asked once."""

from dataclasses import replace

import qt
from microbleeds.errors import InputError
from microbleeds.export.pair_answers import Question, read_questions, table_beside, with_questions, write_questions
from microbleeds.longitudinal import NEW
from microbleeds.review_log import now
from slicer.i18n import tr as _

from .reviewSession import readerName
from .widgets import fillCombo, selectedValue, selectValue, setColumns

_LIST_HEIGHT, _NO_LIMIT = 84, 16777215
"""Of the list of forms, which leaves its place to the questions."""


class PairQuestions:
    """`session()` returns the review that is shown or None, `show(number)` brings the views to a finding, `say(text)`
    shows a message."""

    def __init__(self, ui, session, show, say):
        self.ui = ui
        self._session = session
        self._show = show
        self._say = say
        self._questions: list[Question] = []
        setColumns(ui.pairsTable, ((_("Finding"), _("Number of the microbleed; a click brings the views to it")),
                                   (_("Perhaps this one of the baseline"), _("Number in the baseline, and distance")),
                                   (_("Answer"), _("Of the reader"))), stretched=1)
        ui.pairsTable.connect("cellClicked(int,int)", self._onRow)
        ui.pairsTable.connect("itemSelectionChanged()", self._onRow)
        ui.pairAnswerSelector.connect("currentIndexChanged(int)", self._onAnswer)
        self.forget()

    def forget(self):
        """Show no questions: another review or baseline."""
        self._questions = []
        self._fill()

    def take(self, questions):
        """Show the questions of an export's outcome, the answered ones too, so that an answer can be changed.

        They are those of this comparison; the table in its folder may hold others.
        """
        self._questions = [Question(**one) for one in questions]
        self._fill()

    @property
    def openCount(self) -> int:
        """How many questions have no answer."""
        return sum(not question.answer for question in self._questions)

    def answersFile(self) -> str:
        """Return the path of the answers of the review that is shown, "" if there are none."""
        path = table_beside(self._session().place)
        return str(path) if path.exists() else ""

    def _fill(self):
        table = self.ui.pairsTable
        table.blockSignals(True)
        try:
            table.setRowCount(len(self._questions))
            for number, question in enumerate(self._questions):
                for column, text in enumerate((str(question.finding), question.candidates, _answerText(question))):
                    _setText(table, number, column, text)
        finally:
            table.blockSignals(False)
        for widget in (table, self.ui.pairAnswerSelector):
            widget.setVisible(bool(self._questions))
        self.ui.exportList.setMaximumHeight(_LIST_HEIGHT if self._questions else _NO_LIMIT)
        self._fillAnswers()

    def _row(self) -> int:
        """Return the selected row, -1 for none; the table's current one lags behind inside the signal."""
        items = self.ui.pairsTable.selectedItems()
        return items[0].row() if items else -1

    def _fillAnswers(self):
        """Offer the answers on the question that is selected."""
        selector, row = self.ui.pairAnswerSelector, self._row()
        selector.blockSignals(True)
        try:
            selector.clear()
            if row >= 0:
                question = self._questions[row]
                fillCombo(selector, [("", _("Not sure")), (NEW, _("New")), *(
                    (str(number), _("Same as {number} of the baseline").format(number=number))
                    for number in question.candidate_ids)])
                selectValue(selector, question.answer)
        finally:
            selector.blockSignals(False)
        selector.setEnabled(row >= 0)

    def _onRow(self, row=-1, column=-1):
        self._fillAnswers()
        number = self._questions[self._row()].finding if self._row() >= 0 else 0
        # a point that the reader had set may have been taken away since
        if self._session().item(number) is not None:
            self._show(number)

    def _onAnswer(self, index):
        answer, row = selectedValue(self.ui.pairAnswerSelector), self._row()
        if row < 0:
            return
        answered = replace(self._questions[row], answer=answer, reader=readerName() if answer else "",
                           answered_at=now() if answer else "")
        try:
            self._save(answered)
        except InputError as error:
            self._say(str(error))
            self._fillAnswers()
            return
        self._questions[row] = answered
        self._fill()

    def _save(self, question):
        path = table_beside(self._session().place)
        write_questions(path, with_questions(read_questions(path) if path.exists() else (), [question]))


def _setText(table, row, column, text):
    """A new item would take the selection from its row."""
    if table.item(row, column) is None:
        table.setItem(row, column, qt.QTableWidgetItem())
    table.item(row, column).setText(text)


def _answerText(question):
    if question.answer in ("", NEW):
        return _("new") if question.answer else _("not sure")
    return _("same as {number}").format(number=question.answer)
