"""The page that shows a live avatar in the browser: its fixed part in `page/`, and how it is written to a folder."""

from .static_page import modules_installed, write_page

__all__ = ["modules_installed", "write_page"]
