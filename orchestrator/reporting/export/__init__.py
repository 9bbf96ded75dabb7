"""Rows of a report in other formats: CSV, Parquet, Markdown and a table for the terminal."""
