"""Sphinx configuration. Build with: sphinx-build -W --keep-going -b html docs docs/_build/html"""

from __future__ import annotations

import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path[:0] = [str(ROOT), str(DOCS / "_ext")]

import zskd_onnx  # noqa: E402

# A checkout has the recipes beside the package, not inside it.
zskd_onnx.__path__.append(str(ROOT))

project = "zskd-onnx"
author = copyright = "The zskd-onnx authors"
version = release = zskd_onnx.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "recipe_fields",
    "command_options",
    "plain_docstrings",
]
exclude_patterns = ["_build"]
smartquotes = False  # options keep their two hyphens
nitpicky = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "undoc-members": False}
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
napoleon_use_ivar = True
napoleon_attr_annotations = True
napoleon_use_rtype = False
python_use_unqualified_type_names = True

html_theme = "pydata_sphinx_theme"
html_title = f"zskd-onnx {release}"
html_static_path = ["_static"]
html_css_files = ["zskd.css"]
html_show_sourcelink = False
html_copy_source = False
html_sidebars = {"quickstart": [], "index": []}
html_theme_options = {
    "navbar_end": ["theme-switcher"],
    "header_links_before_dropdown": 6,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "show_prev_next": True,
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
