"""The dashboard: shows the index and the files of runs, and starts and stops runs through the launcher."""
