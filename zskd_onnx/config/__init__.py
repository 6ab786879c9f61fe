"""Recipes as data: fields, files and requirements. No model is run here."""
