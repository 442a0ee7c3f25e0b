"""The report of a robustness evaluation: a page, pictures, and tables on the terminal."""
