"""What storms came to, for people: one HTML file that needs nothing else, and pictures on their own.

The file is made of a headline in words, a table of policies by family, and pictures of one run of each. The same runs
make the same bytes. What it does badly: a picture has some 300 columns, so of what happens within one only the most (of
a quota: the least left) can be seen.
"""

try:
    import jinja2
    import matplotlib
except ImportError as error:
    raise ImportError("a storm's report needs the extra: pip install 'ratelimit-router[storm]'") from error

from ratelimit_router.simulation.report.gallery import save_pictures
from ratelimit_router.simulation.report.page import write_report
from ratelimit_router.simulation.report.shown import Shown

__all__ = ["Shown", "save_pictures", "write_report"]

del jinja2, matplotlib
