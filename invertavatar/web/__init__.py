"""The page that shows a live avatar in the browser: its fixed part in `page/`, and how it is written to a folder."""

from .static_page import write_page

__all__ = ["write_page"]
