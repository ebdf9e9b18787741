"""Names from outside in a path."""

from __future__ import annotations

from werkzeug.routing import PathConverter


class NameConverter(PathConverter):
    """The rest of a path, whatever stands in it: a provider's name may hold line breaks, or begin with a slash."""

    part_isolating = False
    regex = r"(?s:.+?)"
