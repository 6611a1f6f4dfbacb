import json
from dataclasses import fields

import pytest
from microbleeds.errors import SettingsError
from microbleeds.settings import CandidateSettings, ClassifySettings, CleanupSettings, PrepareSettings, Settings


def test_round_trip_through_json():
    settings = Settings(prepare=PrepareSettings(correct_bias=False, symmetry_radii_mm=(1, 2)),
                        candidates=CandidateSettings(threshold=0.3), classify=ClassifySettings(threshold=0.7),
                        cleanup=CleanupSettings(min_volume_mm3=None, max_diameter_mm=8.0))
    assert json.loads(json.dumps(settings.to_json())) == settings.to_json()
    assert Settings.from_json(json.loads(json.dumps(settings.to_json()))) == settings


def test_missing_keys_keep_their_default():
    assert Settings.from_json({}) == Settings()
    assert Settings.from_json({"candidates": {"threshold": 0.3}}).candidates == CandidateSettings(threshold=0.3)


@pytest.mark.parametrize("value", [{"cleaning": {}}, {"cleanup": {"min_volume": 2}}])
def test_unknown_keys_are_refused(value):
    with pytest.raises(SettingsError, match="made of"):
        Settings.from_json(value)


@pytest.mark.parametrize("make, name", [
    (lambda: PrepareSettings(bias_grid_mm=0), "bias_grid_mm"),
    (lambda: PrepareSettings(in_plane_min_mm=2), "in_plane_min_mm"),
    (lambda: PrepareSettings(slice_min_mm=-1), "slice_min_mm"),
    (lambda: PrepareSettings(symmetry_radii_mm=()), "symmetry_radii_mm"),
    (lambda: PrepareSettings(symmetry_radii_mm=(1, 0)), "symmetry_radii_mm"),
    (lambda: CandidateSettings(threshold=1), "threshold"),
    (lambda: CandidateSettings(peak_share=1), "peak_share"),
    (lambda: CandidateSettings(prominence=0), "prominence"),
    (lambda: CandidateSettings(max_candidates=0), "max_candidates"),
    (lambda: ClassifySettings(threshold=1.01), "threshold"),
    (lambda: ClassifySettings(batch_size=0), "batch_size"),
    (lambda: CleanupSettings(min_volume_mm3=0), "min_volume_mm3"),
])
def test_a_value_out_of_range_is_named(make, name):
    with pytest.raises(SettingsError, match=f"^{name} must be .*, got "):
        make()


@pytest.mark.parametrize("name", [field.name for field in fields(CleanupSettings)])
def test_each_cleanup_rule_can_be_switched_off(name):
    assert getattr(CleanupSettings(**{name: None}), name) is None
