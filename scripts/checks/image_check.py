"""``make image-check``: build both images without a daemon, run them as a locked-down container would, and ask them.

    base -> build `train` and `serve` -> train a bundle in one -> serve it from the other -> ask over HTTP

Needs root (mounts, another user) and buildah; where the base image cannot be pulled, debootstrap makes a stand-in:
Debian with its own Python. What pip needs to find packages (its configuration and the local folders that names) is
mounted into the build and stays out of the image. Everything is made below one temporary folder and removed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.checks.image_sandbox import Image, Sandbox, ask_service

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = "localhost/python-stand-in:3.11"
PROGRAMS = ("buildah", "debootstrap")
DEBIAN_PACKAGES = "python3,python3-venv,ca-certificates"


class CheckFailed(Exception):
    """One sentence for the person who ran the check."""


@dataclass(frozen=True)
class Buildah:
    """buildah with a store of its own below ``folder``, so that nothing of it is left behind."""

    folder: Path

    def run(self, *arguments: str, quiet: bool = True) -> str:
        """The output of ``buildah arguments``. Raises CheckFailed where it fails; its last words are shown."""
        store = ["--root", str(self.folder / "store"), "--runroot", str(self.folder / "run")]
        command = ["buildah", *store, "--storage-driver", "vfs", *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            if not quiet:
                print(done.stdout[-2000:] + done.stderr[-4000:], file=sys.stderr)
            raise CheckFailed(f"buildah {arguments[0]} failed (status {done.returncode})")
        return done.stdout.strip()

    def mounted(self, image: str) -> Image:
        """The image's configuration and a mounted file system of it."""
        config = json.loads(self.run("inspect", "--type", "image", image))["OCIv1"]["config"]
        container = self.run("from", "--pull-never", image)
        return Image.read(config, root=Path(self.run("mount", container)))


def find_base(buildah: Buildah, base: str) -> str:
    """``base`` if it can be pulled, else a stand-in made with debootstrap."""
    try:
        buildah.run("pull", base)
        return base
    except CheckFailed:
        if STAND_IN in buildah.run("images", "--format", "{{.Name}}:{{.Tag}}"):
            return STAND_IN
        print(f"{base} cannot be pulled here; making a stand-in with debootstrap")
    root = buildah.folder / "debian"
    command = [
        "debootstrap",
        "--variant=minbase",
        f"--include={DEBIAN_PACKAGES}",
        "bookworm",
        str(root),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CheckFailed(f"debootstrap could not make a base: {done.stdout.strip().splitlines()[-1:]}")
    (root / "usr/bin/python").symlink_to("python3")
    shutil.rmtree(root / "var/cache/apt", ignore_errors=True)
    container = buildah.run("from", "scratch")
    buildah.run("copy", "--quiet", container, str(root), "/")
    buildah.run("commit", "--quiet", "--rm", container, STAND_IN)
    shutil.rmtree(root)
    return STAND_IN


def pip_access(folder: Path) -> list[str]:
    """Options of ``buildah bud`` that let pip find packages in the build as it does here."""
    done = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    settings = dict(re.findall(r"^(?:global|install|:env:)\.([a-z-]+)='(.*)'$", done.stdout, flags=re.MULTILINE))
    file = folder / "pip.conf"
    file.write_text("[global]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items()))
    named = re.findall(r"(?:file://)?(/[^\s']+)", re.sub(r"https?://\S+", "", " ".join(settings.values())))
    # An index of files points beside itself (../files): the folder above it is what has to be there.
    places = {
        Path(place).parent if Path(place).is_dir() and Path(place).name == "simple" else Path(place) for place in named
    }
    mounts = [f"--volume={place}:{place}:ro" for place in sorted(places) if place.exists()]
    return [f"--secret=id=pip_conf,src={file}", *mounts]


def megabytes(root: Path) -> str:
    """What the files below ``root`` hold, for people."""
    total = sum(os.lstat(Path(folder, name)).st_size for folder, _, names in os.walk(root) for name in names)
    return f"{total / 1e6:,.0f} MB"


def build(buildah: Buildah, target: str, *, base: str) -> Image:
    """Build ``target`` and say what it took."""
    started = time.monotonic()
    options = ["--isolation=chroot", "--pull-never", "--quiet", f"--build-arg=BASE={base}", f"--target={target}"]
    buildah.run("bud", *options, *pip_access(buildah.folder), f"--tag=diffcdr-{target}", ".", quiet=False)
    seconds = time.monotonic() - started
    image = buildah.mounted(f"diffcdr-{target}")
    print(f"{target}: built in {seconds:.0f} s, {megabytes(image.root)} with the base")
    return image


def train_a_bundle(image: Image, bundles: Path) -> float:
    """Generate ratings and train on them inside ``image``, into ``bundles/current``; its seconds."""
    started = time.monotonic()
    with Sandbox(image, {bundles: True}) as sandbox:
        sandbox.finish("diffcdr", "synth", "--out", "/bundles/ratings", "--users", "600", "--items", "200")
        files = ["--source", "/bundles/ratings/films.parquet", "--target", "/bundles/ratings/books.parquet"]
        sandbox.finish(*image.entrypoint, "train", *files, "--bundle", "/bundles/current")
    return time.monotonic() - started


@contextmanager
def workplace(keep: Path | None) -> Iterator[Path]:
    """A folder for everything, removed afterwards unless the caller named one to keep."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="image-check-") as name:
        yield Path(name)


def check(arguments: argparse.Namespace) -> None:
    """All of it, saying what comes out."""
    with workplace(arguments.keep) as folder:
        buildah = Buildah(folder)
        try:
            base = find_base(buildah, arguments.base)
            print(f"base: {base}")
            serve, train = (build(buildah, target, base=base) for target in ("serve", "train"))
            bundles = folder / "bundles"
            bundles.mkdir(exist_ok=True)
            os.chown(bundles, serve.uid, serve.gid)
            print(f"train: a bundle from generated ratings in {train_a_bundle(train, bundles):.0f} s")
            with Sandbox(serve, {bundles: False}) as sandbox:
                for line in ask_service(sandbox):
                    print(f"serve: {line}")
        finally:
            # Mounts of the store would keep its folder from being removed.
            buildah.run("umount", "--all")
            buildah.run("rm", "--all")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the check; 0 where both images are as they should be."""
    parser = argparse.ArgumentParser(description="Build both images without a daemon, run them, and ask them.")
    parser.add_argument("--base", default="docker.io/library/python:3.11-slim", help="base image, best with its digest")
    parser.add_argument("--keep", type=Path, help="work here and leave the images; removed otherwise")
    try:
        if os.geteuid() != 0:
            raise CheckFailed("image-check mounts file systems and changes users; run it as root")
        for program in PROGRAMS:
            if shutil.which(program) is None:
                raise CheckFailed(f"image-check needs {program}; scripts/ensure-package.sh {program} installs it")
        check(parser.parse_args(arguments))
    except (CheckFailed, AssertionError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("image-check: both images are as they should be")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
