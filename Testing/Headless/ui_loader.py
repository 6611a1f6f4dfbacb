"""``slicer.util.loadUI``: QUiLoader with the stand-in widgets and the scene connections of the .ui file.

A widget, or a property of a stand-in, that the harness does not know is an error, never ignored.
"""

import xml.etree.ElementTree as ElementTree

from PySide6 import QtCore, QtUiTools, QtWidgets

from Headless import ctk_widgets, mrml_widgets, pythonqt
from Headless.errors import NotProvided

STAND_INS = {cls.__name__: cls for cls in (*ctk_widgets.WIDGETS, *mrml_widgets.WIDGETS)}


def load_ui(path):
    """Return the top widget of the .ui file.

    Raises
    ------
    RuntimeError
        If the file is missing or Qt cannot make its widget, as in Slicer.
    NotProvided
        If the file uses a widget or a property that has no stand-in.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise RuntimeError(f"Could not load UI file: {path}: {error}") from error
    _check_widgets(path, root)
    _check_properties(path, root)
    scene_links = _take_scene_links(root)
    widget = _load(path, root)
    for sender, signal, receiver, slot in scene_links:
        getattr(_named(widget, sender), signal).connect(getattr(_named(widget, receiver), slot))
    return widget


def _check_widgets(path, root):
    for custom in root.iter("customwidget"):
        if custom.findtext("class") not in STAND_INS:
            raise NotProvided(f"{path}: {custom.findtext('class')} is not provided by the headless Slicer")


def _check_properties(path, root):
    for widget in root.iter("widget"):
        cls = STAND_INS.get(widget.get("class"))
        for entry in widget.findall("property") if cls else ():
            name = entry.get("name")
            if entry.get("stdset") != "0" and cls.staticMetaObject.indexOfProperty(name) < 0:
                where = f"{path}: {widget.get('class')} '{widget.get('name')}'"
                raise NotProvided(f"{where}: the headless stand-in has no property '{name}'")


def _take_scene_links(root):
    """Remove the connections with MRML types, which Qt cannot make here, and return them."""
    links = []
    connections = root.find("connections")
    for entry in list(connections) if connections is not None else ():
        sender, signal, receiver, slot = (entry.findtext(key) for key in ("sender", "signal", "receiver", "slot"))
        if "vtkMRML" in signal + slot:
            links.append((sender, signal.partition("(")[0], receiver, slot.partition("(")[0]))
            connections.remove(entry)
    return links


def _load(path, root):
    loader = QtUiTools.QUiLoader()
    for cls in STAND_INS.values():
        loader.registerCustomWidget(cls)
    buffer = QtCore.QBuffer()
    buffer.setData(ElementTree.tostring(root))
    buffer.open(QtCore.QIODevice.ReadOnly)
    with pythonqt.loading():
        widget = loader.load(buffer)
    if widget is None:
        raise RuntimeError(f"Could not load UI file: {path}: {loader.errorString()}")
    return widget


def _named(widget, name):
    return widget if widget.objectName == name else widget.findChild(QtWidgets.QWidget, name)
