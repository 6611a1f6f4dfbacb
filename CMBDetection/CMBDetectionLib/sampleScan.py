"""The bundled simulated scan: loaded by the panel's button and by Slicer's Sample Data module."""

import slicer
from microbleeds.resources import resource_path
from slicer.i18n import tr as _

_NAME = "CMBSimulatedT2star"


def load(source=None):
    """Load the scan and show it; return its volume node.

    Parameters
    ----------
    source : SampleDataSource, optional
        What the Sample Data module passes.
    """
    node = slicer.util.loadVolume(str(resource_path("Sample/simulated_T2star.nii.gz")))
    # without a file its review is kept beside Slicer's settings, not in the installed module
    storage = node.GetStorageNode()
    node.SetAndObserveStorageNodeID(None)
    slicer.mrmlScene.RemoveNode(storage)
    return node


def register():
    """Offer the scan in the Sample Data module, where Slicer has it."""
    try:
        import SampleData
    except ImportError:
        return
    path = resource_path("Sample/simulated_T2star.nii.gz")
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=_("Microbleeds"), sampleName=_NAME,
        uris=path.as_uri(), fileNames=path.name, nodeNames=_NAME, customDownloader=load,
        thumbnailFileName=str(resource_path("Icons/CMBDetection.png")))
