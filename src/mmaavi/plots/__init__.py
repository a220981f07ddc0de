"""Figures: functions of tables that return a matplotlib Figure, one file a figure, in one palette (``style``)."""
