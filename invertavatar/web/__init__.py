"""The page that shows a live avatar in the browser: what is fixed of it in `page/`, and how it is written to a folder."""

from .static_page import write_page

__all__ = ["write_page"]
