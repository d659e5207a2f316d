"""A grid of runs in, a file of rows out.

What to run (grid), with which inputs, each result as a row, tables of rows, what others published beside them, and
folders of rows on real images (reproduce). Public: Grid, run, RunReport, read_rows, real_rows, report, Tables.
May import: classifiers, encoders, metrics and what they stand on.
"""

from kpl_lib.benchmark.grid import DatasetSpec, Grid, Setting
from kpl_lib.benchmark.rows import read_rows
from kpl_lib.benchmark.run_folder import real_rows
from kpl_lib.benchmark.runner import RunReport, run
from kpl_lib.benchmark.tables import Tables, report

__all__ = ["DatasetSpec", "Grid", "RunReport", "Setting", "Tables", "read_rows", "real_rows", "report", "run"]
