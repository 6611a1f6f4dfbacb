import io
import zipfile

import pytest
import torch
from microbleeds.weight_files import MOST_WEIGHT_BYTES, load_content, read_content, require_finite, require_plain


def saved(content, **options):
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


@pytest.mark.parametrize("new", [True, False])
def test_weights_are_read_from_both_forms(new):
    content = saved({"a": torch.arange(5.0)}, _use_new_zipfile_serialization=new)
    assert torch.equal(load_content(content)["a"], torch.arange(5.0))


class Marker:
    """Unpickles as a call that makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("wrap", [lambda evil: evil, lambda evil: {"a": torch.zeros(2), "b": [evil]}])
def test_no_code_of_a_file_is_run(tmp_path, wrap, new):
    content = saved(wrap(Marker(tmp_path / "made")), _use_new_zipfile_serialization=new)
    with pytest.raises(Exception, match="Unsupported|Weights only"):
        load_content(content)
    assert not (tmp_path / "made").exists()
    # the code would run: that is what is to be refused
    torch.load(io.BytesIO(content), weights_only=False)
    assert (tmp_path / "made").exists()


def test_a_packed_archive_is_refused_before_it_is_unpacked():
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved({"a": torch.zeros(1000)}))) as old, \
            zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(ValueError, match="packed"):
        load_content(stream.getvalue())


def test_a_program_is_refused_without_a_word_of_torch(recwarn):
    stream = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.ReLU()), stream)
    recwarn.clear()
    with pytest.raises(ValueError, match="program"):
        load_content(stream.getvalue())
    assert not recwarn


def test_tensors_that_are_no_weights():
    require_plain([torch.zeros(10), torch.zeros(2, dtype=torch.half)], 44)
    with pytest.raises(ValueError, match="larger"):
        require_plain([torch.zeros(1).expand(1000, 1000)], 3000)
    with pytest.raises(ValueError, match="plain"):
        require_plain([torch.eye(3).to_sparse()], 3000)
    with pytest.raises(ValueError, match="plain"):
        require_plain([torch.zeros(3, device="meta")], 3000)
    with pytest.raises(ValueError, match="plain"):
        require_plain([torch.zeros(3, dtype=torch.complex64)], 3000)
    with pytest.raises(ValueError, match="finite"):
        require_finite([torch.zeros(2), torch.tensor([1.0, float("nan")])])


def test_a_file_of_gigabytes_is_not_read(tmp_path):
    with open(tmp_path / "a.pt", "wb") as file:
        file.truncate(MOST_WEIGHT_BYTES + 1)
    with pytest.raises(OSError):
        read_content(tmp_path / "a.pt")
