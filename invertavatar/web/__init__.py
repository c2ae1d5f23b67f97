"""The page that shows a live avatar in the browser: its fixed part in `page/`, and how it is written to a folder."""

from .static_page import check_modules, modules_installed, page_files, page_texts, write_page

__all__ = ["check_modules", "modules_installed", "page_files", "page_texts", "write_page"]
