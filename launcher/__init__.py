"""Launches the training engine as a supervised process and turns what it writes into SQLite."""
