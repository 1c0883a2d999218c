"""Recommendation ids: a list's bundle, arm, time and a keyed hash of its user, signed, in 60 characters.

Nothing is stored per list. An id is trusted because of its 96-bit MAC (keyed BLAKE2b, RFC 7693). It contains no user
id: without the key, nobody can read the user from it or test guesses.

    4 bits version, 4 bits arm | experiment, 6 bytes | percent of the canary, float32 | beginning of the bundle's id,
    8 bytes | milliseconds since 1970, 6 | hash of the user, 8 | MAC, 12                (45 bytes, base64url)
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import logging
import struct
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.bundles.registry import Lineup, Model
from service.feedback.arms import EXPERIMENT_BYTES, Arm, arm_of, experiment_of
from service.feedback.keys import Once, drawn_key, read_keys
from service.settings import Settings

logger = logging.getLogger(__name__)

ID_CHARACTERS = 60
_VERSION = 1
_BUNDLE_BYTES = 8
_HEAD = struct.Struct(f">B{EXPERIMENT_BYTES}sf{_BUNDLE_BYTES}s")
_TIME_BYTES, _USER_BYTES, _MAC_BYTES = 6, 8, 12
_BODY_BYTES = _HEAD.size + _TIME_BYTES + _USER_BYTES
_NOBODY = bytes(_USER_BYTES)
POPULAR_SECONDS = 3600
"""The id of the shared popular list changes this often, so that caches can keep the answer in between."""


class NotOurs(ValueError):
    """The id was not issued by this service, or not for this user."""


@dataclass(frozen=True)
class Recommendation:
    """The content of an id: ``at`` in seconds since 1970, ``bundle`` the first 16 characters of the bundle's id.

    ``experiment`` is hexadecimal, empty if there was no canary; ``percent`` is the canary's share of users.
    """

    arm: Arm
    experiment: str
    percent: float
    bundle: str
    at: float


class RecommendationIds:
    """Issues ids and reads them. The first of ``keys`` signs; ids signed with any of them are accepted."""

    def __init__(
        self,
        keys: Sequence[bytes],
        *,
        clock: Callable[[], float] = time.time,
        on_read: Callable[[], None] | None = None,
    ) -> None:
        """``keys``: secret, at least one; ``on_read`` is called before an id is read."""
        self._signers = [_Signer(key) for key in keys]
        self._clock = clock
        self._on_read = on_read
        self._lineup: Lineup | None = None
        self._heads: dict[tuple[str, Arm], bytes] = {}

    def issue(self, lineup: Lineup, model: Model, *, named: bool, user_id: str | None) -> str:
        """The id of a list that ``model`` gives now. ``user_id``: None also for users who are not personalised."""
        arm = arm_of(lineup, model, named=named, user_id=user_id)
        head = self._head(lineup, model, arm)
        signer = self._signers[0]
        user = _NOBODY if user_id is None else signer.user(user_id)
        return signer.signed(head + int(self._clock() * 1000).to_bytes(_TIME_BYTES, "big") + user)

    def issue_popular(self, lineup: Lineup, model: Model) -> str:
        """The id of the popular list that all users share; it stays the same for ``POPULAR_SECONDS``."""
        began = int(self._clock()) // POPULAR_SECONDS * POPULAR_SECONDS
        head = self._head(lineup, model, Arm.UNASSIGNED)
        return self._signers[0].signed(head + (began * 1000).to_bytes(_TIME_BYTES, "big") + _NOBODY)

    def read(self, text: str, *, user_id: str) -> Recommendation:
        """The content of ``text``. Raises NotOurs if this service did not issue it, or issued it for another user."""
        if self._on_read is not None:
            self._on_read()
        raw = _decoded(text)
        signer = next((signer for signer in self._signers if raw is not None and signer.has_signed(raw)), None)
        if raw is None or signer is None:
            raise NotOurs("this service did not issue this id, or its key has changed since")
        user = raw[_BODY_BYTES - _USER_BYTES : _BODY_BYTES]
        if user not in (_NOBODY, signer.user(user_id)):
            raise NotOurs("this id belongs to a list for another user")
        first, experiment, percent, bundle = _HEAD.unpack_from(raw)
        return Recommendation(
            arm=Arm(first & 15),
            experiment=experiment.hex() if any(experiment) else "",
            percent=percent,
            bundle=bundle.hex(),
            at=int.from_bytes(raw[_HEAD.size : _HEAD.size + _TIME_BYTES], "big") / 1000,
        )

    def _head(self, lineup: Lineup, model: Model, arm: Arm) -> bytes:
        if lineup is not self._lineup:
            self._lineup = lineup
            self._heads.clear()
        head = self._heads.get((model.id, arm))
        if head is None:
            start = bytes.fromhex(model.id[: 2 * _BUNDLE_BYTES])
            head = _HEAD.pack(_VERSION << 4 | arm, experiment_of(lineup), lineup.traffic.percent, start)
            self._heads[model.id, arm] = head
        return head


class _Signer:
    """Hashes users and computes MACs with one key."""

    def __init__(self, key: bytes) -> None:
        secret = hashlib.sha256(key).digest()  # a key may be longer than BLAKE2b takes
        # Copying these is cheaper than creating them anew.
        self._user = hashlib.blake2b(key=secret, digest_size=_USER_BYTES, person=b"user")
        self._mac = hashlib.blake2b(key=secret, digest_size=_MAC_BYTES, person=b"list")

    def user(self, user_id: str) -> bytes:
        hashing = self._user.copy()
        hashing.update(user_id.encode("utf-8", "surrogatepass"))
        return hashing.digest()

    def mac(self, body: bytes) -> bytes:
        hashing = self._mac.copy()
        hashing.update(body)
        return hashing.digest()

    def signed(self, body: bytes) -> str:
        return urlsafe_b64encode(body + self.mac(body)).decode("ascii")

    def has_signed(self, raw: bytes) -> bool:
        return hmac.compare_digest(raw[_BODY_BYTES:], self.mac(raw[:_BODY_BYTES]))


def _decoded(text: str) -> bytes | None:
    """The bytes of ``text``; None if it does not have the form of an id."""
    try:
        raw = urlsafe_b64decode(text.encode("ascii"))
    except (UnicodeEncodeError, binascii.Error):
        return None
    # Decoding skips characters that are not base64, so other texts give the same bytes; they are not the id.
    return raw if len(text) == ID_CHARACTERS and len(raw) == _BODY_BYTES + _MAC_BYTES else None


def open_ids(settings: Settings, folder: Path | None) -> RecommendationIds:
    """Ids signed as ``settings`` say; without a key, one is drawn for all workers of ``folder``, with one warning.

    Raises:
        InputError: a key is too short.
    """
    keys = read_keys(settings.feedback_key)
    if keys:
        return RecommendationIds(keys)
    once = Once(folder)

    def warn() -> None:
        if once.first():
            logger.warning(
                "events name recommendation ids, but DIFFCDR_FEEDBACK_KEY is not set: ids are signed with a key drawn "
                "at startup, so ids from before a restart or from another replica are refused"
            )

    return RecommendationIds([drawn_key(folder)], on_read=warn)
