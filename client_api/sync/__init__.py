"""Assembling /sync from one stream per noun."""
