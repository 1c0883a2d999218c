"""Pictures of the console for the documentation: every view, wide and narrow, light and dark.

Trains two bundles on generated films and books in .demo/, serves them, asks for lists for a while, looks at the pages.
"""

from __future__ import annotations

import itertools
import math
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import httpx2 as httpx
from PIL import Image
from playwright.sync_api import sync_playwright

from diffcdr.bundle.reader import open_bundle
from diffcdr.errors import DiffCDRError
from scripts.demo_commands import code_fingerprint, once_per, out, start_service, stop, wait_until_ready

OUT = Path("docs/console")
HOME = Path(".demo/console")
PORT = 8765
ADDRESS = f"http://127.0.0.1:{PORT}"
TRAFFIC_SECONDS = 150.0
SIZES = {"wide": (1440, 1000), "narrow": (390, 1200)}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def main() -> int:
    """Make every picture; the exit code is 0, or that of the error."""
    try:
        browser = next(filter(None, map(shutil.which, BROWSERS)), None)
        if browser is None:
            raise DiffCDRError("chromium is not installed; Debian, Ubuntu: sudo apt-get install chromium")
        bundles = trained()
        service = start_service(bundles[0], port=PORT, log=HOME / "service.log")
        try:
            identity = open_bundle(bundles[0], verify=False).id
            wait_until_ready(service, ADDRESS, bundle=identity, log=HOME / "service.log")
            with httpx.Client(base_url=ADDRESS, timeout=30) as client:
                client.post("/v1/admin/models/load", json={"path": bundles[1].name}).raise_for_status()
                with traffic_meanwhile(ADDRESS):
                    photograph(browser, client)
        finally:
            stop(service)
    except DiffCDRError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except subprocess.CalledProcessError as error:
        return int(error.returncode)
    return 0


def trained() -> tuple[Path, Path]:
    """Two bundles of the same data, one with a richer condition than the other."""
    HOME.mkdir(parents=True, exist_ok=True)
    data = HOME / "data"
    synth = ["synth", "--out", str(data), "--users", "5000", "--items", "2000", "--seed", "0"]
    code = code_fingerprint()
    once_per({"code": code}, stamp=HOME / "data.stamp", products=[data / "films.parquet"], command=synth)
    common = ["--preset", "ranking", "--models", "popular,bias,mean,ridge"]
    for option, name in (("source", "films"), ("target", "books")):
        common += [f"--{option}", str(data / f"{name}.parquet")]
        common += [f"--{option}-titles", str(data / f"{name.removesuffix('s')}_items.parquet")]
    bundles = HOME / "full", HOME / "plain"
    for bundle, extra in zip(bundles, ([], ["--set", "diffcdr.history_dim=16", "--seed", "1"]), strict=True):
        command = ["train", *common, *extra, "--bundle", str(bundle)]
        once_per(
            {"code": code}, stamp=HOME / f"{bundle.name}.stamp", products=[bundle / "manifest.json"], command=command
        )
    return bundles


@contextmanager
def traffic_meanwhile(address: str) -> Iterator[None]:
    """Traffic of an uneven kind, for ``TRAFFIC_SECONDS`` before and as long as the block takes."""
    done = threading.Event()
    asking = threading.Thread(target=ask, args=(address, done))
    asking.start()
    try:
        out.print(f"Asking for lists for {TRAFFIC_SECONDS:.0f} s")
        time.sleep(TRAFFIC_SECONDS)
        yield
    finally:
        done.set()
        asking.join()


def ask(address: str, done: threading.Event) -> None:
    """Ask for lists until ``done``: mostly of known users, some of unknown ones, some with ratings, some in error."""
    rng = random.Random(0)
    with httpx.Client(base_url=address, timeout=30) as client:
        users = client.get("/v1/users", params={"prefix": "grace", "limit": 100}).json()["users"]
        films = [item["item_id"] for item in client.get("/v1/items", params={"domain": "source"}).json()["items"]]
        while not done.wait(0.1):
            for _ in range(rng.randint(1, 4 + round(3 * math.sin(time.monotonic() / 20)))):
                draw = rng.random()
                body: dict[str, Any] = {"user_id": rng.choice(users)}
                if draw > 0.95:
                    body = {"user_id": f"unknown-{rng.randint(0, 99)}"}
                elif draw > 0.85:
                    body = {"history": [{"item_id": item, "rating": 5} for item in rng.sample(films, 3)]}
                elif draw > 0.84:
                    body = {"user_id": ""}
                client.post("/v1/recommendations", json=body)


def photograph(executable: str, client: httpx.Client) -> None:
    """Every view in every size and scheme."""
    other = client.get("/v1/models").json()["models"][1]["id"]
    shown = {
        "try": "try?user=grace-03079",
        "compare": f"try?user=grace-03079&with={other}",
        "models": "models",
        "map": f"map?user={client.get('/v1/map').json()['users'][7]['user_id']}",
        "now": "now",
        "docs": "docs",
    }
    OUT.mkdir(parents=True, exist_ok=True)
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        for (size, (width, height)), scheme in itertools.product(SIZES.items(), schemes):
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
            page = context.new_page()
            for name, view in shown.items():
                page.goto("about:blank")
                page.goto(f"{ADDRESS}/console/#/{view}")
                page.wait_for_selector("main h1", state="attached")
                page.wait_for_load_state("networkidle")
                save(page.screenshot(), OUT / f"{name}-{size}-{scheme}.png")
            context.close()
        browser.close()


def save(picture: bytes, path: Path) -> None:
    """With 256 colours that are near all there are: half the size, and none is seen to differ."""
    image = (
        Image.open(BytesIO(picture))
        .convert("RGB")
        .quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    )
    image.save(path, optimize=True)
    out.print(f"{path}: {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    sys.exit(main())
