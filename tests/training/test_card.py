"""The model card."""

from astro_vq.config import DataConfig, RunConfig
from astro_vq.training.card import DataSummary, ModelSummary, SourceSummary, write_card
from astro_vq.training.reports import ValidationReport

MODEL = ModelSummary("run", "ab" * 32, 1, 47889, 4, 256, 1)
DATA = DataSummary(
    sources=[SourceSummary("decam", 3, 4, 2_000_000, [1.0, 2.0, 30.0])],
    rejects={"constant": [f"decam/flat{i}.fits" for i in range(25)]},
    training=["decam/a.fits", "decam/b.fits", "decam/c.fits"],
    validation=["decam/d.fits"],
    source_fraction=0.5,
)
REPORT = ValidationReport(
    step=100,
    cutouts=64,
    terms={"loss": 1.25, "mse": 0.5, "perplexity": 2.0},
    sky={"loss": 2.5, "mse": 3.0},
    counts=(10, 0, 10),
    perplexity=2.0,
)


def make_card(validation=REPORT, **changes):
    config = RunConfig(data=DataConfig(fits_dir=("/home/someone/data/decam",)))
    values = {"step": 100, "is_complete": True, "validation": validation} | changes
    return write_card(config, DATA, MODEL, **values)


def test_the_card_states_figures_beside_those_of_the_sky():
    text = make_card()
    assert "| loss | 1.25 | 2.5 |" in text
    assert "| mse | 0.5 | 3 |" in text
    assert "Codes used: 2 of 3 (67%); perplexity 2.0" in text
    assert "0.5 bits per pixel" in text
    assert "ab" * 32 in text


def test_the_card_states_the_data():
    text = make_card()
    assert "| decam | 3 | 4 | 2 | 1, 2, 30 |" in text
    assert "* `decam/d.fits`" in text
    assert "at random places, 50% of them chosen to hold something above the noise" in text
    assert "Left out: 25." in text
    assert "`decam/flat19.fits` and 5 more" in text
    assert "flat20" not in text


def test_the_card_keeps_places_on_the_machine_to_itself():
    text = make_card()
    assert "someone" not in text
    assert 'fits_dir = [\n    "decam",\n]' in text


def test_an_interrupted_run_says_so():
    assert "interrupted" not in make_card()
    assert "(the run was interrupted)" in make_card(is_complete=False)
    assert "None: the run was not validated." in make_card(validation=None)
