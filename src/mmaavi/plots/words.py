"""A figure of words, where there is nothing to draw."""

from matplotlib.figure import Figure


def in_words(title: str, text: str) -> Figure:
    """The title, and why the figure is empty."""
    figure = Figure(figsize=(7.2, 1.4), layout="constrained")
    figure.suptitle(title)
    figure.text(0.5, 0.4, text, ha="center", va="center", wrap=True)
    return figure
