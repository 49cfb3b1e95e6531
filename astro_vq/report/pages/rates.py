"""Rate against error, and the table of other codecs."""

from collections.abc import Iterator

from astro_vq.report import html
from astro_vq.report.figures import rates, style
from astro_vq.report.html import number_cell, text_cell, truth_cell
from astro_vq.report.study import ImageStudy
from astro_vq.report.trial_study import TrialStudy


def rate_parts(study: ImageStudy) -> Iterator[str]:
    """Yield the figure of rate against error, and a table of other codecs for each trial."""
    yield html.heading("Rate against error")
    yield html.picture(
        style.to_data_uri(rates.draw_rates(study)),
        "bits per pixel against the largest error",
        "Grey: what the noise costs at each bound, by its measured correlation. Other codecs "
        "compressed the same plane within the same bound, without headers.",
    )
    for item in study.asked:
        if not item.peers:
            continue
        yield html.heading(f"Other codecs, {item.trial.choice.label}", 3)
        yield _peer_table(item)


def _peer_table(item: TrialStudy) -> str:
    titles = (
        "codec",
        "bits/pixel",
        "size over ours",
        "max error",
        "kept",
        "encode s",
        "decode s",
        "",
    )
    record = item.record
    ours = record["layer_bits_per_pixel"]["pixel"]
    rows = [
        [
            text_cell("astro-vq, pixel layer"),
            number_cell(ours, 4),
            number_cell(1.0),
            number_cell(record["max_error"]),
            truth_cell(record["keeps_bound"], "yes", "NO"),
            number_cell(record["compress_seconds"]),
            number_cell(record["decompress_seconds"]),
            text_cell("whole file, with reading and writing", long=True),
        ]
    ]
    for peer in item.peers:
        ratio = peer.bits_per_pixel / ours if peer.bits_per_pixel and ours else None
        rows.append(
            [
                text_cell(peer.name),
                number_cell(peer.bits_per_pixel, 4),
                number_cell(ratio),
                number_cell(peer.max_error),
                truth_cell(peer.keeps_bound if peer.bytes else None, "yes", "NO"),
                number_cell(peer.encode_seconds),
                number_cell(peer.decode_seconds),
                text_cell(peer.note, long=True),
            ]
        )
    return html.table(titles, rows, ours=[True] + [False] * len(item.peers))
