"""Figures, the page, and how pictures of one's own are framed."""
