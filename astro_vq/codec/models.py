"""Finding the model that a file names, when its tokens are to be decoded."""

import os
from typing import TYPE_CHECKING, Any

from astro_vq.codec.kept import read_model
from astro_vq.codec.stored import StoredFile
from astro_vq.errors import FormatError, ModelMismatchError

if TYPE_CHECKING:
    from astro_vq.codec.windows import WindowedModel


class ModelSource:
    """Loads the model of a file when it is first needed.

    Parameters
    ----------
    file : StoredFile
        The file.
    model : str or path, optional
        Name or folder to take instead of the name in the file; its hash must be the same.
    device : str
        Where the model runs.
    loaded : WindowedModel, optional
        The model itself, where it is at hand.
    """

    def __init__(
        self,
        file: StoredFile,
        *,
        model: str | os.PathLike[str] | None = None,
        device: str = "auto",
        loaded: "WindowedModel | None" = None,
    ) -> None:
        self._file = file
        self._asked = model
        self._device = device
        self._loaded = loaded

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_loaded": None}  # loaded again where it is needed

    @property
    def name(self) -> str:
        """Name of the model, '' when the file has no tokens."""
        return self._file.globals.text("AVQMODEL", default="")

    @property
    def hash(self) -> str:
        """Content hash of the model, '' when the file has no tokens."""
        return self._file.globals.text("AVQHASH", default="")

    def load(self) -> "WindowedModel":
        """Return the model: that in the file, else by name, else any with the same hash.

        Raises
        ------
        ModelMismatchError
            It is not to be found; the message names it and the ways to get it.
        FormatError
            The embedded model is damaged.
        """
        if self._loaded is None:
            self._loaded = self._find()
        return self._loaded

    def _find(self) -> "WindowedModel":
        from astro_vq.codec.loaded_models import load_once  # torch only when it is needed

        if not self.hash:
            raise ModelMismatchError(f"{self._file.name}: the file names no model")
        if self._asked is not None:
            return load_once(self._asked, device=self._device, expected_hash=self.hash)
        embedded = read_model(self._file)
        if embedded is not None:
            return self._from_bytes(embedded)
        try:
            return load_once(self.name, device=self._device, expected_hash=self.hash)
        except ModelMismatchError as err:
            raise ModelMismatchError(f"{self._file.name}: its tokens need {err}") from err

    def _from_bytes(self, embedded: bytes) -> "WindowedModel":
        from astro_vq.checkpoint import model_from_bytes
        from astro_vq.codec.sparse_windows import wrap_model
        from astro_vq.codec.windows import choose_device

        loaded = model_from_bytes(
            embedded,
            device=choose_device(self._device),
            name=f"{self._file.name}: embedded model",
        )
        if loaded.hash != self.hash:
            raise FormatError(
                f"{self._file.name}: the embedded model has hash {loaded.hash}, but the file names "
                f"{self.hash}"
            )
        return wrap_model(loaded)
