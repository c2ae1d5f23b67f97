"""Draw the pictures of the documentation from the bundled examples with the shipped weights."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if not __package__:  # run as a file: the repository may not be installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from invertavatar.scripts.console import error_sentences, load_pipeline, new_app, run
from invertavatar.scripts.demo import EXAMPLES
from invertavatar.scripts.options import DebugOption, DeviceOption, ModelOption

if TYPE_CHECKING:
    import numpy as np

    from invertavatar import InvertAvatarPipeline

PEOPLE = ("anna", "ben", "clara", "dan", "eva", "finn")
FAILURES = (  # what the weights cannot do yet: label, photos, what is rendered
    ("far side at yaw 45", ("anna_1", "anna_2", "anna_3", "anna_4"), {"yaw": 45}),
    ("one turned photo, from the front", ("eva_2",), {}),
    ("lids no photo shows closed", ("clara_1",), {"expression": {"eyeBlinkLeft": 1, "eyeBlinkRight": 1}}),
    ("a mouth no photo shows open", ("dan_1",), {"expression": {"jawOpen": 0.7}}),
    ("above the photo's edge", ("finn_1",), {"pitch": -30}),
)
MESH_VIEWS = (0, -40, 90, 150)  # degrees
BAKED_VIEWS = (0, 30, 60, 90, 180)
SPEAKING = {"jawOpen": 0.3, "eyeBlinkLeft": 1, "mouthSmileLeft": 0.6, "mouthSmileRight": 0.6}
WITH = {"tongueOut": {"jawOpen": 0.5}, "mouthClose": {"jawOpen": 1}}  # what shows nothing by itself
SEEN_ASLANT = ("jawForward", "cheekPuff", "mouthPucker", "mouthFunnel", "tongueOut")  # morph targets that go forward
SENTENCE = "Move your boat, Bob."  # of phones that the labels' font can write
PASTED, IN_PHOTO = ("dan_1", "finn_2"), 4  # photos, and frames of a film in each
SEEDS, REENACTED, MOMENTS = 24, 4, 6  # of the prior: people shown, people who follow a motion, frames of it


def make_figures(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write into.")] = Path("docs"),
    model: ModelOption = None,
    device: DeviceOption = "auto",
    debug: DebugOption = False,
) -> None:
    """Write people.webp (photo, avatar, expressions and views of each example person), expressions.webp (52 axes),
    mesh.webp (the 52 morph targets of a mesh), baked.webp (baked avatars beside full frames), samples.webp
    (people of the prior), failures.webp, speech.webp and pasted.webp (heads that move in their whole photos).
    """
    with error_sentences(debug):
        import numpy as np

        from invertavatar.media import contact_sheet, load_image, save_image

        pipe = load_pipeline(model, device, quiet=True)
        rows, labels = [], []
        for person in PEOPLE:
            photos = [EXAMPLES / f"{person}_{k}.jpg" for k in range(1, 5)]
            avatar = pipe.reconstruct(photos)
            views = pipe.render(avatar, yaw=(-20, 0, 20), height=256, output_type="np")
            faces = [
                pipe.render(avatar, expression=scores, height=256, output_type="np")[0]
                for scores in ({"mouthSmileLeft": 1, "mouthSmileRight": 1}, {"jawOpen": 0.6}, {"eyeBlinkLeft": 1})
            ]
            rows += [load_image(photos[0]), *((picture * 255).round().astype("uint8") for picture in (*views, *faces))]
            labels += ["photo 1 of 4", "yaw -20", "yaw 0", "yaw 20", "smile", "jaw open", "wink"]
        save_image(output / "people.webp", contact_sheet(rows, 7, labels, 256))

        from invertavatar.head.arkit import ARKIT_NAMES

        avatar = pipe.reconstruct([EXAMPLES / f"ben_{k}.jpg" for k in range(1, 5)])
        poses = [{}, *({name: 1.0} for name in ARKIT_NAMES)]
        cells = [
            pipe.render(avatar, expression=scores, height=256, framing="head", output_type="np")[0] for scores in poses
        ]
        cells = [(picture * 255).round().astype("uint8") for picture in cells]
        save_image(output / "expressions.webp", contact_sheet(cells, 9, ["neutral", *ARKIT_NAMES], 200))

        head = pipe.bake(avatar)
        cells = [
            head.still(yaw, expression={}, size=256, zoom=0.8, framing="crop", turn_body=True) for yaw in MESH_VIEWS
        ]
        cells += [
            head.still(
                25 if name in SEEN_ASLANT else 0,
                expression={name: 1} | WITH.get(name, {}),
                size=256,
                zoom=1.3,
                framing="crop",
            )
            for name in ARKIT_NAMES
        ]
        labels = [*(f"yaw {yaw}" for yaw in MESH_VIEWS), *ARKIT_NAMES]
        save_image(output / "mesh.webp", contact_sheet(cells, 8, labels, 96))

        cells, labels = [], []
        for person in PEOPLE:
            avatar = pipe.reconstruct(EXAMPLES / f"{person}_1.jpg")
            head, options = pipe.bake(avatar), {"expression": {}, "turn_body": True}
            for yaw in BAKED_VIEWS[:3]:
                cells.append(np.asarray(pipe.render(avatar, yaw=yaw, height=256, **options)[0]))
                labels.append(f"full, yaw {yaw}")
            cells += [head.still(yaw, size=256, **options) for yaw in BAKED_VIEWS]
            labels += [f"baked, yaw {yaw}" for yaw in BAKED_VIEWS]
            cells.append(head.still(-20, expression=SPEAKING, size=256))
            labels.append("baked, moved")
        save_image(output / "baked.webp", contact_sheet(cells, 9, labels, 106))

        cells, labels = [], []
        for label, photos, view in FAILURES:
            avatar = pipe.reconstruct([EXAMPLES / f"{photo}.jpg" for photo in photos])
            cells += [load_image(EXAMPLES / f"{photos[0]}.jpg"), np.asarray(pipe.render(avatar, **view, height=256)[0])]
            labels += [photos[0], label]
        save_image(output / "failures.webp", contact_sheet(cells, 4, labels, 256))

        save_image(output / "speech.webp", spoken_strip(pipe))

        cells, labels = [], []
        motion = pipe.track(str(EXAMPLES / "talk_b.mp4"))
        for photo in PASTED:
            picture, avatar = load_image(EXAMPLES / f"{photo}.jpg"), pipe.reconstruct(EXAMPLES / f"{photo}.jpg")
            frames = slice(0, None, -(-motion.num_frames // IN_PHOTO))
            cells += [picture, *pipe.animate_stream(avatar, motion=motion, into=picture, frames=frames)]
            labels += [photo, *["moved in its photo"] * (len(cells) - len(labels) - 1)]
        save_image(output / "pasted.webp", contact_sheet(cells, IN_PHOTO + 1, labels, 256))

        people = [pipe.sample(seed) for seed in range(SEEDS)]
        cells = [np.asarray(pipe.render(person, height=200)[0]) for person in people]
        labels = [f"seed {seed}" for seed in range(SEEDS)]
        motion = pipe.track(str(EXAMPLES / "talk_a.mp4"))
        motion = motion[:: -(-motion.num_frames // MOMENTS)]
        for seed, person in enumerate(people[:REENACTED]):
            cells += pipe.animate_stream(person, motion=motion, relative_motion=False, height=200)
            labels += [f"seed {seed}, moved"] * motion.num_frames
        save_image(output / "samples.webp", contact_sheet(cells, MOMENTS, labels, 200))


def spoken_strip(pipe: "InvertAvatarPipeline") -> "np.ndarray":
    """A sentence as the synthesizer says it, phone by phone: what is heard of it moves the face."""
    import numpy as np

    from invertavatar.evaluation.spoken import synthesized
    from invertavatar.media import contact_sheet
    from invertavatar.speech.sphinx import LETTERS
    from invertavatar.speech.visemes import letters_of
    from invertavatar.tracking.motion import Motion

    names = {letters[:1]: phone for phone, letters in LETTERS.items() if phone not in ("CH", "JH")}
    samples, rate, spans = synthesized(SENTENCE)
    spans = [span for span in spans if letters_of(span.phone)]
    avatar = pipe.reconstruct([EXAMPLES / f"ben_{k}.jpg" for k in range(1, 5)])
    motion = pipe.speak((samples, rate), fps=100, head_motion=0, blinks=False, avatar=avatar)
    times = [(start + end) / 2 for _, start, end in spans]
    shown = Motion.concatenate([motion[round(100 * time)] for time in times])
    frames = [
        np.asarray(frame)[90:220, 63:193] for frame in pipe.animate_stream(avatar, motion=shown, height=256, zoom=1.25)
    ]
    labels = [f"{names[letters_of(phone)[0]]}  {time:.2f} s" for (phone, *_), time in zip(spans, times, strict=True)]
    return contact_sheet(frames, -(-len(frames) // 2), labels, 150)


if __name__ == "__main__":
    app = new_app()
    app.command()(make_figures)
    run(app)
