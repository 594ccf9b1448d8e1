"""How many stages of a network, of those that have some, a quality takes."""

from deblurgan import devices

QUALITIES = {"preview": 1, "fast": 1, "balanced": 2, "best": 3}


def default_quality() -> str:
    """Return the quality that is taken where none is asked for: "best" on a GPU, "fast" on a CPU."""
    return "best" if devices.gpu_names() else "fast"


def quality_in_words(stages: int) -> str:
    """Return the quality that so many stages are, with their number."""
    name = next((name for name, count in QUALITIES.items() if count == stages and name != "preview"), "of its own")
    return f"{name} ({stages} stage{'s' if stages > 1 else ''})"
