import csv
import io

import numpy as np
import pytest
from astropy.io import fits

from astro_vq.report.choice import parse_choice
from astro_vq.report.html import Cell, format_number, number_cell, render_page, table, text_cell
from astro_vq.report.inputs import page_names
from astro_vq.report.pages.overview import render_overview
from astro_vq.report.records import read_record, settings_key, write_record
from astro_vq.report.rows import COLUMNS, make_rows, render_csv
from astro_vq.report.settings import ReportSettings
from astro_vq.report.study import study_image
from astro_vq.report.summary import summarise


def write_image(path, seed=0, **cards):
    path.parent.mkdir(exist_ok=True)
    pixels = np.random.default_rng(seed).normal(100, 8, (24, 32)).astype(np.int16)
    hdu = fits.PrimaryHDU(pixels)
    hdu.header.update(cards)
    hdu.writeto(path)
    return path


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    settings = ReportSettings(choices=(parse_choice("lossless"),), tokens=False)
    files = [
        write_image(folder / "a.fits", 0, INSTRUME="CAM", FILTER="r"),
        write_image(folder / "b.fits", 1, INSTRUME="CAM", FILTER="r"),
        write_image(folder / "c.fits", 2),
    ]
    return [study_image(path, settings).record for path in files]


def test_pages_have_names_of_their_own(tmp_path):
    paths = [tmp_path / "x" / "a.fits", tmp_path / "y" / "a.fits", tmp_path / "x" / "b.fits"]
    names = page_names(paths)
    assert names[2] == "b.fits"
    assert len(set(names)) == 3
    assert all("/" not in name for name in names)
    assert len(set(page_names([paths[0], paths[0]]))) == 2


def test_a_record_is_taken_up_only_for_the_same_file_and_settings(tmp_path):
    image = write_image(tmp_path / "a.fits")
    settings = ReportSettings()
    key = settings_key(settings, image)
    write_record(tmp_path / "a.json", key, {"input": "a"})
    assert read_record(tmp_path / "a.json", key) == {"input": "a"}
    assert read_record(tmp_path / "a.json", settings_key(ReportSettings(effort=6), image)) is None
    with image.open("ab") as file:
        file.write(b" ")
    assert read_record(tmp_path / "a.json", settings_key(settings, image)) is None
    (tmp_path / "a.json").write_text("{")
    assert read_record(tmp_path / "a.json", key) is None
    assert read_record(tmp_path / "none.json", key) is None


def test_the_csv_has_a_row_for_each_image_and_choice(records):
    rows = list(csv.DictReader(io.StringIO(render_csv(records))))
    assert len(rows) == 3
    assert tuple(rows[0]) == COLUMNS
    assert rows[0]["INSTRUME"] == "CAM"
    trial = records[0]["trials"][0]
    assert float(rows[0]["ratio"]) == trial["ratio"]
    assert int(rows[0]["output_bytes"]) == trial["output_bytes"]
    assert rows[0]["identical"] == "True"


def test_images_are_summarised_by_instrument_and_filter(records):
    summary = summarise(records)
    assert [(row["INSTRUME"], row["files"]) for row in summary] == [
        ("not stated", 1),
        ("CAM", 2),
        ("all", 3),
    ]
    rows = [row for record in records for row in make_rows(record)]
    total = sum(row["input_bytes"] for row in rows) / sum(row["output_bytes"] for row in rows)
    assert summary[-1]["ratio"] == total
    assert all(row["all_kept"] for row in summary)


def test_the_overview_links_pages_and_lists_failures(records):
    links = {record["input"]: f"page{i}.html" for i, record in enumerate(records)}
    page = "".join(render_overview(records, [("bad<.fits", "it is & broken")], links))
    assert 'href="page1.html"' in page
    assert "bad&lt;.fits" in page
    assert "it is &amp; broken" in page
    assert "By instrument and filter" in page


def test_tables_sort_by_value_and_escape_text():
    rows = [[text_cell("<b>"), number_cell(0.1234)], [text_cell("x"), number_cell(None)]]
    text = table(("name", "figure"), rows, ours=[True, False])
    assert 'data-value="0.1234"' in text
    assert 'data-value="nan"' in text
    assert "&lt;b&gt;" in text
    assert text.count('class="ours"') == 1
    assert table(("name",), []) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1234, "1\u2009234"), (0.0, "0"), (0.12345, "0.123"), (1e-7, "1.00e-07")],
)
def test_numbers_are_written_for_people(value, text):
    assert number_cell(value) == Cell(text, float(value))


def test_numbers_that_are_none_are_a_dash():
    assert format_number(float("nan")) == "-"
    assert number_cell(None).text == "-"


def test_a_page_is_complete_and_its_title_escaped():
    page = render_page("<x>", ["body"])
    assert page.startswith("<!DOCTYPE html>")
    assert "<title>&lt;x&gt;</title>" in page
    assert "aria-sort" in page
    assert "@media print" in page
