"""What stands behind the page of `app.py`: visitors' people, drivers and sliders. Nothing here knows of Gradio."""
