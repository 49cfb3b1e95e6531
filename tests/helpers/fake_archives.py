"""Tiny stand-ins of the servers that recipes ask, with the same paths and formats."""

import functools
import gzip
import hashlib
import io
import json
import pickle
import tarfile
import zipfile
from urllib.parse import parse_qs, urlsplit

import h5py
import numpy as np
from astropy.io import fits

SIDE = 32


def image(path: str, shape: tuple[int, ...] = (SIDE, SIDE)) -> np.ndarray:
    """Return noise with a source in it that depends on nothing but the path."""
    seed = int.from_bytes(hashlib.sha256(path.encode()).digest()[:4], "big")
    pixels = np.random.default_rng(seed).normal(100, 5, shape)
    pixels[..., SIDE // 2, SIDE // 2] += 300
    return pixels


def fits_bytes(pixels: np.ndarray) -> bytes:
    """Return a FITS file of one image."""
    buffer = io.BytesIO()
    fits.PrimaryHDU(pixels).writeto(buffer)
    return buffer.getvalue()


def packed_tar(members: dict[str, bytes]) -> bytes:
    """Return a tar.gz file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def galaxy10(path: str) -> bytes:
    rng = np.random.default_rng(1)
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["images"] = rng.integers(0, 90, (40, SIDE, SIDE, 3), dtype=np.uint8)
        file["ans"] = np.arange(40) % 10
        file["ra"], file["dec"] = rng.uniform(0, 360, 40), rng.uniform(-20, 60, 40)
    return buffer.getvalue()


def mirabest(path: str) -> bytes:
    rng = np.random.default_rng(2)
    members = {}
    for name, protocol in (("data_batch_1", 2), ("data_batch_2", 4), ("test_batch", 3)):
        pixels = rng.integers(0, 200, (8, 150 * 150), dtype=np.uint8)
        batch = {"data": list(pixels) if protocol == 4 else pixels, "labels": list(range(8))}
        members[f"batches/{name}"] = pickle.dumps(batch, protocol=protocol)
    return packed_tar(members)


def ztf_night(path: str) -> bytes:
    import fastavro

    stamp = {"name": "cutout", "type": "record", "fields": [{"name": "stampData", "type": "bytes"}]}
    names = ("cutoutScience", "cutoutTemplate", "cutoutDifference")
    candidate = {"name": "candidate", "type": "record", "fields": [{"name": "fid", "type": "int"}]}
    schema = fastavro.parse_schema(
        {
            "name": "alert",
            "type": "record",
            "fields": [
                {"name": "objectId", "type": "string"},
                {"name": "candid", "type": "long"},
                {"name": "candidate", "type": candidate},
                {"name": names[0], "type": ["null", stamp]},
                *({"name": name, "type": ["null", "cutout"]} for name in names[1:]),
            ],
        }
    )
    members = {}
    for number in range(20):
        alert = {"objectId": f"ZTF20a{number // 2}", "candid": number, "candidate": {"fid": 1}}
        for name in names:
            packed = gzip.compress(fits_bytes(image(f"{number}{name}")))
            alert[name] = None if number == 3 else {"stampData": packed}
        buffer = io.BytesIO()
        fastavro.writer(buffer, schema, [alert])
        members[f"{number}.avro"] = buffer.getvalue()
    return packed_tar(members)


def listed(path: str) -> bytes:
    """Answer for a data set of files: its list, or one of them."""
    names = [f"data/coj1m011-{n:04d}-e00.fits" for n in range(12)]
    if "/tree/" in path:
        entries = [
            {"type": "file", "path": name,
             "lfs": {"oid": hashlib.sha256(fits_bytes(image(name))).hexdigest()}}
            for name in names
        ]  # fmt: skip
        more = [{"type": "directory", "path": "data"}, {"type": "file", "path": "README.md"}]
        return json.dumps(entries + more).encode()
    return fits_bytes(image(path.split("/resolve/main/")[1]))


def cutout(path: str) -> bytes:
    """Answer for a service of cutouts: FITS, zipped by MAST, gzipped stamps by ALeRCE."""
    query = parse_qs(urlsplit(path).query)
    bands = len(query.get("bands", ["x"])[0])
    content = fits_bytes(image(path, (bands, SIDE, SIDE) if bands > 1 else (SIDE, SIDE)))
    if "/zcut/" in path:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("hst_cutout.fits", content)
        return buffer.getvalue()
    return gzip.compress(content) if "get_stamp" in path else content


@functools.cache
def answer(path: str) -> bytes | None:
    """Answer for all of them; None for paths that none has."""
    for part, maker in {
        "Galaxy10_DECals.h5": galaxy10,
        "MiraBest_full_batches": mirabest,
        "/alerts/public/": ztf_night,
        "/datasets/AstroCompress/": listed,
        "/viewer/fits-cutout?": cutout,
        "/cgi/runquery.pl?": cutout,
        "/dr2-cutout.fits?": cutout,
        "/zcut/api/": cutout,
        "/hips2fits?": cutout,
        "/get_stamp?": cutout,
    }.items():
        if part in path:
            return maker(path)
    return None
