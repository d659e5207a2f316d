"""Figures that answer the reader: Altair charts with a slider, a menu or a brush, for notebooks and for built pages.

Each function takes the tensors of a chapter and returns a chart, which JupyterLab, Colab and the book show alike.
What a slider changes is computed by the browser, or in frames beforehand. May import `plots`, `metrics`, `common` and
what lies below; the method never imports this room. Who imports it gets the look of its figures.
"""

from kpl_lib.live.alarms import screening as screening
from kpl_lib.live.balance import half_steps as half_steps
from kpl_lib.live.board import leaderboard as leaderboard
from kpl_lib.live.kept import kept_lines as kept_lines
from kpl_lib.live.modality import gap_map as gap_map
from kpl_lib.live.path import proxy_path as proxy_path
from kpl_lib.live.promise import set_sizes as set_sizes
from kpl_lib.live.ridge import ridge_border as ridge_border
from kpl_lib.live.softmax import temperature as temperature
from kpl_lib.live.style import use_style as use_style

use_style()
