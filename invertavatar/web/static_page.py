"""Writes the page of a live avatar: a folder of files that any web server can hand out as it is."""

import base64
import hashlib
import html
import json
import shutil
from pathlib import Path

from ..app import sliders
from ..errors import InvertAvatarError
from ..face import smoothing, tracker
from ..face.arkit import ARKIT_NAMES, mirrored
from ..face.pose import TEMPLATE_FILE
from ..face.retargeting import EXPRESSION_RANGE
from ..head.head_model import NECK_CHAIN
from ..media.mark import MARK

PAGE = Path(__file__).parent / "page"
PACKAGE = "package.json"  # names the modules of others, their versions, and where they are fetched
MODULES = "node_modules"
AVATAR = "avatar.glb"
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
PRIVACY = (
    "Your camera's pictures stay in this browser: this page has no server that takes them, and its content security "
    "policy forbids it to send anything {elsewhere}."
)


def write_page(
    folder: str | Path,
    avatar: str | Path | None = None,
    title: str = "Live avatar",
    offline: bool = False,
    modules: str | Path | None = None,
) -> None:
    """Write the page into a folder, which is made.

    Args:
        folder: Where to.
        avatar: A .glb with ARKit's morph targets, which is copied; None writes a page that shows what its address names
            (`?avatar=...`).
        title: What stands above the controls.
        offline: Copy the modules of others beside the page, instead of having browsers fetch them from a CDN.
        modules: The `node_modules` to copy from; by default the one that `make web` has installed.

    Raises:
        InvertAvatarError: `offline`, and the modules are not there.
    """
    folder = Path(folder)
    package = json.loads((PAGE / PACKAGE).read_text(encoding="utf-8"))
    versions = package["dependencies"]
    folder.mkdir(parents=True, exist_ok=True)
    if offline:
        copy_modules(Path(modules or PAGE / MODULES), folder / MODULES, versions)
        base = {name: f"./{MODULES}/{name}/" for name in versions}
    else:
        base = {name: f"{package['config']['cdn']}{name}@{version}/" for name, version in versions.items()}
    importmap = json.dumps({"imports": {name: base[package] + file for name, (package, file) in IMPORTS.items()}})
    elsewhere = "" if offline else package["config"]["cdn"].split("/npm")[0]
    filled = {
        "title": html.escape(title),
        "importmap": importmap,
        "policy": policy(importmap, elsewhere),
        "privacy": PRIVACY.format(elsewhere="elsewhere" if offline else "but requests for its program parts"),
    }
    for file in (file for file in PAGE.iterdir() if file.suffix in (".js", ".css")):
        shutil.copyfile(file, folder / file.name)
    text = (PAGE / "index.html").read_text(encoding="utf-8")
    for name, value in filled.items():
        text = text.replace(f"{{{name}}}", value)
    (folder / "index.html").write_text(text, encoding="utf-8")
    (folder / "settings.json").write_text(json.dumps(settings()), encoding="utf-8")
    for name in (tracker.TrackerConfig.landmarker, TEMPLATE_FILE):
        shutil.copyfile(tracker.DEFAULT_FOLDER / name, folder / name)
    if avatar is not None:
        shutil.copyfile(avatar, folder / AVATAR)


def modules_installed() -> bool:
    """Whether `make web` has installed the modules of others, so that a page can be written `offline`."""
    versions = json.loads((PAGE / PACKAGE).read_text(encoding="utf-8"))["dependencies"]
    return all(version_of(PAGE / MODULES / name) == version for name, version in versions.items())


def version_of(module: Path) -> str | None:
    """Of a module in a folder, None where there is none."""
    described = module / "package.json"
    return json.loads(described.read_text(encoding="utf-8"))["version"] if described.is_file() else None


def copy_modules(source: Path, target: Path, versions: dict[str, str]) -> None:
    """Copy what the page needs of others' modules, and nothing else."""
    for name, files in NEEDED.items():
        if version_of(source / name) != versions[name]:
            raise InvertAvatarError(
                f"{name} {versions[name]} is not in {source}. Run `make web`, or in {PAGE} `npm install`; or leave the "
                "page to fetch its modules from a CDN."
            )
        for file in files:
            (target / name / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name / file, target / name / file)


def policy(importmap: str, elsewhere: str) -> str:
    """The content security policy: all comes from the page's own server and the CDN, and nothing goes elsewhere."""
    digest = base64.b64encode(hashlib.sha256(importmap.encode()).digest()).decode()
    own = f"'self' {elsewhere}".strip()
    rules = {
        "default-src": "'none'",
        "script-src": f"{own} 'wasm-unsafe-eval' 'sha256-{digest}'",
        "connect-src": f"{own} blob:",
        "worker-src": own,
        "style-src": "'self'",
        "img-src": "'self' blob: data:",
        "media-src": "'self' blob:",
        "form-action": "'none'",
        "base-uri": "'none'",
    }
    return "; ".join(f"{rule} {value}" for rule, value in rules.items())


def settings() -> dict:
    """What the page shares with the program: names, conventions and constants, from where the program has them."""
    config = tracker.TrackerConfig()
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
            "viewSize": tracker.VIEW_SIZE,
            "tileSize": tracker.TILE_SIZE,
            "sameFace": tracker.SAME_FACE,
        },
    }
