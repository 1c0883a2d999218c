"""``diffcdr rollout``: brings a bundle to every replica, one after the other, and undoes it if one refuses.

First every replica loads the bundle beside what it serves: hashes verified, warmed, and answering nobody, so that a
bundle which one of them refuses reaches no user anywhere. Then one replica after the other switches; the next one's
turn comes once the last is ready and all its answers come from the new bundle. Whatever goes wrong, or Ctrl-C, puts
those that switched back to what they served before.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar
from urllib.parse import urlsplit

import typer

from diffcdr.client import Client, ClientError, ServiceError
from diffcdr.client.retries import NO_RETRIES
from diffcdr.errors import BundleError, DiffCDRError, InputError
from diffcdr.progress import Reporter

T = TypeVar("T")

POLL_SECONDS = 0.1
ASK_SECONDS = 10.0
"""How long a replica may take for an answer that needs no loading."""
BY_NAME = "dns+"


@dataclass(frozen=True)
class Replica:
    """One service and its key. Every call opens new connections, so that all its workers are reached."""

    address: str
    key: str | None
    patience: float
    """Seconds it may take to load a bundle, and to answer with it."""

    def client(self, *, timeout: float = ASK_SECONDS) -> Client:
        """A client of this replica, to use with ``with``."""
        return Client(self.address, api_key=self.key, timeout=timeout, retries=NO_RETRIES)

    def serving(self) -> str:
        """Id of its active bundle. Raises ClientError if it is not ready."""
        with self.client() as client:
            return client.readiness().bundle

    def load(self, path: str) -> str:
        """Load the bundle at ``path`` while it serves another; returns the bundle's id. Raises ClientError."""
        with self.client(timeout=self.patience) as client:
            return client.load_model(path).id

    def activate(self, bundle: str) -> None:
        """Activate the loaded ``bundle``. Raises ClientError."""
        with self.client() as client:
            client.activate_model(bundle)

    def answers_with(self, bundle: str) -> bool:
        """Whether it is ready with ``bundle`` and answers a query from it."""
        try:
            with self.client() as client:
                ready = client.readiness().bundle == bundle
            with self.client() as client:
                return ready and client.popular(k=1).bundle == bundle
        except ClientError:
            return False


@dataclass
class Rollout:
    """The rollout of one bundle to ``replicas``. ``settle``: seconds of answers from it alone."""

    replicas: Sequence[Replica]
    settle: float
    say: Callable[[str], None]
    switched: list[tuple[Replica, str]] = field(default_factory=list)
    """Replicas that were switched, each with what it served before, in that order."""

    def survey(self) -> dict[str, str]:
        """The bundle that each replica serves, by address. Raises DiffCDRError if one is not ready or refuses us."""
        return {replica.address: self._ask(replica, replica.serving, "is not ready") for replica in self.replicas}

    def run(self, path: str) -> str:
        """Bring the bundle at ``path`` below the replicas' bundle roots to all of them; returns its id.

        Raises:
            BundleError: a replica refused it, or has another one there; no replica was switched.
            DiffCDRError: a replica did not answer, or not with the new bundle; all are back at what they served.
        """
        before = self.survey()
        bundle = self._load(path)
        with self._back_if_it_fails():
            for replica in self.replicas:
                if before[replica.address] == bundle:
                    self.say(f"{replica.address} serves it already")
                    continue
                self.switched.append((replica, before[replica.address]))
                self._ask(replica, partial(replica.activate, bundle), "did not switch")
                self._wait(replica, bundle)
                self.say(f"{replica.address} switched from {before[replica.address][:12]} to {bundle[:12]}")
        return bundle

    def _load(self, path: str) -> str:
        found: dict[str, str] = {}
        for replica in self.replicas:
            try:
                found[replica.address] = replica.load(path)
            except ServiceError as error:
                kind = BundleError if error.code == "bundle_refused" else DiffCDRError
                raise kind(
                    f"{replica.address} does not take bundle {path}: {error.problem.detail}; "
                    "every replica serves what it served before"
                ) from error
            except ClientError as error:
                raise DiffCDRError(f"{replica.address}: {error}; every replica serves what it served before") from error
            self.say(f"{replica.address} loaded {path} as {found[replica.address][:12]}")
        if len(set(found.values())) > 1:
            held = ", ".join(f"{bundle[:12]} on {address}" for address, bundle in found.items())
            raise BundleError(
                f"the replicas do not have the same bundle at {path} ({held}); copy one to all of them; "
                "every replica serves what it served before"
            )
        return next(iter(found.values()))

    def _wait(self, replica: Replica, bundle: str) -> None:
        """Until all answers came from ``bundle`` for ``settle`` seconds on end. Raises DiffCDRError after a while."""
        started = since = time.monotonic()
        while True:
            good = replica.answers_with(bundle)
            now = time.monotonic()
            if not good:
                since = now
            elif now - since >= self.settle:
                return
            if now - started > replica.patience:
                raise DiffCDRError(
                    f"{replica.address} switched to bundle {bundle[:12]}, but was not ready and answering with it "
                    f"for {self.settle:g} s without interruption within {replica.patience:g} s"
                )
            time.sleep(POLL_SECONDS)

    @contextmanager
    def _back_if_it_fails(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            lost = [
                replica.address for replica, bundle in reversed(self.switched) if not self._put_back(replica, bundle)
            ]
            if not isinstance(error, DiffCDRError):
                raise
            if lost:
                raise DiffCDRError(
                    f"{error}; {', '.join(lost)} could not be put back: look at /v1/models there, and call "
                    "/v1/admin/models/rollback"
                ) from error
            raise DiffCDRError(f"{error}; every replica serves what it served before") from error

    def _put_back(self, replica: Replica, bundle: str) -> bool:
        """Whether ``replica`` serves ``bundle`` again."""
        try:
            replica.activate(bundle)
            back = replica.serving() == bundle
        except ClientError:
            return False
        self.say(f"{replica.address} went back to {bundle[:12]}")
        return back

    def _ask(self, replica: Replica, call: Callable[[], T], what: str) -> T:
        try:
            return call()
        except ClientError as error:
            raise DiffCDRError(f"{replica.address} {what}: {error}") from error


def rollout(
    bundle: Annotated[
        str, typer.Option(help="The bundle's directory below every replica's bundle root.", show_default=False)
    ],
    replicas: Annotated[
        str,
        typer.Option(
            metavar="URL,URL…",
            help="Each replica itself, not the proxy; dns+http://NAME:PORT stands for every address of NAME.",
            show_default=False,
        ),
    ],
    api_key_file: Annotated[
        Path | None, typer.Option(help="File that holds a key with the scopes read and admin.", show_default=False)
    ] = None,
    settle: Annotated[
        float, typer.Option(min=0.0, help="Seconds for which a replica must answer with the new bundle alone.")
    ] = 2.0,
    timeout: Annotated[
        float, typer.Option(min=1.0, help="Seconds that a replica may take to load the bundle, and to switch.")
    ] = 300.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check that every replica is ready; change nothing.")
    ] = False,
) -> None:
    """Bring a bundle to every replica, one after the other; at the first failure all go back to the old one.

    Every replica loads and verifies it before the first one switches.
    """
    reporter = Reporter()
    key = None if api_key_file is None else read_key(api_key_file)
    found = [Replica(address, key, timeout) for address in addresses(replicas)]
    steps = Rollout(found, settle, reporter.note)
    if dry_run:
        for address, serving in steps.survey().items():
            reporter.note(f"{address} is ready and serves {serving[:12]}; it would load {bundle} and switch to it")
        return
    done = steps.run(bundle)
    reporter.note(f"all {len(found)} replicas serve bundle {done}")


def addresses(text: str) -> list[str]:
    """The replicas that ``text`` names, each once, in their order.

    Raises:
        InputError: one is no address, or a name has none.
    """
    found: list[str] = []
    for part in filter(None, (part.strip().rstrip("/") for part in text.split(","))):
        try:
            url = urlsplit(part.removeprefix(BY_NAME))
            usable = url.scheme in ("http", "https") and bool(url.hostname)
            port = url.port
        except ValueError:
            usable = False
        if not usable:
            raise InputError(f"{part!r} is not the address of a replica; write it as http://host:port")
        found += _looked_up(url.scheme, str(url.hostname), port) if part.startswith(BY_NAME) else [part]
    if not found:
        raise InputError("--replicas names none; write them as http://host:port, separated by commas")
    return list(dict.fromkeys(found))


def read_key(path: Path) -> str:
    """The key in the file at ``path``. Raises InputError where there is none."""
    try:
        key = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the key in {path}: {error}; name a file that holds it alone") from error
    if not key or len(key.split()) != 1:
        raise InputError(f"{path} does not hold a key; write the key alone into it (not its hash)")
    return key


def _looked_up(scheme: str, host: str, port: int | None) -> list[str]:
    port = port or {"http": 80, "https": 443}[scheme]
    try:
        found = socket.getaddrinfo(host, port, family=socket.AF_INET, type=socket.SOCK_STREAM)
    except OSError as error:
        raise InputError(f"{host} has no address ({error.strerror}); is it the name of the replicas?") from error
    return [f"{scheme}://{address}:{port}" for address in sorted({str(each[4][0]) for each in found})]
