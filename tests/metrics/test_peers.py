import numpy as np
import pytest

from astro_vq.metrics.peer_codecs import PEERS, Peer
from astro_vq.metrics.peers import run_peers

pytest.importorskip("imagecodecs")
pytest.importorskip("fitsio")

QUICK = tuple(peer for peer in PEERS if peer.name != "JPEG-XL e9")


def by_name(results):
    return {result.name: result for result in results}


def test_integers_come_back_from_every_codec():
    image = np.random.default_rng(0).normal(-500, 20, (64, 80)).astype(np.int16)
    results = run_peers(image, 0, peers=QUICK)
    assert [result.name for result in results] == [peer.name for peer in QUICK]
    for result in results:
        assert result.note == ""
        assert result.keeps_bound
        assert result.max_error == 0
        assert result.bits_per_pixel == pytest.approx(8 * result.bytes / image.size)


def test_floats_keep_the_bound_and_pay_for_missing_pixels():
    image = np.random.default_rng(1).normal(1e4, 3, (64, 64)).astype(np.float32)
    whole = by_name(run_peers(image, 0.4, peers=QUICK))
    assert all(result.keeps_bound for result in whole.values()), whole
    assert all(0.3 < result.max_error < 0.401 for result in whole.values())
    assert {"SZ3", "fpack Rice, dithered"} <= set(whole)
    image[np.random.default_rng(2).random(image.shape) < 0.2] = np.nan
    holes = by_name(run_peers(image, 0.4, peers=QUICK))
    assert holes["pcodec"].keeps_bound
    fewer_values_but_a_mask = holes["SZ3"].bytes
    assert fewer_values_but_a_mask > 64 * 64 // 8 * 0.6


def test_integers_may_have_a_bound_too():
    image = np.random.default_rng(3).integers(0, 4000, (40, 40), dtype=np.uint16)
    for result in run_peers(image, 3.7, peers=QUICK):
        assert result.keeps_bound
        assert result.max_error == 3


def test_floats_without_loss_are_refused_by_codecs_of_integers():
    image = np.random.default_rng(4).normal(size=(32, 32)).astype(np.float32)
    results = by_name(run_peers(image, 0, peers=QUICK))
    assert results["pcodec"].max_error == 0
    assert results["fpack GZIP"].keeps_bound
    assert results["JPEG-LS"].bytes is None
    assert "floating point" in results["JPEG-LS"].note


def test_star_cores_beyond_sixteen_bits_are_kept_apart_and_paid_for():
    rng = np.random.default_rng(5)
    image = rng.normal(3000, 20, (64, 64)).astype(np.int32)
    plain = by_name(run_peers(image, 0, peers=QUICK))
    places = rng.choice(image.size, 40, replace=False)
    image.ravel()[places] = rng.integers(1 << 17, 1 << 22, 40)
    image[0, 0] = -5000
    bright = by_name(run_peers(image, 0, peers=QUICK))
    assert bright["JPEG2000"].max_error == 0
    for name in ("JPEG-LS", "JPEG-XL e7"):
        assert bright[name].keeps_bound
        assert bright[name].max_error == 0
        assert bright[name].note.endswith("pixels beyond 16 bits kept apart, in the size")
        assert bright[name].bytes > plain[name].bytes + 40 * 3


def test_values_that_are_too_wide_are_named():
    image = np.array([[0, 1 << 20], [5, 6]], dtype=np.int32)
    results = by_name(run_peers(image, 0, peers=QUICK))
    assert results["JPEG-LS"].note == "values span 21 bits, it takes 16"
    assert results["pcodec"].keeps_bound


def test_a_missing_library_is_named_and_the_rest_runs():
    def encode(image):
        raise ModuleNotFoundError("No module named 'nowhere'", name="nowhere")

    absent = Peer("Absent", "nowhere", encode, lambda *_: None, ("uint16",), 16)
    image = np.arange(64, dtype=np.int16).reshape(8, 8)
    results = by_name(run_peers(image, 0, peers=(absent, QUICK[-1])))
    assert results["Absent"].note == "not installed: nowhere (pip install astro-vq[bench])"
    assert results["Absent"].bytes is None
    assert results["pcodec"].keeps_bound


def test_a_codec_that_breaks_its_promise_is_found_out():
    liar = Peer(
        "Liar", "", lambda a: a.tobytes(), lambda d, s, t: np.frombuffer(d, t) + t.type(1),
        ("uint16",), 16,
    )  # fmt: skip
    (result,) = run_peers(np.arange(64, dtype=np.int16).reshape(8, 8), 0, peers=(liar,))
    assert not result.keeps_bound
    assert result.note == "does not keep the bound"
    assert result.max_error == 1


def test_an_image_without_finite_pixels_is_refused_by_all():
    results = run_peers(np.full((8, 8), np.nan, np.float32), 0.1, peers=QUICK)
    assert {result.note for result in results} == {"no finite pixel"}


def test_bad_arguments_are_errors():
    with pytest.raises(ValueError, match="at least 0"):
        run_peers(np.zeros((4, 4)), -1.0)
    with pytest.raises(ValueError, match="two axes"):
        run_peers(np.zeros(4), 0.0)
