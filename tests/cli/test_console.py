"""Tables, numbers and one-line errors."""

import pytest
from astro_vq.cli.console import Column, Table, describe_error, format_bytes, format_number

from astro_vq.errors import FormatError


def test_a_table_keeps_its_columns():
    table = Table([Column("file", 8, "<"), Column("ratio")])
    assert table.header == "file      ratio"
    assert table.row(["a.fits", "3.1"]) == "a.fits      3.1"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1234, "1.23 kB"), (999_600, "1 MB"), (5_000_000_000, "5 GB")],
)
def test_bytes_are_in_powers_of_ten(count, text):
    assert format_bytes(count) == text


def test_a_missing_number_is_a_dash():
    assert (format_number(None), format_number(1.23456)) == ("-", "1.235")


def test_an_error_of_ours_is_its_message_on_one_line():
    assert describe_error(FormatError("a.avq: tile 3\n  is damaged")) == "a.avq: tile 3 is damaged"


def test_an_error_of_the_system_names_the_file_first():
    assert describe_error(PermissionError(13, "Permission denied", "a")) == "a: Permission denied"


def test_a_refusal_to_overwrite_keeps_its_message():
    message = "a.avq is already there; --overwrite replaces it"
    assert describe_error(FileExistsError(message)) == message


def test_an_unexpected_error_says_so():
    said = describe_error(ZeroDivisionError("division by zero"))
    assert said == "unexpected ZeroDivisionError: division by zero (run with -vv for the traceback)"
