import numpy as np
import pytest
import torch
from astropy.io import fits

from astro_vq.checkpoint import LoadedModel
from astro_vq.config import ModelConfig, RunConfig
from astro_vq.data.cutouts import CutoutIndex
from astro_vq.errors import ModelMismatchError
from astro_vq.metrics.codebook import iterate_usage, study_codebooks
from astro_vq.metrics.codebook_geometry import nearest_distances, project, similarity_order
from astro_vq.metrics.codebook_levels import code_vectors, find_levels
from astro_vq.models import build_model

CONFIGS = {
    "one": ModelConfig(codes=16, latent_channels=4),
    "residual": ModelConfig(codes=8, latent_channels=4, quantizer="residual", depth=3),
    "scalar": ModelConfig(quantizer="finite-scalar", latent_channels=3, levels=(3, 3, 2)),
    "two": ModelConfig(model="vqvae2", codes=8, latent_channels=4),
}
LEVELS = {
    "one": ["codes"],
    "residual": ["level 1", "level 2", "level 3"],
    "scalar": ["codes"],
    "two": ["top", "bottom"],
}


def make_loaded(name):
    torch.manual_seed(0)
    config = CONFIGS[name]
    model = build_model(config, 1).eval()
    for book in [module for module in model.modules() if hasattr(module, "codebook")]:
        book.codebook.data.normal_()
    return LoadedModel(model, RunConfig(model=config), name, "0" * 64, {})


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for seed in range(2):
        rng = np.random.default_rng(seed)
        pixels = rng.normal(10, 1, (96, 128))
        pixels[40:44, 50:54] += 40
        fits.PrimaryHDU(pixels.astype(np.float32)).writeto(folder / f"{seed}.fits")
    return CutoutIndex.build([folder])


@pytest.mark.parametrize("name", CONFIGS)
def test_every_kind_of_codebook_is_studied(name, index):
    loaded = make_loaded(name)
    study = study_codebooks(loaded, index, cutout_size=32, max_cutouts=20)
    assert [level.name for level in study.levels] == LEVELS[name]
    for level, found in zip(study.levels, find_levels(loaded.model), strict=True):
        codes = len(level.counts)
        assert codes == found.quantizer.codes
        assert level.counts.sum() == study.cutouts * (32 // study.stride * found.finer) ** 2
        assert 1 <= level.perplexity <= codes
        assert level.dead == (level.counts == 0).sum()
        assert sorted(level.order) == list(range(codes))
        assert sorted(level.drawn) == list(range(codes))
        assert level.drawings.shape == (codes, 1, 3 * study.stride, 3 * study.stride)
        assert level.vectors.shape[0] == codes
        assert set(level.examples) == set(np.flatnonzero(level.counts))
        assert level.to_dict()["tokens"] == level.counts.sum()
    assert study.image.shape == (32, 32)
    for codes, found in zip(study.image_codes, find_levels(loaded.model), strict=True):
        assert codes.shape == (32 // study.stride * found.finer,) * 2


def test_maps_of_both_levels_are_those_of_the_quantisers():
    loaded = make_loaded("two")
    model = loaded.model
    pixels = np.random.default_rng(0).normal(size=(1, 32, 32)).astype(np.float32)
    study = study_codebooks(loaded, image=pixels)
    with torch.inference_mode():
        features = model._features(torch.from_numpy(pixels)[None])
        top = model.top.indices(model.to_top(features))
        bottom = model.bottom.indices(model._bottom_latents(features, model.top.lookup(top)))
    np.testing.assert_array_equal(study.image_codes[0], top[0, 0].numpy())
    np.testing.assert_array_equal(study.image_codes[1], bottom[0, 0].numpy())


def test_vectors_are_the_codes():
    model = make_loaded("one").model
    (level,) = find_levels(model)
    np.testing.assert_allclose(code_vectors(level), model.quantizer.vectors.detach().numpy())
    residual = make_loaded("residual").model
    second = find_levels(residual)[1]
    vectors = code_vectors(second)
    np.testing.assert_allclose(vectors[0], 0, atol=1e-6)  # nothing is added
    expected = residual.quantizer.levels[1].vectors.detach().numpy()
    np.testing.assert_allclose(vectors[1:], expected, atol=1e-6)


def test_use_is_counted_as_the_model_encodes(index):
    loaded = make_loaded("one")
    study = study_codebooks(loaded, index, cutout_size=32, max_cutouts=4)
    share = study.levels[0].counts / study.levels[0].counts.sum()
    entropy = -(share[share > 0] * np.log2(share[share > 0])).sum()
    assert study.levels[0].entropy_bits == pytest.approx(entropy)
    assert study.levels[0].perplexity == pytest.approx(2**entropy)
    usage = list(iterate_usage(study.levels[0]))
    assert [count for _, count, _ in usage] == sorted(study.levels[0].counts, reverse=True)
    assert sum(part for _, _, part in usage) == pytest.approx(1)


def test_without_data_codes_are_drawn_but_not_counted():
    study = study_codebooks(make_loaded("one"))
    (level,) = study.levels
    assert study.cutouts == 0
    assert study.image is None
    assert not level.counts.any()
    assert level.drawings.shape[0] == 16
    assert level.to_dict()["perplexity"] is None


def test_distances_are_those_of_the_nearest_other_code():
    vectors = np.random.default_rng(0).normal(size=(40, 5))
    distance = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    np.testing.assert_allclose(nearest_distances(vectors), distance.min(1))


def test_similar_codes_stand_beside_each_other():
    order = similarity_order(np.array([[0.0], [10.0], [1.0], [11.0], [2.0]]), start=0)
    assert order.tolist() == [0, 2, 4, 1, 3]


def test_large_codebooks_are_ordered_along_one_axis(monkeypatch):
    monkeypatch.setattr("astro_vq.metrics.codebook_geometry.LARGEST_WALK", 3)
    order = similarity_order(np.array([[0.0], [10.0], [1.0], [11.0], [2.0]]))
    assert order.tolist() in ([0, 2, 4, 1, 3], [3, 1, 4, 2, 0])


def test_the_projection_keeps_the_largest_variance():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(200, 6)) * [10, 5, 0.1, 0.1, 0.1, 0.1]
    points, explained = project(vectors)
    assert explained > 0.99
    assert points.std(0) == pytest.approx([10, 5], rel=0.15)
    assert project(np.ones((4, 1)))[1] == 1.0


def test_models_without_codes_and_other_channels_are_refused(index):
    model = build_model(ModelConfig(model="autoencoder"), 1)
    with pytest.raises(ModelMismatchError, match="no codebook"):
        find_levels(model)
    loaded = make_loaded("one")
    two = LoadedModel(build_model(CONFIGS["one"], 2).eval(), loaded.config, "two", "0" * 64, {})
    with pytest.raises(ModelMismatchError, match="takes 2 channels, the data has 1"):
        study_codebooks(two, index)
