import json

from typer.testing import CliRunner

from invertavatar.evaluation.variants import row_title
from invertavatar.inversion import Networks
from invertavatar.metrics import paper
from invertavatar.metrics.perceptual import LPIPS
from invertavatar.scripts.console import new_app
from invertavatar.scripts.evaluate import SpreadingCommand
from invertavatar.scripts.paper_tables import VariantName, paper_tables, train_variant
from invertavatar.scripts.prepare_dataset import prepare
from invertavatar.scripts.smoke import EXAMPLES, PICTURE_SIZE, PICTURES
from invertavatar.training.checkpoint import save_pipeline
from invertavatar.training.shards import Shards
from invertavatar.training.trainer import RunSettings, read_log
from invertavatar.training.variants import VARIANTS
from tests.evaluation.stand_ins import Recognizer
from tests.tiny import tiny_networks


def test_the_command_knows_all_variants():
    assert {str(name) for name in VariantName} == set(VARIANTS)


def test_the_command_trains_each_alike_goes_on_where_it_was_and_writes_the_tables(
    clips, judge, head_model, tmp_path, monkeypatch
):
    monkeypatch.setattr(LPIPS, "from_file", lambda path: judge.lpips)
    monkeypatch.setattr(paper, "FaceRecognizer", lambda path: Recognizer())
    prepare([EXAMPLES / name for name in PICTURES], tmp_path / "shards", size=PICTURE_SIZE, workers=1)
    networks = Networks(**tiny_networks(image_resolution=PICTURE_SIZE, output_gain=0.01), head_model=head_model)
    save_pipeline(networks, tmp_path / "tiny")
    names, output = ["ours", "conv_fusion", "without_both"], tmp_path / "tables"
    stopped = RunSettings(output / "ours", 1, interval=1, workers=0, validation_steps=0)
    train_variant("ours", networks, Shards([tmp_path / "shards"]), 1, stopped, judge.lpips, True)

    app = new_app()
    app.command(cls=SpreadingCommand)(paper_tables)
    places = ["--shards", str(tmp_path / "shards"), "--clips", str(clips[0].path.parent), "--only", "talk_a"]
    numbers = ["--steps", "2", "--interval", "2", "--photos", "1", "2", "--frames", "1"]
    options = ["--variant", *names, "-o", str(output), "--init", str(tmp_path / "tiny")]
    done = CliRunner().invoke(app, [*places, *numbers, *options])
    assert done.exit_code == 0, done.output
    logs = [[line["step"] for line in read_log(output / name / "metrics_recurrent.csv")] for name in names[:2]]
    assert logs == [["1", "2"], ["2"]]
    found = json.loads((output / "metrics.json").read_text(encoding="utf-8"))
    assert list(found["portrait"]) == list(found["encoders"]) == [row_title(name) for name in names]
    assert list(found["window"]) == [
        *("1, ConvGRU", "1, ConvFusion", "2, ConvGRU", "2, ConvGRU's states averaged", "2, ConvFusion"),
    ]
    assert found["about"]["steps"] == 2
    assert "| without both: w+ alone (wo both Enc) |" in (output / "metrics.md").read_text(encoding="utf-8")
