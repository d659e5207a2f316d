"""Statements of the pages against what was measured, and how far arithmetic moves them."""
