"""Writes the page of a live avatar: a folder of files that any web server can hand out as it is."""

import base64
import hashlib
import html
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InvertAvatarError
from ..head.arkit import ARKIT_NAMES, mirrored
from ..head.neck import NECK_CHAIN
from ..head.pose import TEMPLATE_FILE
from ..media.mark import MARK
from ..tracking import search_views, sliders, smoothing, tracker, tracker_files
from ..tracking.retargeting import EXPRESSION_RANGE

if TYPE_CHECKING:
    from ..baking.baked_avatar import BakedAvatar
    from ..baking.rigged_mesh import RiggedMesh

PAGE = Path(__file__).parent / "page"
PACKAGE = "package.json"  # names the modules of others, their versions, and where they are fetched
MODULES = "node_modules"
INDEX = "index.html"
AVATAR = "avatar.glb"
LARGE_FILES = ("glb", "task", "wasm")
NEUTRAL_SECONDS = 1.0  # of the driver's face, whose median is neutral
# Of each module what the page imports: the name by which it does, the file or folder.
IMPORTS = {
    "three": ("three", "build/three.module.js"),
    "three/addons/": ("three", "examples/jsm/"),
    "@mediapipe/tasks-vision": ("@mediapipe/tasks-vision", "vision_bundle.mjs"),
}
NEEDED = {
    "three": (
        "LICENSE",
        "build/three.module.js",
        "build/three.core.js",
        "examples/jsm/controls/OrbitControls.js",
        "examples/jsm/loaders/GLTFLoader.js",
        "examples/jsm/utils/BufferGeometryUtils.js",
        "examples/jsm/utils/SkeletonUtils.js",
    ),
    "@mediapipe/tasks-vision": (
        "package.json",
        "vision_bundle.mjs",
        "wasm/vision_wasm_module_internal.js",
        "wasm/vision_wasm_module_internal.wasm",
    ),
}
CARD = """\
---
title: {title}
emoji: 🙂
colorFrom: indigo
colorTo: pink
sdk: static
app_file: index.html
short_description: A 3D head avatar that follows your face, in your browser
---

A page for any web server: `python -m http.server` in this folder, then http://localhost:8000. As it stands it is a
static Space too. Cameras are given to pages from https or from localhost only. The folder holds the avatar, which is
biometric data: give it to nobody who may not have the person's photos.
"""
PRIVACY = (
    "Your camera's pictures stay in this browser: this page has no server that takes them, and its content security "
    "policy forbids it to send anything {elsewhere}."
)


def write_page(
    folder: str | Path,
    avatar: "str | Path | BakedAvatar | RiggedMesh | None" = None,
    title: str = "Live avatar",
    offline: bool = False,
    modules: str | Path | None = None,
) -> None:
    """Write the page into a folder, which is made.

    Args:
        folder: Where to.
        avatar: What is shown, or its .glb, which is copied; None writes a page that shows what its address names
            (`?avatar=...`).
        title: What stands above the controls.
        offline: Copy the modules of others beside the page, instead of having browsers fetch them from a CDN.
        modules: The `node_modules` to copy from; by default the one that `make web` has installed.

    Raises:
        InvertAvatarError: `offline`, and the modules are not there.
    """
    texts, files = page_texts(title, offline), page_files(offline, modules)
    for name, source in files.items():
        target = Path(folder) / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    for name, text in texts.items():
        (Path(folder) / name).write_text(text, encoding="utf-8")
    if isinstance(avatar, (str, Path)):
        shutil.copyfile(avatar, Path(folder) / AVATAR)
    elif avatar is not None:
        avatar.save(Path(folder) / AVATAR)
    (Path(folder) / "README.md").write_text(CARD.format(title=json.dumps(title)), encoding="utf-8")
    large = "".join(f"*.{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LARGE_FILES)
    (Path(folder) / ".gitattributes").write_text(large, encoding="utf-8")


def page_texts(title: str, offline: bool) -> dict[str, str]:
    """File name -> text of what differs from page to page; for the arguments see `write_page`."""
    cdn = json.loads((PAGE / PACKAGE).read_text(encoding="utf-8"))["config"]["cdn"]
    if offline:
        base = {name: f"./{MODULES}/{name}/" for name in versions()}
    else:
        base = {name: f"{cdn}{name}@{version}/" for name, version in versions().items()}
    importmap = json.dumps({"imports": {name: base[package] + file for name, (package, file) in IMPORTS.items()}})
    filled = {
        "title": html.escape(title),
        "importmap": importmap,
        "policy": policy(importmap, "" if offline else cdn),
        "privacy": PRIVACY.format(elsewhere="elsewhere" if offline else "but requests for its program parts"),
    }
    text = (PAGE / INDEX).read_text(encoding="utf-8")
    for name, value in filled.items():
        text = text.replace(f"{{{name}}}", value)
    return {INDEX: text, "settings.json": json.dumps(settings())}


def page_files(offline: bool, modules: str | Path | None = None) -> dict[str, Path]:
    """Name in the page's folder -> the file here of all that is the same in each; for the arguments see `write_page`.

    Raises:
        InvertAvatarError: `offline`, and the modules are not there.
    """
    files = {file.name: file for file in PAGE.iterdir() if file.suffix in (".js", ".css")}
    files |= {
        name: tracker_files.DEFAULT_FOLDER / name for name in (tracker_files.TrackerConfig.landmarker, TEMPLATE_FILE)
    }
    if offline:
        check_modules(modules)
        source = Path(modules or PAGE / MODULES)
        for name, parts in NEEDED.items():
            files |= {f"{MODULES}/{name}/{part}": source / name / part for part in parts}
    return files


def check_modules(modules: str | Path | None = None) -> None:
    """Refuse to write an `offline` page without the modules of others.

    Raises:
        InvertAvatarError: One of them is not there, or of another version.
    """
    source = Path(modules or PAGE / MODULES)
    for name, version in versions().items():
        if version_of(source / name) != version:
            raise InvertAvatarError(
                f"{name} {version} is not in {source}. Run `make web`, or `npm install` in {PAGE}; or let browsers "
                "fetch it from a CDN, without --offline."
            )


def versions() -> dict[str, str]:
    """Of the modules that the page takes from others."""
    return json.loads((PAGE / PACKAGE).read_text(encoding="utf-8"))["dependencies"]


def modules_installed() -> bool:
    """Whether `make web` has installed the modules of others, so that a page can be written `offline`."""
    return all(version_of(PAGE / MODULES / name) == version for name, version in versions().items())


def version_of(module: Path) -> str | None:
    """Of a module in a folder, None where there is none."""
    described = module / "package.json"
    return json.loads(described.read_text(encoding="utf-8"))["version"] if described.is_file() else None


def policy(importmap: str, elsewhere: str) -> str:
    """The content security policy: all comes from the page's own server and the CDN, and nothing goes elsewhere."""
    digest = base64.b64encode(hashlib.sha256(importmap.encode()).digest()).decode()
    own = f"'self' {elsewhere}".strip()
    rules = {
        "default-src": "'none'",
        "script-src": f"{own} 'wasm-unsafe-eval' 'sha256-{digest}'",
        "connect-src": f"{own} blob:",
        "worker-src": f"{own} blob:",
        "style-src": "'self'",
        "img-src": "'self' blob: data:",
        "media-src": "'self' blob:",
        "form-action": "'none'",
        "base-uri": "'none'",
    }
    return "; ".join(f"{rule} {value}" for rule, value in rules.items())


def settings() -> dict:
    """What the page shares with the program: names, conventions and constants, from where the program has them."""
    config = tracker_files.TrackerConfig()
    return {
        "avatar": AVATAR,
        "mark": MARK,
        "names": ARKIT_NAMES,
        "mirror": [ARKIT_NAMES.index(mirrored(name)) for name in ARKIT_NAMES],
        "groups": sliders.GROUPS,
        "presets": sliders.PRESETS,
        "followers": sliders.FOLLOWERS,
        "neck": NECK_CHAIN,
        "expressionRange": EXPRESSION_RANGE,
        "neutralSeconds": NEUTRAL_SECONDS,
        "smoothing": {
            "derivativeCutoff": smoothing.DERIVATIVE_CUTOFF,
            "rotationReference": smoothing.ROTATION_REFERENCE,
        },
        "tracker": {
            "model": config.landmarker,
            "template": TEMPLATE_FILE,
            "maxFaces": config.max_faces,
            "minFaceDetectionConfidence": config.min_face_detection_confidence,
            "minFacePresenceConfidence": config.min_face_presence_confidence,
            "closeUpSize": tracker.CLOSE_UP_SIZE,
            "viewSize": search_views.OVERVIEW_SIZE,
            "tileSize": search_views.TILE_SIZE,
            "sameFace": tracker.SAME_FACE,
        },
    }
