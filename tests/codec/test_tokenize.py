"""Token maps of files: the same as in .avq files, there and back through HDF5, and as a dataset."""

import pickle

import h5py
import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.wcs import WCS
from torch.utils.data import DataLoader

import astro_vq
from astro_vq.checkpoint import load_model, save_model
from astro_vq.codec.token_output import token_output
from astro_vq.codec.tokenize import read_tokens, tokenize
from astro_vq.config import ModelConfig, RunConfig
from astro_vq.data.scaling import Scaling
from astro_vq.errors import DataError, FormatError, ModelMismatchError
from astro_vq.io.token_file import ImageTokens, TokenFile, TokenFormat, TokenWriter
from astro_vq.models import build_model

FORMAT = TokenFormat("m", "ab" * 32, 4, 2, 1, 16, 2)


def save_tiny(folder, **options):
    torch.manual_seed(0)
    config = ModelConfig(hidden_channels=4, latent_channels=4, codes=16, **options)
    save_model(folder, build_model(config, 1), RunConfig(model=config), name="tiny")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("model") / "tiny")


def pixels(seed, *shape):
    return np.random.default_rng(seed).normal(100, 5, shape).astype(np.float32)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """File of a frame with coordinates and a name, a table, and a cube of two planes."""
    primary = fits.PrimaryHDU(pixels(0, 42, 50))
    primary.header["OBJECT"] = "M 31"
    for axis, kind in enumerate(("RA---TAN", "DEC--TAN"), 1):
        primary.header[f"CTYPE{axis}"] = kind
        primary.header[f"CRPIX{axis}"] = 20.5
        primary.header[f"CRVAL{axis}"] = 10.0 * axis
        primary.header[f"CDELT{axis}"] = 1e-4
    column = fits.Column(name="A", format="J", array=[1, 2])
    cube = fits.ImageHDU(pixels(1, 2, 16, 24), name="CUBE")
    path = tmp_path_factory.mktemp("images") / "frame.fits"
    fits.HDUList([primary, fits.BinTableHDU.from_columns([column]), cube]).writeto(path)
    return path


@pytest.fixture(scope="module")
def found(image, model):
    return tokenize(image, model=model, device="cpu")


def test_maps_are_those_of_the_model_and_say_where_they_come_from(found, image, model):
    loaded = load_model(model)
    assert found.format == TokenFormat("tiny", loaded.hash, 4, loaded.model.halo, 1, 16, 1)
    frame, first, second = found.maps
    assert (frame.hdu, frame.plane, frame.object, frame.size) == (0, 0, "M 31", (42, 50))
    assert (first.hdu, first.plane, first.name, first.object) == (2, 0, "CUBE", "M 31")
    assert (second.plane, second.size, second.indices.shape) == (1, (16, 24), (1, 4, 6))
    data = fits.getdata(image)
    scaling = Scaling.measure(data)
    assert (frame.sky, frame.sigma) == ((scaling.sky,), (scaling.sigma,))
    padded = np.pad(scaling.forward(data), [(0, 2), (0, 2)], mode="edge")
    expected = loaded.model.encode_indices(torch.from_numpy(padded)[None, None])
    np.testing.assert_array_equal(frame.indices, expected[0])


def test_coordinates_are_those_of_the_middle_of_the_pixels(found, image):
    of_map, of_image = WCS(found.maps[0].to_header()), WCS(fits.getheader(image))
    assert of_map.array_shape == (11, 13)
    expected = of_image.pixel_to_world_values(4 * 3 + 1.5, 4 * 7 + 1.5)
    np.testing.assert_allclose(of_map.pixel_to_world_values(3, 7), expected, atol=1e-10)
    assert [*found.maps[1].to_header()] == ["NAXIS", "NAXIS1", "NAXIS2"]


def test_tokens_of_compressed_files_are_taken_as_they_are_or_made_anew(
    found, image, model, tmp_path
):
    astro_vq.compress(image, tmp_path / "a.avq", model=model, fidelity="tokens", device="cpu")
    astro_vq.compress(image, tmp_path / "b.avq", tokens=False, fidelity="lossless")
    for name in ("a", "b"):
        again = tokenize(tmp_path / f"{name}.avq", model=model, device="cpu")
        for one, other in zip(again.maps, found.maps, strict=True):
            np.testing.assert_array_equal(one.indices, other.indices)
            assert one[2:] == other[2:]
    assert len(read_tokens(tmp_path / "a.avq").maps) == 3
    other = save_tiny(tmp_path / "other", commitment=0.5)
    with pytest.raises(ModelMismatchError, match="nothing but tokens of model 'tiny'"):
        tokenize(tmp_path / "a.avq", model=other)


def test_maps_come_back_from_hdf5(found, tmp_path):
    path = tmp_path / "t.h5"
    with token_output(path) as output:
        output.add(found)
    with token_output(path, append=True) as output:
        assert output.sources == {found.maps[0].source}
        output.add(found)
    with TokenFile(path) as file:
        assert (len(file), file.format) == (6, found.format)
        for i, item in enumerate((*found.maps, *found.maps)):
            back = file.read(i)
            np.testing.assert_array_equal(back.indices, item.indices)
            assert back[1:] == item[1:]
        assert file.column("object") == ["M 31"] * 6
        with pytest.raises(IndexError, match="it has 6"):
            file.read(6)
    with h5py.File(path) as file:  # as the documentation says, without this package
        first, shape = file["maps/first"][4], file["maps/shape"][4]
        flat = file["tokens"][first : first + np.prod(shape)]
        np.testing.assert_array_equal(flat.reshape(shape), found.maps[1].indices)


def write_and_raise(path, found, error):
    with token_output(path) as output:
        output.add(found)
        raise error


def test_outputs_are_not_replaced_unasked_nor_left_half_done(found, tmp_path):
    path = tmp_path / "t.h5"
    with pytest.raises(KeyError):
        write_and_raise(path, found, KeyError)
    with token_output(path):
        pass  # no map, no file
    assert not [*tmp_path.iterdir()]
    with pytest.raises(KeyboardInterrupt):
        write_and_raise(path, found, KeyboardInterrupt)
    assert len(TokenFile(path)) == 3  # what was done is kept
    with pytest.raises(FileExistsError, match="--append"), token_output(path):
        pass
    other = found.format._replace(hash="cd" * 32)
    with (
        pytest.raises(DataError, match="tokens of model 'tiny'"),
        token_output(path, append=True) as output,
    ):
        output.add(type(found)(other, found.maps))
    assert len(TokenFile(path)) == 3


def test_foreign_files_are_refused(tmp_path):
    path = tmp_path / "t.h5"
    path.write_bytes(b"nothing")
    with pytest.raises(FormatError, match="no HDF5 file"):
        TokenFile(path)
    with h5py.File(path, "w") as file:
        file["x"] = 1
    with pytest.raises(FormatError, match="not one of astro-vq tokens"):
        TokenFile(path)
    TokenWriter(path, FORMAT).close()
    with h5py.File(path, "r+") as file:
        file.attrs["version"] = 2
    with pytest.raises(FormatError, match="upgrade astro-vq"):
        TokenFile(path)


def made_up(count, shapes):
    rng = np.random.default_rng(0)
    return [
        ImageTokens(
            rng.integers(0, 16, (2, *shapes[i % len(shapes)])).astype(np.uint8),
            *(f"{i}.fits", 0, 0, "", f"object {i}", (40, 40), (1.0,), (2.0,), ""),
        )
        for i in range(count)
    ]


def test_a_dataset_gives_maps_and_windows_to_any_number_of_workers(tmp_path):
    maps = made_up(6, [(5, 9), (3, 3), (8, 4)])
    with TokenWriter(tmp_path / "t.h5", FORMAT) as writer:
        writer.add(maps)
    whole = astro_vq.TokenDataset(tmp_path / "t.h5")
    assert len(whole) == 6
    np.testing.assert_array_equal(whole[2]["indices"], maps[2].indices)
    assert whole.describe(4).object == "object 4"
    windows = pickle.loads(pickle.dumps(astro_vq.TokenDataset(tmp_path / "t.h5", size=4)))
    assert len(windows) == 2 * (2 + 0 + 2)
    expected = [
        maps[n].indices[:, y : y + 4, x : x + 4]
        for n, y, x in [(0, 0, 0), (0, 0, 4), (2, 0, 0), (2, 4, 0)]
    ]
    for workers in (0, 2):
        (batch,) = DataLoader(windows, batch_size=8, num_workers=workers)
        assert batch["indices"].dtype == torch.int64
        np.testing.assert_array_equal(batch["indices"][:4], expected)
        assert batch["map"].tolist() == [0, 0, 2, 2, 3, 3, 5, 5]
        assert batch["corner"][1].tolist() == [0, 4]
    assert windows[-1]["map"] == 5
    with pytest.raises(IndexError, match="of 8"):
        windows[8]
    with pytest.raises(DataError, match="no map of 9 x 9"):
        astro_vq.TokenDataset(tmp_path / "t.h5", size=9)


def test_a_dataset_of_compressed_files(found, image, model, tmp_path):
    choices = {"model": model, "fidelity": "tokens", "device": "cpu"}
    astro_vq.compress(image, tmp_path / "b.avq", **choices)
    astro_vq.compress(pixels(5, 16, 16), tmp_path / "c.avq", **choices)
    data = astro_vq.TokenDataset(tmp_path)
    assert (len(data), data.format) == (4, found.format)
    for i, item in enumerate(found.maps):
        np.testing.assert_array_equal(data[i]["indices"], item.indices)
    assert data.describe(2).plane == 1
    assert data.describe(3).size == (16, 16)
    with pytest.raises(DataError, match="there is none"):
        astro_vq.TokenDataset(model)
    other = save_tiny(tmp_path / "other", commitment=0.5)
    astro_vq.compress(pixels(6, 16, 16), tmp_path / "d.avq", **choices | {"model": other})
    with pytest.raises(DataError, match="take the files of one model"):
        astro_vq.TokenDataset([tmp_path / "b.avq", tmp_path / "d.avq"])
