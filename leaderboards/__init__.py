"""Boards: static pages and tables made from the files of one or many runs."""
