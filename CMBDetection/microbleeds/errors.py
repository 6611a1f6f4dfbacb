"""The errors that a user can cause and cure; each message is one sentence that names the file and what to do."""


class MicrobleedError(Exception):
    """Base of the errors below; the command line ends with exit code 2 on any of them."""


class InputError(MicrobleedError):
    """An image, mask or table that cannot be used as it is."""


class FaultList(InputError):
    """Several faults at once: a sentence, and a line for each."""


class ModelError(MicrobleedError):
    """A model folder that is missing, damaged or not what its card says."""


class SettingsError(MicrobleedError):
    """A setting outside its range."""
