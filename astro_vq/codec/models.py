"""Finding the model that a file names, when its tokens are to be decoded."""

import os
from typing import TYPE_CHECKING, Any

from astro_vq.codec.kept import read_model
from astro_vq.codec.stored import StoredFile
from astro_vq.errors import FormatError, ModelMismatchError

if TYPE_CHECKING:
    from astro_vq.checkpoint import LoadedModel
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
    """

    def __init__(
        self,
        file: StoredFile,
        *,
        model: str | os.PathLike[str] | None = None,
        device: str = "auto",
    ) -> None:
        self._file = file
        self._asked = model
        self._device = device
        self._loaded: WindowedModel | None = None

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
            from astro_vq.codec.windows import WindowedModel, choose_device

            device = choose_device(self._device)
            self._loaded = WindowedModel(self._find(device))
        return self._loaded

    def _find(self, device: str) -> "LoadedModel":
        from astro_vq.checkpoint import load_model, model_from_bytes

        if not self.hash:
            raise ModelMismatchError(f"{self._file.name}: the file names no model")
        if self._asked is not None:
            return load_model(str(self._asked), device=device, expected_hash=self.hash)
        embedded = read_model(self._file)
        if embedded is None:
            return self._by_name(device)
        loaded = model_from_bytes(
            embedded, device=device, name=f"{self._file.name}: embedded model"
        )
        if loaded.hash != self.hash:
            raise FormatError(
                f"{self._file.name}: the embedded model has hash {loaded.hash}, but the file names "
                f"{self.hash}"
            )
        return loaded

    def _by_name(self, device: str) -> "LoadedModel":
        from astro_vq.checkpoint import load_model

        try:
            return load_model(self.name, device=device, expected_hash=self.hash)
        except ModelMismatchError as err:
            raise ModelMismatchError(f"{self._file.name}: its tokens need {err}") from err
