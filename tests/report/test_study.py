import json
import os

import numpy as np
import pytest
from astropy.io import fits

from astro_vq.errors import DataError, FormatError
from astro_vq.metrics.count_floor import poisson_bits
from astro_vq.metrics.noise_floor import quantized_noise_bits
from astro_vq.report.choice import parse_choice
from astro_vq.report.limits import (
    LIMITS,
    SWEEP_FACTORS,
    Recommendation,
    exceeded_limits,
    parse_limits,
    recommend,
)
from astro_vq.report.pages.image import render_image
from astro_vq.report.settings import ReportSettings
from astro_vq.report.study import study_image


def make_image(shape=(96, 128), *, sigma=5.0, stars=12, seed=0):
    rng = np.random.default_rng(seed)
    image = rng.normal(100, sigma, shape)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    for _ in range(stars):
        x, y = rng.uniform(8, shape[1] - 8), rng.uniform(8, shape[0] - 8)
        image += rng.uniform(20, 300) * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 4)
    return image


def write(path, data, **cards):
    hdu = fits.PrimaryHDU(data)
    hdu.header.update(cards)
    hdu.writeto(path)
    return path


@pytest.fixture
def quick_pictures(monkeypatch):
    """Leave figures undrawn where a page is looked at for its text."""
    monkeypatch.setattr("astro_vq.report.figures.style.to_data_uri", lambda figure, **_: "data:,")


def settings(*choices, effort=1, **more):
    return ReportSettings(choices=choices, tokens=False, effort=effort, **more)


LOSSLESS = parse_choice("lossless")
EIGHTH = parse_choice("max-error", "0.125sigma")


def test_sizes_are_those_of_the_files_to_the_byte(tmp_path):
    import astro_vq

    path = write(tmp_path / "a.fits", make_image().astype(np.float32), INSTRUME="CAM")
    study = study_image(path, settings(EIGHTH, LOSSLESS, effort=5))
    for trial, arguments in zip(
        study.record["trials"],
        ({"max_error": "0.125sigma"}, {"fidelity": "lossless"}),
        strict=True,
    ):
        packed = tmp_path / f"{trial['fidelity']}.avq"
        astro_vq.compress(path, packed, tokens=False, **arguments)
        assert trial["input_bytes"] == path.stat().st_size
        assert trial["output_bytes"] == packed.stat().st_size
        assert trial["ratio"] == path.stat().st_size / packed.stat().st_size
        layers = ("header_bytes", "token_bytes", "pixel_bytes", "model_bytes")
        assert sum(trial[name] for name in layers) == trial["output_bytes"]
        assert trial["bits_per_pixel"] == 8 * packed.stat().st_size / (96 * 128)
        assert sum(trial["layer_bits_per_pixel"].values()) == pytest.approx(trial["bits_per_pixel"])


def test_errors_keep_the_bound_and_noise_has_its_floor(tmp_path):
    path = write(tmp_path / "a.fits", make_image((200, 200), stars=5).astype(np.float32))
    lossy, lossless = study_image(path, settings(EIGHTH, LOSSLESS, effort=5)).record["trials"]
    assert lossy["keeps_bound"] is True
    assert 0.12 < lossy["max_error_sigma"] < 0.13
    assert lossy["rms_error_sigma"] == pytest.approx(0.125 / np.sqrt(3), rel=0.05)
    assert lossy["noise_floor_bits"] == pytest.approx(quantized_noise_bits(1, 0.25), abs=0.1)
    assert lossy["bits_above_floor"] == lossy["bits_per_pixel"] - lossy["noise_floor_bits"]
    assert lossless["identical"] is True
    assert lossless["max_error"] == 0
    assert lossless["photometry"]["differences_in_errors"]["flux"]["largest"] == 0


def test_the_record_is_plain_json_and_the_page_needs_no_network(tmp_path):
    path = write(tmp_path / "a<b>&.fits", make_image().astype(np.float32), INSTRUME="<CAM>")
    study = study_image(path, settings(EIGHTH, LOSSLESS))
    assert json.loads(json.dumps(study.record, allow_nan=False)) == study.record
    page = render_image(study)
    assert "http://" not in page
    assert "https://" not in page
    assert 'src="data:image/' in page
    assert "a&lt;b&gt;&amp;.fits" in page
    assert "&lt;CAM&gt;" in page
    assert "<CAM>" not in page
    assert "<table class=" in page


def test_peers_are_run_at_the_same_bound(tmp_path):
    pytest.importorskip("imagecodecs")
    pytest.importorskip("fitsio")
    path = write(tmp_path / "a.fits", make_image((64, 64)).astype(np.float32))
    (trial,) = study_image(path, settings(EIGHTH, peers=True)).record["trials"]
    ran = [peer for peer in trial["peers"] if peer["bytes"]]
    assert len(ran) >= 8
    assert all(peer["keeps_bound"] for peer in ran)
    assert all(peer["max_error"] <= 1.001 * trial["max_error_allowed"] for peer in ran)


@pytest.mark.usefixtures("quick_pictures")
def test_a_sweep_recommends_a_bound_within_the_limits(tmp_path):
    path = write(tmp_path / "a.fits", make_image((48, 48), stars=6).astype(np.float32))
    study = study_image(path, settings(EIGHTH, sweep=True, limits=parse_limits(["bias=none"])))
    factors = [trial["factor"] for trial in study.record["trials"]]
    assert sorted(factors) == sorted(SWEEP_FACTORS)
    advice = study.recommendation
    assert advice.factor in SWEEP_FACTORS
    chosen = next(t for t in study.record["trials"] if t["factor"] == advice.factor)
    assert exceeded_limits(chosen, advice.limits) == []
    assert advice.ratio == chosen["ratio"]
    assert "Recommended bound" in render_image(study)


def test_bscale_and_blank_integers_are_compared_in_physical_units(tmp_path):
    stored = np.random.default_rng(0).normal(0, 40, (64, 64)).astype(np.int16)
    stored[3, 4] = -32768
    hdu = fits.PrimaryHDU(stored)
    hdu.header.update({"BSCALE": 0.25, "BZERO": 10.0, "BLANK": -32768})
    hdu.writeto(tmp_path / "a.fits")
    study = study_image(
        tmp_path / "a.fits", settings(parse_choice("max-error", "1.5"), LOSSLESS, peers=True)
    )
    assert study.subject.sigma == pytest.approx(10, rel=0.05)
    lossy, lossless = study.record["trials"]
    assert 0 < lossy["max_error"] <= 1.5
    assert lossy["misplaced"] == 0
    assert lossy["missing"] == 1
    assert lossless["identical"]
    assert lossless["noise_floor"]["step"] == 0.25
    assert all(peer["keeps_bound"] for peer in lossy["peers"] if peer["bytes"])


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("constant", np.full((40, 30), 7, np.int16)),
        ("missing", np.full((40, 30), np.nan, np.float32)),
        ("line", np.arange(50, dtype=np.float32)),
        ("pixel", np.array([[1.5]], np.float32)),
        ("noise", np.random.default_rng(0).normal(size=(40, 40)).astype(np.float32)),
        ("counts", np.random.default_rng(0).poisson(0.05, (64, 64)).astype(np.int16)),
        ("cube", np.random.default_rng(0).normal(size=(3, 32, 32)).astype(np.float32)),
    ],
)
def test_odd_images_have_a_page(tmp_path, name, data):
    path = write(tmp_path / f"{name}.fits", data)
    choices = (LOSSLESS,) if name in ("missing", "constant") else (EIGHTH, LOSSLESS)
    study = study_image(path, settings(*choices, sweep=name == "constant"))
    page = render_image(study)
    assert f"{name}.fits</h1>" in page
    assert study.record["image"]["kind"] == ("counts" if name == "counts" else "sky")
    assert study.record["trials"][-1]["identical"]
    if name == "cube":
        assert any("3 planes" in note for note in study.record["notes"])
        assert study.record["trials"][0]["pixels"] == 3 * 32 * 32
    if name == "counts":
        assert study.record["trials"][0]["counts"]["total_before"] == data.sum()
        assert study.record["trials"][-1]["noise_floor_bits"] == pytest.approx(
            poisson_bits(0.05), abs=0.03
        )


def test_borders_of_nan_stay_where_they_are(tmp_path):
    image = make_image().astype(np.float32)
    image[:, :30] = np.nan
    study = study_image(write(tmp_path / "a.fits", image), settings(EIGHTH))
    (trial,) = study.record["trials"]
    assert trial["missing"] == 96 * 30
    assert trial["misplaced"] == 0
    assert trial["keeps_bound"]


@pytest.mark.usefixtures("quick_pictures")
def test_a_radio_map_has_fluxes_per_beam(tmp_path):
    image = make_image(stars=6).astype(np.float32) - 100
    cards = {"BMAJ": 6 / 3600, "BMIN": 4 / 3600, "CDELT1": -2 / 3600, "CDELT2": 2 / 3600}
    path = write(tmp_path / "a.fits", image, BUNIT="Jy/beam", **cards)
    study = study_image(path, settings(EIGHTH))
    assert study.subject.kind == "radio"
    beam = study.record["image"]["beam"]
    assert (beam["major"], beam["minor"]) == (pytest.approx(3), pytest.approx(2))
    assert beam["area"] == pytest.approx(np.pi * 6 / (4 * np.log(2)))
    radio = study.record["trials"][0]["radio"]
    assert radio["total_before"] == pytest.approx(image.sum() / beam["area"], rel=1e-4)
    assert len(radio["brightest"]) > 2
    brightest = radio["brightest"][0]
    assert abs(brightest["peak_difference"]) <= 0.126 * study.subject.noise
    assert "Fluxes per beam" in render_image(study)


def test_many_images_in_a_file_are_all_compared(tmp_path):
    first = make_image(seed=1).astype(np.float32)
    second = np.random.default_rng(2).integers(0, 1000, (20, 30), dtype=np.int16)
    path = tmp_path / "many.fits"
    primary = fits.PrimaryHDU()
    primary.header["INSTRUME"] = "WFC"
    fits.HDUList(
        [primary, fits.ImageHDU(second, name="DQ"), fits.ImageHDU(first, name="SCI")]
    ).writeto(path)
    study = study_image(path, settings(EIGHTH))
    assert study.subject.hdu == 2
    assert study.record["image"]["keywords"]["INSTRUME"] == "WFC"
    (trial,) = study.record["trials"]
    assert [hdu["name"] for hdu in trial["hdus"]] == ["DQ", "SCI"]
    assert trial["pixels"] == first.size + second.size
    assert study_image(path, settings(LOSSLESS, hdu=1)).subject.pixels.shape == (20, 30)
    with pytest.raises(DataError, match="images are: 1, 2"):
        study_image(path, settings(LOSSLESS, hdu=0))


def test_files_without_an_image_are_refused(tmp_path):
    (tmp_path / "a.fits").write_bytes(b"hello")
    with pytest.raises(FormatError, match="not a FITS file"):
        study_image(tmp_path / "a.fits", settings(LOSSLESS))
    fits.HDUList([fits.PrimaryHDU()]).writeto(tmp_path / "b.fits")
    with pytest.raises(DataError, match="no image"):
        study_image(tmp_path / "b.fits", settings(LOSSLESS))


@pytest.mark.usefixtures("quick_pictures")
def test_a_choice_that_fails_is_listed_and_the_others_go_on(tmp_path):
    path = write(tmp_path / "a.fits", make_image((40, 40)).astype(np.float32))
    study = study_image(path, settings(parse_choice("tokens"), LOSSLESS, model="nowhere"))
    assert [item["choice"] for item in study.record["failures"]] == ["tokens"]
    assert "nowhere" in study.record["failures"][0]["error"]
    assert "tokens failed" in render_image(study)


def test_limits_are_read_and_bad_ones_refused():
    limits = parse_limits(["flux=0.5", "noise=none"])
    assert limits["flux"] == 0.5
    assert "noise" not in limits
    assert limits["bias"] == LIMITS["bias"].default
    for text in ("fluxx=1", "flux", "flux=-1", "flux=abc", "flux=nan"):
        with pytest.raises(ValueError, match="limit"):
            parse_limits([text])


def make_trial(factor, noise):
    sky = {"level_before": 0, "level_after": 0, "sigma_before": 1, "sigma_after": 1 + noise}
    return {"choice": f"{factor}", "factor": factor, "ratio": 10 * factor, "sky": sky}


def test_a_bound_is_not_recommended_when_a_tighter_one_fails():
    trials = [make_trial(1, 0.0), make_trial(0.25, 0.001), make_trial(0.5, 0.5)]
    advice = recommend(trials, {"noise": 0.02})
    assert advice.factor == 0.25
    assert advice.ratio == 2.5
    assert advice.exceeded == {"0.5": ["noise 0.5 > 0.02"]}
    assert "--max-error 0.25sigma" in advice.describe()


def test_no_bound_may_be_acceptable():
    advice = recommend([make_trial(0.25, 1.0)], {"noise": 0.02})
    assert advice.factor is None
    assert "already 0.25 exceeds: noise" in advice.describe()
    assert "cannot be measured" in Recommendation(None, "", None, {}, {}).describe()


@pytest.mark.sky
def test_ratios_of_real_files_are_those_of_their_sizes_to_the_byte(sky_dir, tmp_path):
    import astro_vq

    files = [
        "herschel-spire/s500_im.fits",
        "hst-wfc3-ir/abell_2744_group_of_galaxies_f105w.fits.gz",
    ]
    for path in (sky_dir / "eval" / name for name in files):
        (trial,) = study_image(path, settings(LOSSLESS, effort=5)).record["trials"]
        result = astro_vq.compress(path, tmp_path / "x.avq", fidelity="lossless", tokens=False,
                                   overwrite=True)  # fmt: skip
        size = (tmp_path / "x.avq").stat().st_size
        assert trial["output_bytes"] == size == result.output_bytes
        assert trial["ratio"] == path.stat().st_size / size
        assert trial["identical"]


@pytest.mark.sky
@pytest.mark.slow
@pytest.mark.skipif("ASTRO_VQ_REPORT_ALL" not in os.environ, reason="takes minutes")
def test_every_file_of_the_evaluation_set_has_a_page(sky_dir):
    for path in sorted((sky_dir / "eval").rglob("*.fits*")):
        study = study_image(path, settings(LOSSLESS))
        assert study.record["trials"][0]["identical"], path
        assert render_image(study)


@pytest.mark.usefixtures("quick_pictures")
def test_tokens_are_measured_but_promise_nothing(tmp_path):
    import torch

    from astro_vq.checkpoint import save_model
    from astro_vq.config import ModelConfig, RunConfig
    from astro_vq.models import build_model

    config = RunConfig(model=ModelConfig(codes=8, latent_channels=4))
    torch.manual_seed(0)
    save_model(tmp_path / "run", build_model(config.model, 1), config)
    path = write(tmp_path / "a.fits", make_image((64, 64)).astype(np.float32))
    study = study_image(
        path, ReportSettings(choices=(parse_choice("tokens"),), model=str(tmp_path / "run"))
    )
    (trial,) = study.record["trials"]
    assert trial["token_bytes"] > 0
    assert trial["keeps_bound"] is None
    assert trial["max_error_allowed"] is None
    assert trial["noise_floor"] is None
    assert trial["max_error"] > 0
    assert "tokens" in render_image(study)
