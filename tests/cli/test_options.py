"""Values of shared options."""

import click
import pytest
from astro_vq.cli.options import option, parse_duration, parse_max_error, parse_section


@pytest.mark.parametrize("text", ["0.5", "1e-3", "0.125sigma", "2SIGMA", "0.125 sigma"])
def test_a_bound_is_a_number_or_a_multiple_of_sigma(text):
    assert parse_max_error(f" {text} ") == text


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "0sigma"])
def test_a_bound_must_be_above_zero_and_finite(text):
    with pytest.raises(click.BadParameter, match=r"above 0 and finite.*--lossless"):
        parse_max_error(text)


@pytest.mark.parametrize("text", ["", "sigma", "1/8sigma", "0.1 adu"])
def test_a_bound_that_is_no_number_is_refused(text):
    with pytest.raises(click.BadParameter, match="not a number"):
        parse_max_error(text)


def test_a_section_is_rows_then_columns():
    assert parse_section("0:512, 100:400") == (slice(0, 512), slice(100, 400))
    assert parse_section(":,7:") == (slice(None, None), slice(7, None))


@pytest.mark.parametrize("text", ["0:5", "0-5,1-2", "a:b,c:d", "0:5,1:2,3:4", "-1:5,0:2"])
def test_a_section_that_is_none_is_refused(text):
    with pytest.raises(click.BadParameter, match="is not a section"):
        parse_section(text)


@pytest.mark.parametrize("text", ["5:5,0:2", "0:2,9:3", ":0,:"])
def test_an_empty_section_is_refused(text):
    with pytest.raises(click.BadParameter, match="is empty"):
        parse_section(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("20m", 1200), ("1.5h", 5400), ("1d", 86400), (7, 7)]
)
def test_a_duration_is_in_seconds(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "0s", "-5m", "5 weeks"])
def test_a_duration_that_is_none_is_refused(text):
    with pytest.raises(click.BadParameter, match="is not a time"):
        parse_duration(text)


def test_an_option_that_is_not_shared_is_an_error():
    with pytest.raises(KeyError):
        option("outputs")
