"""Counts, reports and labels in the forms that others read; one file per form."""
