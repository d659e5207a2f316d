"""Rules that chapters keep to, and how their text is read."""
