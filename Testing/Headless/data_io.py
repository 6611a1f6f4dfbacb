"""Reading and writing nodes and scenes: stands in for qSlicerCoreIOManager, which ``slicer.util.load*/save*`` call.

The storage nodes that do the work are Slicer's own.
"""

import os
from pathlib import Path

import slicer

from Headless.errors import NotProvided

FILE_TYPES = {
    ".mrk.json": "MarkupsFile",
    ".fcsv": "MarkupsFile",
    ".seg.nrrd": "SegmentationFile",
    ".nii.gz": "VolumeFile",
    ".nii": "VolumeFile",
    ".nrrd": "VolumeFile",
    ".mha": "VolumeFile",
    ".csv": "TableFile",
    ".tsv": "TableFile",
    ".mrb": "SceneFile",
    ".mrml": "SceneFile",
    ".txt": "TextFile",
    ".json": "TextFile",
    ".h5": "TransformFile",
    ".tfm": "TransformFile",
}

STORED_NODES = {
    "TableFile": ("vtkMRMLTableNode", "vtkMRMLTableStorageNode"),
    "TextFile": ("vtkMRMLTextNode", "vtkMRMLTextStorageNode"),
    "TransformFile": ("vtkMRMLTransformNode", "vtkMRMLTransformStorageNode"),
}

# Arguments of vtkSlicerVolumesLogic.AddArchetypeVolume, as bits
VOLUME_OPTIONS = {"labelmap": 1, "center": 2, "singleFile": 4, "autoWindowLevel": 8, "discardOrientation": 16}


class IOManager:
    """The methods of qSlicerCoreIOManager that ``slicer.util`` uses."""

    def __init__(self, application):
        self._application = application

    def fileType(self, fileName):
        lower = str(fileName).lower()
        for extension, fileType in FILE_TYPES.items():
            if lower.endswith(extension):
                return fileType
        raise NotProvided(f"no reader for {fileName} in the headless Slicer")

    def loadNodes(self, fileType, properties, loadedNodes=None, messages=None):
        fileName = properties["fileName"]
        if fileType == "SceneFile":
            return _load_scene(fileName, bool(properties.get("clear")))
        node = self._load_node(fileType, properties, properties.get("name") or Path(fileName).name.split(".")[0])
        if node is not None and loadedNodes is not None:
            loadedNodes.AddItem(node)
        return node is not None

    def _load_node(self, fileType, properties, name):
        fileName, logics = properties["fileName"], self._application.moduleLogics
        if fileType == "VolumeFile":
            options = sum(bit for key, bit in VOLUME_OPTIONS.items() if properties.get(key))
            node = logics["Volumes"].AddArchetypeVolume(fileName, name, options)
            if node and properties.get("show", True):
                slicer.util.setSliceViewerLayers(background=node, fit=True)
            return node
        if fileType == "MarkupsFile":
            nodeID = logics["Markups"].LoadMarkups(fileName, name)
            return slicer.mrmlScene.GetNodeByID(nodeID) if nodeID else None
        if fileType == "SegmentationFile":
            return logics["Segmentations"].LoadSegmentationFromFile(fileName, True, name)
        if fileType in STORED_NODES:
            return _load_stored_node(fileType, fileName, name)
        raise NotProvided(f"no reader for {fileType} in the headless Slicer")

    def fileWriterFileType(self, node):
        return node.GetClassName()

    def saveNodes(self, fileType, properties, messages=None):
        fileName = str(properties["fileName"])
        if fileType == "SceneFile":
            return _save_scene(fileName)
        node = slicer.mrmlScene.GetNodeByID(properties["nodeID"])
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode(fileName)
        node.GetStorageNode().SetFileName(fileName)
        return bool(node.GetStorageNode().WriteData(node))

    def fileWriterExtensions(self, node):
        formats = _new_storage(node).GetSupportedWriteFileTypes()
        return tuple(formats.GetValue(i) for i in range(formats.GetNumberOfValues()))

    def extractKnownExtension(self, fileName, node):
        extension_of = slicer.vtkDataFileFormatHelper.GetFileExtensionFromFormatString
        known = [extension_of(text) for text in self.fileWriterExtensions(node)]
        matching = [extension for extension in known if str(fileName).lower().endswith(extension.lower())]
        return max(matching, key=len, default=Path(str(fileName)).suffix)

    def exportNodes(self, nodeIDs, fileNames, properties, hardenTransform=False, messages=None):
        nodes = [slicer.mrmlScene.GetNodeByID(nodeID) for nodeID in nodeIDs]
        return all(
            _export_node(node, str(name), hardenTransform) for node, name in zip(nodes, fileNames, strict=True)
        )


def _load_scene(fileName, clear):
    if not os.path.exists(fileName):
        return False
    scene = slicer.mrmlScene
    if fileName.endswith(".mrb"):
        return bool(scene.ReadFromMRB(fileName, clear))
    scene.SetURL(fileName)
    return bool(scene.Connect() if clear else scene.Import())


def _save_scene(fileName):
    scene = slicer.mrmlScene
    scene.SetURL(fileName)
    if fileName.endswith(".mrb"):
        return bool(scene.WriteToMRB(fileName))
    if fileName.endswith(".mrml"):
        scene.SetRootDirectory(os.path.dirname(os.path.abspath(fileName)))
        return bool(scene.Commit())
    raise NotProvided("saving a scene as a directory is not provided by the headless Slicer")


def _load_stored_node(fileType, fileName, name):
    scene = slicer.mrmlScene
    node_class, storage_class = STORED_NODES[fileType]
    node, storage = scene.AddNewNodeByClass(node_class, name), scene.AddNewNodeByClass(storage_class)
    storage.SetFileName(fileName)
    if storage.ReadData(node):
        node.SetAndObserveStorageNodeID(storage.GetID())
        return node
    scene.RemoveNode(node)
    scene.RemoveNode(storage)
    return None


def _new_storage(node):
    storage = slicer.mrmlScene.CreateNodeByClass(node.GetDefaultStorageNodeClassName(None))
    storage.UnRegister(None)
    storage.SetScene(slicer.mrmlScene)  # the list of file types is empty without a scene
    return storage


def _export_node(node, fileName, hardenTransform):
    scene = slicer.mrmlScene
    copy = scene.AddNewNodeByClass(node.GetClassName())
    try:
        copy.Copy(node)
        copy.SetAndObserveTransformNodeID(node.GetTransformNodeID() if hardenTransform else None)
        if copy.GetParentTransformNode() is not None:
            copy.HardenTransform()
        storage = _new_storage(copy)
        storage.SetFileName(fileName)
        return bool(storage.WriteData(copy))
    finally:
        scene.RemoveNode(copy)
