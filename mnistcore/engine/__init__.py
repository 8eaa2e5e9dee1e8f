"""How a step is made fast and keeps its bits."""
