"""The files of a saved model, from the folder to transformers' objects, with a check between any two steps."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from torpor.core.errors import DataError, UsageError
from torpor.targets.decoder.generation.configs import check_config, check_names
from torpor.targets.decoder.generation.fit import as_large_as, check_fit
from torpor.targets.decoder.generation.folder import LARGEST_SETTINGS, read_folder, read_object
from torpor.targets.decoder.generation.foreign import read_by_others
from torpor.targets.decoder.generation.reading import TOKENIZER, check_reading
from torpor.targets.decoder.generation.settings import check_generation, check_generation_names
from torpor.targets.decoder.generation.stored import Stored, stored_tensors

DEPLOYMENT = "generation_config.json"


class SavedModel:
    """A model in a folder or on the hub.

    Args:
        transformers: the library.
        place: folder, or name on the hub.
        local: whether it is a folder.
        online: whether files may be fetched.
        loading: what the user asks for, as ``from_pretrained`` of the model takes it.
        gguf: the file that the weights, the configuration and the tokenizer are from; None for safetensors.

    Raises:
        UsageError: if a folder's model is quantized or needs kernels of its own.
        DataError: if a folder's files are missing, damaged, or contradict each other.
    """

    def __init__(
        self,
        transformers: Any,  # noqa: ANN401 - the library
        place: str,
        *,
        local: bool,
        online: bool,
        loading: Mapping[str, Any] | None = None,
        gguf: str | None = None,
    ) -> None:
        self.transformers, self.place, self.local, self.online = transformers, place, local, online
        self.options: dict[str, Any] = {"local_files_only": not online, "trust_remote_code": False}
        self.loading, self.gguf = dict(loading or {}), gguf
        self.files: Mapping[str, Mapping[str, Any]] = {}
        self.stored: Mapping[str, Stored] | None = None
        self.deployment_is_saved = self.capped = True
        if not local:
            return
        folder = Path(place)
        if gguf is not None:
            self.options["gguf_file"] = gguf
            self.deployment_is_saved = (folder / DEPLOYMENT).is_file()
            self.files = {name: read_object(folder / name, LARGEST_SETTINGS) for name in self._named()}
            return
        self.files = read_folder(folder)
        if "config.json" not in self.files:
            raise DataError(f"expected config.json in {folder}, got none; save the model with save_pretrained")
        explicit = self.files["config.json"].get("transformers_weights")
        self.stored = stored_tensors(folder, None if explicit is None else str(explicit))
        check_config(self.files["config.json"], len(self.stored))
        check_reading(self.files)
        self.deployment_is_saved = DEPLOYMENT in self.files

    def _named(self) -> list[str]:
        """Return the settings beside a GGUF file that transformers reads."""
        return [DEPLOYMENT] if self.deployment_is_saved else []

    @property
    def source(self) -> str:
        """Where the settings of generation are from."""
        named = DEPLOYMENT if self.deployment_is_saved else self.gguf or "config.json"
        return named if self.capped else f"{named}, with transformers' own cap"

    def reading(self) -> AbstractContextManager[None]:
        """Return what turns anything that other libraries raise into one sentence."""
        wanted = "a saved model" if self.local else "a local folder or the name of a model on the hub"
        return read_by_others(wanted, self.place, "check it")

    def config(self) -> Any:  # noqa: ANN401 - one of transformers' configurations
        """Return the configuration.

        Raises:
            UsageError: if there is none.
            DataError: if transformers makes something else of it than it says.
        """
        with self._reaching():
            found = self.transformers.AutoConfig.from_pretrained(self.place, **self.options)
        if self.local and self.gguf is None:
            check_names(self.files["config.json"], found)
        else:
            check_config(found.to_dict())
        return found

    def model(self, kind: Any, config: Any) -> Any:  # noqa: ANN401 - transformers' own classes
        """Return the model, whose weights are those of the files.

        Args:
            kind: its class.
            config: its configuration.

        Raises:
            UsageError: if transformers cannot load it.
            DataError: if weights and model do not fit, or its deployment cannot be what it says.
        """
        if self.local:
            file = DEPLOYMENT if self.deployment_is_saved else "config.json"
            given = self.files.get(file, {})
            check_generation(given, file, self.vocabulary(config))
            self.capped = given.get("max_new_tokens") is not None or given.get("max_length") is not None
            if self.deployment_is_saved:
                check_generation_names(given, self._generation_names(config), _source(kind))
        with self._reaching(), nullcontext() if self.stored is None else as_large_as(self.stored):
            safe = {"use_safetensors": True, "ignore_mismatched_sizes": True} if self.gguf is None else {}
            model, info = kind.from_pretrained(
                self.place, output_loading_info=True, **safe, **self.loading, **self.options
            )
        check_fit(model, info, self.stored, self.place)
        if self.gguf is not None and hasattr(model.config, "quantization_config"):
            del model.config.quantization_config  # of the file: what runs are dense weights
        return model

    def part(self, what: str, automatic: Any, kind: type[Any]) -> Any:  # noqa: ANN401 - transformers' own classes
        """Return the tokenizer, image processor or feature extractor.

        Args:
            what: it is called.
            automatic: the class that finds it.
            kind: that it is of.

        Raises:
            UsageError: if there is none.
        """
        name = self.files.get(TOKENIZER, {}).get("tokenizer_class")
        if what == "tokenizer" and name is not None:
            named = [getattr(self.transformers, one, None) for one in (name, name.removesuffix("Fast"))]
            if not any(isinstance(one, type) and issubclass(one, kind) for one in named):
                raise DataError(f"expected a tokenizer of transformers in {self.place}, got {name!r:.60}; correct it")
        with read_by_others(f"a {what} in {self.place}", "none", "save it there"):
            found = automatic.from_pretrained(self.place, **self.options)
        if not isinstance(found, kind):
            raise UsageError(f"expected a {what} in {self.place}, got {type(found).__name__}; save it there")
        return found

    def vocabulary(self, config: Any) -> int:  # noqa: ANN401
        """Return how many ids the model knows.

        Raises:
            UsageError: if its configuration does not say.
        """
        with self.reading():
            return int(config.get_text_config(decoder=True).vocab_size)

    def _generation_names(self, config: Any) -> set[str]:  # noqa: ANN401
        plain = self.transformers.GenerationConfig()
        return {*vars(plain), *plain.to_dict(), *config.to_dict(), "trust_remote_code"}

    def _reaching(self) -> AbstractContextManager[None]:
        if self.local or self.online:
            return self.reading()
        return _Unreachable(self.place, self.reading())


class _Unreachable(AbstractContextManager[None]):
    """Report that the hub is out of reach for what is in no cache."""

    def __init__(self, place: str, inner: AbstractContextManager[None]) -> None:
        self.place, self.inner = place, inner

    def __enter__(self) -> None:
        self.inner.__enter__()

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool | None:  # noqa: ANN401
        if isinstance(error, OSError):
            raise UsageError(
                f"expected a local folder or the name of a model on the hub, got {self.place}: no such folder, no "
                "safetensors in the cache, and the hub is out of reach; check it"
            ) from error
        return self.inner.__exit__(kind, error, trace)


def _source(kind: Any) -> str:  # noqa: ANN401
    """Return the code of a model's class, its parents and the logits processors that these name.

    All of them may read settings of their own.
    """
    modules = {base.__module__ for base in kind.__mro__ if base.__module__.startswith("transformers.models.")}
    parts = [sys.modules[module] for module in sorted(modules)]
    named = {name: value for part in parts for name, value in vars(part).items() if name.endswith("LogitsProcessor")}
    return "\n".join(inspect.getsource(part) for part in (*parts, *named.values()))
