"""A page in the browser that restores. Needs Gradio, of the extra `web`."""
