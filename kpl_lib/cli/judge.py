"""`kpl judge`: a table against some labels, and against a later table or folder. Heavy imports wait."""

from dataclasses import asdict, replace

from kpl_lib.cli.own import NOTE, argument, check_files, option, say
from kpl_lib.common.errors import InputError
from kpl_lib.common.files import write_json


def judge(
    table: argument("A table that `kpl classify` or `kpl predict` wrote.", str | None) = None,
    labels: option("Table path,label (.csv) of some of its images, drawn at random.") = None,
    at_least: option("Is the share of right answers above this one, such as 0.85?", float | None) = None,
    against: option("A later table: are the classes called as often as before?") = None,
    features: option(
        "Twice, files of `kpl encode`: could the images be of one source?", list[str] | None
    ) = None,
    out: option("Also write the figures (.json).") = None,
) -> None:
    """Say how many answers are right, with exact intervals, and what has changed; patients are kept whole."""
    check_files({"--out": out}, {"the table": table, "--labels": labels, "--against": against})
    if table is None and (not features or labels or against or at_least is not None):
        how = "kpl judge table.csv --labels labels.csv, or --against later.csv"
        raise InputError(f"name the table to judge, and what by: {how}")
    if at_least is not None and not 0 < at_least < 1:
        raise InputError(f"--at-least {at_least:g}: write a share between 0 and 1, such as 0.85")
    if features and len(set(features)) != 2:
        raise InputError(f"--features {' '.join(features)}: name two files, each with its own --features")
    found, lines, tables = {}, [], []
    if table is not None:
        found, lines, tables = _judged(table, labels, at_least, against, bool(features))
    if features:
        found["shift"], line = _shift(*features, tables)
        lines.append(line)
    say(NOTE)
    print("\n".join(lines))
    if out is not None:
        write_json(out, found)
        say(f"wrote {out}")


def _judged(
    table: str, labels: str | None, at_least: float | None, against: str | None, more: bool
) -> tuple[dict, list[str], list]:
    """What labels and a later table say of a table: figures, lines, and the tables."""
    from kpl_lib.datasets.sets.folder import known_labels
    from kpl_lib.own_images.judge import judge_answers
    from kpl_lib.own_images.shares import share_changes
    from kpl_lib.own_images.table import load_table

    tables, found, lines = [load_table(path) for path in (table, against) if path is not None], {}, []
    result = tables[0]
    if result.warning is not None:
        say(f"{table}: {result.warning}")
    if labels is not None:
        known = known_labels(result.paths, result.class_names, labels)
        names = (*result.class_names, "")
        result = replace(result, truth=tuple(names[known.get(path, -1)] for path in result.paths))
    if result.truth is not None or at_least is not None or not (against or more):
        judged = judge_answers(result)
        low, high = judged.interval
        found = asdict(judged) | {"right": judged.right, "count": judged.count, "low": low, "high": high}
        found["balanced_accuracy"] = judged.balanced_accuracy
        lines.append(str(judged))
        if at_least is not None:
            lines.append(judged.at_least(at_least))
    if against is not None:
        changes = share_changes(*tables)
        found["changes"] = [asdict(change) for change in changes]
        lines += map(str, changes)
    return found, lines, tables


def _shift(first: str, second: str, tables: list) -> tuple[dict, str]:
    """Whether two files of features could be of one source; patients of the tables change sides whole."""
    from kpl_lib.decisions.exchangeability import same_source
    from kpl_lib.features import Features

    a, b = Features.load(first), Features.load(second)
    if a.meta.get("encoder") != b.meta.get("encoder"):
        raise InputError(f"{first} and {second}: features of two encoders; encode both folders with one")
    owner = {path: who for rows in tables for path, who in zip(rows.paths, rows.groups or (), strict=False)}
    groups = [[owner.get(path) for path in part.meta.get("paths") or [None]] for part in (a, b)]
    if any(None in side for side in groups):
        groups = [None, None]
    test = same_source(a.images, b.images, first_groups=groups[0], second_groups=groups[1])
    what = "images" if groups[0] is None else "patients"
    return asdict(test), (
        f"distance of the mean images {test.statistic:.3g}; with {what} exchanged at random {test.low:.3g} to "
        f"{test.high:.3g} (p = {test.p_value:.3f} of {test.permutations} draws)"
    )
