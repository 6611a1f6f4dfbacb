import numpy as np
import pytest
from microbleeds.calibration import Calibration, apply, logit
from microbleeds.evaluation.reliability import expected_calibration_error, reliability
from microbleeds.training.fit_calibration import fit_calibration


def draw(truth, count, seed):
    """Return student and detector logits that agree as those of two networks do, and labels drawn from `truth`."""
    rng = np.random.default_rng(seed)
    detector = rng.normal(-1, 2, count)
    student = 0.6 * detector + rng.normal(-0.5, 2, count)
    return student, detector, rng.random(count) < apply(truth, student, detector)


def coefficients(calibration):
    return calibration.student, calibration.detector, calibration.offset


def ece(calibration, student, detector, labels):
    return expected_calibration_error(reliability(apply(calibration, student, detector), labels))


def test_apply_on_known_logits():
    student, detector = np.log([3.0, 1.0, 1 / 3]), np.log([1.0, 4.0, 4.0])
    assert apply(Calibration(), student, detector) == pytest.approx([0.75, 0.5, 0.25])
    assert apply(Calibration(2.0), student, detector) == pytest.approx([0.9, 0.5, 0.1])
    assert apply(Calibration(1.0, 0.5, np.log(2)), student, detector) == pytest.approx([6 / 7, 4 / 5, 4 / 7])


@pytest.mark.filterwarnings("error")
def test_apply_is_stable_far_out():
    assert apply(Calibration(), np.array([-800.0, -40.0, 40.0, 800.0]), np.zeros(4)) == pytest.approx(
        [0, np.exp(-40), 1, 1], rel=1e-12, abs=0)


def test_logit_is_the_inverse_and_finite():
    probability = np.array([1e-5, 0.3, 0.5, 0.99])
    assert apply(Calibration(), logit(probability), np.zeros(4)) == pytest.approx(probability)
    assert logit(np.array([0.0, 1.0])) == pytest.approx([-16.118, 16.118], abs=1e-3)


@pytest.mark.parametrize(("truth", "use_detector", "use_offset"), [
    (Calibration(0.4), False, False),
    (Calibration(1.6), False, False),
    (Calibration(0.5, 0.0, -1.5), False, True),
    (Calibration(0.7, 0.4), True, False),
    (Calibration(0.7, 0.4, -1.0), True, True),
    (Calibration(0.0, 0.8, 0.5), True, True),
])
def test_known_coefficients_come_back(truth, use_detector, use_offset):
    fitted = fit_calibration(*draw(truth, 40000, 1), use_detector=use_detector, use_offset=use_offset)
    assert coefficients(fitted) == pytest.approx(coefficients(truth), abs=0.05)


@pytest.mark.parametrize("use_detector", [False, True])
@pytest.mark.parametrize("use_offset", [False, True])
def test_calibrated_logits_stay(use_detector, use_offset):
    fitted = fit_calibration(*draw(Calibration(), 40000, 2), use_detector=use_detector, use_offset=use_offset)
    assert coefficients(fitted) == pytest.approx((1, 0, 0), abs=0.05)
    assert use_detector or fitted.detector == 0
    assert use_offset or fitted.offset == 0


def test_the_fit_is_the_minimum_of_the_log_loss():
    """Against a grid over both coefficients, on few candidates."""
    student, detector, labels = draw(Calibration(0.6, 0.0, -1.0), 300, 3)
    fitted = fit_calibration(student, detector, labels, use_detector=False, use_offset=True)

    def loss(calibration):
        probability = apply(calibration, student, detector)
        return -np.log(np.where(labels, probability, 1 - probability)).mean()

    grid = [Calibration(slope, 0.0, offset) for slope in np.linspace(0, 2, 81) for offset in np.linspace(-2, 2, 81)]
    best = min(grid, key=loss)
    assert loss(fitted) <= loss(best) + 1e-4
    assert (fitted.student, fitted.offset) == pytest.approx((best.student, best.offset), abs=0.05)


@pytest.mark.parametrize("truth", [Calibration(0.4), Calibration(2.0), Calibration(0.6, 0.3, -1.0)])
def test_held_out_candidates_are_better_calibrated(truth):
    fitted = fit_calibration(*draw(truth, 4000, 4), use_detector=True, use_offset=True)
    held_out = draw(truth, 4000, 5)
    assert ece(fitted, *held_out) < 0.03 < ece(Calibration(), *held_out)


def test_temperature_keeps_the_order_of_candidates():
    student, detector, labels = draw(Calibration(0.3), 500, 6)
    fitted = fit_calibration(student, detector, labels, use_detector=False, use_offset=False)
    order = np.argsort(student)
    assert (np.diff(apply(fitted, student, detector)[order]) > 0).all()


def test_the_order_of_candidates_does_not_matter():
    drawn = draw(Calibration(0.7, 0.4, -1.0), 500, 7)
    mixed = np.random.default_rng(8).permutation(500)
    first, second = (fit_calibration(*columns, use_detector=True, use_offset=True)
                     for columns in (drawn, [values[mixed] for values in drawn]))
    assert coefficients(first) == pytest.approx(coefficients(second), abs=1e-6)


def test_weights_count_like_copies_and_their_scale_does_not_matter():
    drawn = draw(Calibration(0.5, 0.2, 0.5), 300, 9)
    weights = np.random.default_rng(10).integers(0, 4, 300)
    options = {"use_detector": True, "use_offset": True}
    copies = fit_calibration(*(np.repeat(values, weights) for values in drawn), **options)
    for scale in (1, 50):
        fitted = fit_calibration(*drawn, weights * scale, **options)
        assert coefficients(fitted) == pytest.approx(coefficients(copies), abs=1e-6)


def test_a_network_that_points_the_wrong_way_counts_nothing():
    fitted = fit_calibration(*draw(Calibration(1.0, -0.4), 2000, 11), use_detector=True, use_offset=True)
    assert fitted.detector == 0 < fitted.student
    assert fit_calibration(*draw(Calibration(-0.4), 2000, 12), use_detector=False, use_offset=True).student == 0


def test_separable_candidates_stay_finite():
    student = np.array([-2.0, -1.0, 1.0, 2.0])
    fitted = fit_calibration(student, student, student > 0, use_detector=True, use_offset=True)
    assert 1 < fitted.student < 100 and fitted.offset == pytest.approx(0, abs=0.01)


def test_what_cannot_be_fitted_is_refused():
    student, options = np.array([-1.0, 0.5, 2.0]), {"use_detector": False, "use_offset": False}
    with pytest.raises(ValueError, match=r"candidates on lesions and candidates on none.*\[0.0\]"):
        fit_calibration(student, student, np.zeros(3), **options)
    with pytest.raises(ValueError, match=r"labels \[1.0\]"):
        fit_calibration(student, student, np.array([0, 1, 1]), np.array([0, 1, 1]), **options)
    with pytest.raises(ValueError, match="not finite"):
        fit_calibration(np.array([0, np.inf, 1]), student, np.array([0, 1, 1]), **options)
    with pytest.raises(ValueError, match="different length: 3, 2, 2"):
        fit_calibration(student, student, np.array([0, 1]), **options)
