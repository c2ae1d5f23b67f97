"""Make the reference of the Python interface from docstrings: a folder of pages for the browser."""

import sys
import warnings
from pathlib import Path
from pkgutil import walk_packages
from typing import Annotated

import typer

if not __package__:  # run as a file: the repository may not be installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from invertavatar.scripts.console import error_sentences, new_app, run
from invertavatar.scripts.options import DebugOption

LEFT_OUT = ("__main__", "scripts", "app")  # programs


def make_docs(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write into.")] = Path("outputs/reference"),
    debug: DebugOption = False,
) -> None:
    """Write a page for each module of the library; any warning is an error.

    Example: python scripts/make_docs.py -o outputs/reference
    """
    with error_sentences(debug), warnings.catch_warnings():
        import invertavatar
        from invertavatar.errors import InvertAvatarError

        try:
            import pdoc
        except ImportError as error:
            raise InvertAvatarError("The reference is made with pdoc: pip install pdoc.") from error
        for name in invertavatar.__all__:  # which come on first use, and pdoc looks only at what is there
            setattr(invertavatar, name, getattr(invertavatar, name))
        found = [module.name for module in walk_packages(invertavatar.__path__, "invertavatar.")]
        modules = [name for name in found if name.split(".")[1] not in LEFT_OUT]
        warnings.filterwarnings("error", module="pdoc")
        warnings.filterwarnings("ignore", message=".* has already been added")  # by the package that it is in
        pdoc.render.configure(docformat="google", math=False)
        pdoc.pdoc("invertavatar", *modules, output_directory=output)
        print(f"{len(modules) + 1} pages in {output}: open {output / 'index.html'}.")


if __name__ == "__main__":
    app = new_app()
    app.command()(make_docs)
    run(app)
