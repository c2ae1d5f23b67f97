"""The program `invertavatar`: each task of scripts/ as a sub-command."""

from invertavatar.scripts.animate import animate
from invertavatar.scripts.batch import batch
from invertavatar.scripts.console import new_app, run
from invertavatar.scripts.export import export
from invertavatar.scripts.live import live
from invertavatar.scripts.track import track

app = new_app(no_args_is_help=True, help="One to N portrait photos in, an animatable 3D head avatar out.")
for command in (animate, batch, export, live, track):
    app.command()(command)
app.command("mesh", hidden=True)(export)  # what it was called first


def main() -> None:
    """What the console entry `invertavatar` starts."""
    run(app)


if __name__ == "__main__":
    main()
