"""The live page in headless Chromium, as visitors use it."""

import json
import re
import time

import numpy as np

from invertavatar import Motion
from invertavatar.head.arkit import ARKIT_NAMES
from invertavatar.media import probe
from invertavatar.scripts.browser import NUMBER_BITS, NUMBER_SIZE
from tests.conftest import ROOT

JAW = ARKIT_NAMES.index("jawOpen")
ENOUGH = 30  # tracked frames
PATIENCE = 60  # seconds until so many are there

# Writes down of each picture that is tracked its number, what the tracker says of it, and what the avatar then shows.
WATCH = f"""() => {{
    globalThis.seen = [];
    const {{ avatar, camera, tracker }} = invertavatar, see = tracker.see.bind(tracker);
    const canvas = new OffscreenCanvas(640, 480), brush = canvas.getContext("2d", {{ willReadFrequently: true }});
    tracker.see = async (picture) => {{
        brush.drawImage(picture, 0, 0, 640, 480);
        let number = 0;
        for (let bit = 0; bit < {NUMBER_BITS}; bit++) {{
            const [red] = brush.getImageData({NUMBER_SIZE // 2}, (bit + 0.5) * {NUMBER_SIZE}, 1, 1).data;
            number |= (red > 127) << bit;
        }}
        const face = await see(picture);
        requestAnimationFrame(() => requestAnimationFrame(() => seen.push([number, face?.scores[{JAW}], avatar.pose.scores[{JAW}]])));
        return face;
    }};
}}"""  # noqa: E501


def drive_by(page, name: str) -> None:
    page.get_by_role("radio", name=name).check()


def pose(page) -> dict:
    return page.evaluate("invertavatar.avatar.wanted")


def test_the_avatar_follows_the_camera_and_nothing_leaves_the_browser(visit, frames, face_tracker):
    page = visit()
    page.evaluate(WATCH)
    drive_by(page, "Camera")
    page.get_by_text("Follows your face").wait_for()
    deadline = time.monotonic() + PATIENCE
    while page.evaluate("seen.length") < ENOUGH:
        assert time.monotonic() < deadline
        page.wait_for_timeout(200)  # the page's policy forbids what Playwright waits by
    numbers, jaw, shown = np.array(page.evaluate("seen")[5:], float).T
    tracks = list(face_tracker.detect_video(frames, 25))
    wanted = np.array([tracks[int(number)].expression[JAW] for number in numbers])
    assert np.corrcoef(jaw, wanted)[0, 1] > 0.98  # the page's tracker sees what the package's sees
    assert np.corrcoef(shown, wanted)[0, 1] > 0.6  # and the avatar moves so, a little later and smoother
    page.locator("#pace", has_text=re.compile(r"frames/s · tracked \d+/s · \d+ ms")).wait_for()
    assert page.complaints == []
    forbidden = page.workers[0].evaluate("""() => new Promise((done) => {
        addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective));
        fetch("http://localhost:9/").catch(() => {});
    })""")
    assert forbidden == "connect-src"  # also where pictures are tracked


def test_a_refused_camera_is_a_sentence(visit):
    page = visit(camera=False)
    drive_by(page, "Camera")
    page.get_by_text("The camera was refused. Allow it").wait_for()
    drive_by(page, "Mouse")
    page.get_by_text("Point somewhere").wait_for()
    assert page.complaints == []


def test_the_page_fits_a_phone_and_the_keyboard_reaches_all_of_it(visit):
    page = visit(viewport={"width": 390, "height": 800}, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    box = page.locator("#avatar").bounding_box()
    assert box["width"] > 350 and box["height"] > 300

    drive_by(page, "Sliders")
    page.locator("body").evaluate("body => body.focus()")
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
    assert {"avatar", "Smile", "together", "eyeBlinkLeft", "film", "motion", "background", "front", "full"} <= reached
    assert "jawOpen" not in reached  # as its group is closed

    page.get_by_role("radio", name="Sliders").focus()
    page.keyboard.press("ArrowRight")
    page.get_by_text("Choose a recorded motion").wait_for()
    page.keyboard.press("m")
    assert page.locator("#motion").get_attribute("aria-pressed") == "true"


def test_sliders_and_mouse_move_the_avatar(visit):
    page = visit()
    drive_by(page, "Sliders")
    page.get_by_role("button", name="Wink").click()
    assert pose(page)["scores"][ARKIT_NAMES.index("eyeBlinkLeft")] == 1
    still = page.locator("#avatar").screenshot()
    page.locator("input.turn").first.fill("40")
    assert pose(page)["quaternion"][1] > 0.3
    page.wait_for_timeout(600)
    assert page.locator("#avatar").screenshot() != still

    drive_by(page, "Mouse")
    box = page.locator("#avatar").bounding_box()
    page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 0.5 * box["height"])
    assert pose(page)["quaternion"][1] > 0.1 and pose(page)["scores"][ARKIT_NAMES.index("eyeLookOutLeft")] > 0.2
    assert page.complaints == []


def test_a_recorded_motion_plays_and_what_is_recorded_drives_the_package(visit, tmp_path):
    page = visit()
    motion = Motion.from_sliders(
        [{"time": 0, "jawOpen": 0.1, "yaw": 20}, {"time": 1, "jawOpen": 0.6, "roll": 10}], fps=30
    )
    motion.save(tmp_path / "talk.csv")
    drive_by(page, "Recording")
    page.locator("#recording").set_input_files(tmp_path / "talk.csv")
    page.get_by_text("Plays talk.csv").wait_for()
    page.locator("#motion").click()
    page.wait_for_timeout(700)
    page.locator("#motion").click()
    with page.expect_download() as saved:
        page.locator("#saved a").click()
    saved.value.save_as(tmp_path / "motion.json")
    jaw = Motion.from_arkit_csv(tmp_path / "motion.json").expression[:, JAW]
    rest = page.evaluate("invertavatar.avatar.rest.scores")[JAW]
    assert jaw.max() - jaw.min() > 0.02 and jaw.max() < rest + 0.65

    (tmp_path / "none.json").write_text('[{"time": 0, "wings": 1}]')
    page.locator("#recording").set_input_files(tmp_path / "none.json")
    page.get_by_text("No column moves a head").wait_for()


def test_a_film_is_recorded(visit, tmp_path):
    page = visit()
    drive_by(page, "Sliders")
    page.get_by_role("button", name="Smile").click()
    page.keyboard.press("r")
    page.wait_for_timeout(1200)
    page.keyboard.press("r")
    with page.expect_download() as saved:
        page.locator("#saved a").click()
    saved.value.save_as(tmp_path / "avatar.webm")
    info = probe(tmp_path / "avatar.webm")
    assert info.codec in ("vp8", "vp9") and info.num_frames > 1 and info.size[0] > 300


def test_a_photo_gives_its_expression_and_one_without_a_face_a_sentence(visit, face_tracker, example, tmp_path):
    page = visit()
    drive_by(page, "Picture")
    photo = ROOT / "assets" / "examples" / "ben_2.jpg"
    page.locator("#picture").set_input_files(photo)
    page.get_by_text("As in the picture").wait_for()
    track = face_tracker.detect(example("ben_2"))
    shown = pose(page)
    assert np.abs(np.array(shown["scores"]) - track.expression).mean() < 0.03
    angle = 2 * np.arctan2(shown["quaternion"][1], shown["quaternion"][3])
    assert abs(np.degrees(angle) - np.degrees(np.arctan2(-track.rotation[2, 0], track.rotation[2, 2]))) < 4
    (tmp_path / "notes.png").write_text("no picture")
    page.locator("#picture").set_input_files(tmp_path / "notes.png")
    page.get_by_text("notes.png is no picture").wait_for()


def test_what_the_page_computes_is_what_the_package_computes(visit, face_tracker, tmp_path):
    """Head pose, mirror, smoothing and recordings: one convention."""
    import torch

    from invertavatar.camera import angles_from_rotation, rotation_from_angles
    from invertavatar.tracking import smoothing

    page = visit()
    template = face_tracker.template
    angles = np.array([25.0, -12.0, 8.0])
    rotation = rotation_from_angles(*torch.tensor(angles)).numpy()
    landmarks = (150 * template.mean @ rotation.T + (300, -200, 0)) * (1, -1, -1)
    found = page.evaluate(
        """async ([landmarks]) => {
            const { anglesOf, fitPose, quaternionOf } = await import("./pose.js");
            const template = await (await fetch("template.json")).json();
            const pose = fitPose(template, landmarks);
            return { ...pose, angles: anglesOf(pose.quaternion), again: anglesOf(quaternionOf(25, -12, 8)) };
        }""",
        [landmarks.tolist()],
    )
    expected = template.fit(landmarks)
    assert np.allclose(found["angles"], angles, atol=0.01) and np.allclose(found["again"], angles, atol=0.01)
    assert np.allclose(found["centre"], expected.centre, atol=0.01) and abs(found["scale"] - expected.scale) < 0.01

    noise = np.random.default_rng(0).normal(0.5, 0.1, (40, 52))
    smooth = page.evaluate(
        """async ([rows]) => {
            const { OneEuro } = await import("./motion.js");
            const filter = new OneEuro(invertavatar.settings.smoothing);
            return rows.map((scores, k) => filter.filter({ scores, quaternion: [0, 0, 0, 1] }, k / 25, 0.5).scores);
        }""",
        [noise.tolist()],
    )
    assert np.allclose(smooth, smoothing.smooth_vectors(noise, np.ones(40, bool), 25, 0.5), atol=1e-6)

    motion = Motion.from_sliders([{"time": 0, "yaw": 30, "pitch": -10, "roll": 15, "mouthSmileLeft": 0.7}], fps=30)
    for name in ("live.csv", "frames.json"):
        if name == "live.csv":
            motion.save(tmp_path / name)
        else:
            frame = {"time": 0, "yaw": 30, "pitch": -10, "roll": 15, "mouthSmile_L": 0.7}
            (tmp_path / name).write_text(json.dumps([frame]))
        read = page.evaluate(
            """async ([text]) => {
                const { readRecording } = await import("./table.js"), { anglesOf } = await import("./pose.js");
                const { scores, quaternion } = readRecording(text, invertavatar.settings.names).poses[0];
                return [...scores, ...anglesOf(quaternion)];
            }""",
            [(tmp_path / name).read_text()],
        )
        expected = [*motion.expression[0].tolist(), *angles_from_rotation(motion.rotation[0]).tolist()]
        assert np.allclose(read, expected, atol=1e-3), name
