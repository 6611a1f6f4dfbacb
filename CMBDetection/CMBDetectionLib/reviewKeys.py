"""The review's keys: which key does what, how it can be changed, and the shortcuts while the panel is open."""

from contextlib import suppress
from dataclasses import dataclass

import qt
import slicer
from microbleeds.review_files import MIMIC_KINDS
from slicer.i18n import tr as _

MIMIC = "mimic: "
"""Commands that begin so give the reason to reject that follows."""
_SETTING = "CMBDetection/keys/"
_OF_THE_VIEWS = ("B", "F", "V", "R", "G", "T", "[", "]", "{", "}", "+", "-", "Left", "Right", "Up", "Down", "Home",
                 "End", "PgUp", "PgDown", "Ins", "Del", "Backspace", "Esc", "Space", "Tab", "Return", "Enter")
"""Keys that Slicer's slice and 3D views, markups and dialogs use themselves."""
_TEXT_WIDGETS = ("QLineEdit", "QTextEdit", "QPlainTextEdit", "QAbstractSpinBox")


@dataclass(frozen=True)
class Command:
    """Something that a key does: its name in the settings, what it does in words, and the key at first."""

    name: str
    text: str
    key: str


def mimicTexts() -> dict[str, str]:
    """Return the reasons to reject in words."""
    return {"": _("Reason…"), "vessel": _("vessel"), "calcification": _("calcification"),
            "mineralisation": _("mineralisation"), "cavernoma": _("cavernoma"), "partial volume": _("partial volume"),
            "artefact": _("artefact"), "haemorrhagic lesion": _("haemorrhagic lesion"), "other": _("other")}


def commands() -> tuple[Command, ...]:
    """Return all commands in the order of the legend."""
    texts = mimicTexts()
    reasons = [Command(MIMIC + kind, _("rejected because: {reason}").format(reason=texts[kind]), str(number))
               for number, kind in enumerate(MIMIC_KINDS) if kind]
    return (Command("accept", _("accept, go on"), "A"), Command("reject", _("reject, go on"), "X"),
            Command("skip", _("leave open, go on"), "S"), Command("next", _("next finding"), "N"),
            Command("previous", _("previous finding"), "P"), Command("reset", _("open again"), "U"),
            Command("undo", _("undo"), "Z"), Command("redo", _("redo"), "Y"),
            Command("definite", _("definite"), "D"), Command("possible", _("possible"), "O"),
            Command("add", _("add a missed microbleed at the mouse or crosshair"), "I"),
            Command("move", _("move the finding to the mouse or crosshair"), "L"),
            Command("remove", _("remove a finding that you added"), "K"),
            Command("misses", _("search for misses: show less probable candidates"), "M"),
            *reasons, Command("comment", _("comment"), "C"),
            Command("probe", _("probe: figures and profiles of the finding"), "J"),
            Command("edit", _("change the outline in the Segment Editor"), "H"),
            Command("case", _("finish the case, open the next one"), "W"),
            Command("outline", _("show or hide rays and outlines"), "E"),
            Command("sequence", _("show the next sequence at the same place"), "Q"))


class KeyMap:
    """The key of each command, from the user's settings."""

    def __init__(self):
        self._defaults = {command.name: command.key for command in commands()}

    def key(self, name) -> str:
        """Return the key of a command as text, "" for none."""
        value = qt.QSettings().value(_SETTING + name)
        return self._defaults[name] if value is None else str(value)

    def change(self, name, key):
        """Give a command another key, "" for none.

        Raises
        ------
        ValueError
            If it is no key, or another command's or Slicer's own; the sentence says whose.
        """
        sequence = qt.QKeySequence(key)
        text = sequence.toString()
        if key and (not text or sequence.count() != 1):
            raise ValueError(_("{key} is no key; give one such as A or Ctrl+Shift+A.").format(key=key))
        for command in commands():
            if text and command.name != name and self.key(command.name) == text:
                raise ValueError(_("{key} is the key of “{command}”; give that another one first.").format(
                    key=text, command=command.text))
        if text in _OF_THE_VIEWS or text in _actionKeys():
            raise ValueError(_("{key} is a key of Slicer itself; choose another one.").format(key=text))
        qt.QSettings().setValue(_SETTING + name, text)

    def reset(self):
        """Give every command its first key."""
        qt.QSettings().remove(_SETTING.rstrip("/"))


class Shortcuts:
    """Shortcuts of a window between `open` and `close`; `run(name)` is called with the command."""

    def __init__(self, keyMap, run):
        self._keyMap = keyMap
        self._run = run
        self._window = None
        self._shortcuts = []

    def open(self, window):
        """Let the keys act in a window, whichever part of it has the focus, unless text is being typed."""
        self.close()
        self._window = window
        for command in commands():
            key = self._keyMap.key(command.name)
            if key:
                shortcut = qt.QShortcut(qt.QKeySequence(key), window)
                shortcut.setAutoRepeat(False)
                shortcut.connect("activated()", self._callback(command.name))
                self._shortcuts.append(shortcut)

    def close(self):
        """Give all keys back."""
        self._window = None
        shortcuts, self._shortcuts = self._shortcuts, []
        for shortcut in shortcuts:
            # a window that is gone, as at the end of Slicer, has taken its shortcuts with it
            with suppress(RuntimeError, ValueError):
                shortcut.setEnabled(False)
                shortcut.setParent(None)
                shortcut.deleteLater()

    def renew(self):
        """Take the keys as they are now, if they act at all."""
        if self._window is not None:
            self.open(self._window)

    def _callback(self, name):
        def activated():
            if not _textHasFocus():
                self._run(name)
        return activated


def _textHasFocus() -> bool:
    widget = slicer.app.focusWidget()
    return widget is not None and any(widget.inherits(name) for name in _TEXT_WIDGETS)


def _actionKeys() -> set[str]:
    """Return the keys of the actions of Slicer's main window, its menus and tool bars."""
    window = slicer.util.mainWindow()
    actions = slicer.util.findChildren(window, className="QAction") if window is not None else []
    return {text for text in (action.shortcut.toString() for action in actions) if text}
