"""What a look at a dataset found, and the page that tells it."""

from dataclasses import dataclass

FEW = 10  # findings of a kind that are listed, unless all are asked for
MANY = 40  # classes, above which they get one line together


@dataclass(frozen=True)
class DatasetReport:
    """What was found.

    Args:
        name: of the dataset.
        images: their number.
        published: the number at the source; None where nothing is published.
        counts: class -> images; empty where nothing is labelled.
        decoded: how many images were decoded.
        unreadable: (path, why) of images that cannot be read.
        duplicates: groups of two or more paths with the same content.
        contradictions: those of the duplicates whose labels differ.
        groups: patient -> images; None where patients are not known.
        left_out: kind -> number of files under the root that are not read; None where they were not counted.

    Chapter: ch-real-data
    """

    name: str
    images: int
    published: int | None
    counts: dict[str, int]
    decoded: int
    unreadable: tuple[tuple[str, str], ...]
    duplicates: tuple[tuple[str, ...], ...]
    contradictions: tuple[tuple[str, ...], ...]
    groups: dict[str, int] | None
    left_out: dict[str, int] | None

    @property
    def clean(self) -> bool:
        """Nothing has to be corrected: all readable, all there, no image under two labels."""
        return not self.unreadable and not self.contradictions and self.published in (None, self.images)

    def __str__(self) -> str:
        return self.text()

    def text(self, most: int | None = FEW) -> str:
        """The report, with at most so many findings of a kind; None lists all."""
        published = "" if self.published in (None, self.images) else f"; published: {self.published:,}"
        lines = [f"{self.name}: {self.images:,} images{published}"]
        lines += _balance(self.counts, self.images, most)
        lines.append(f"decoded: {self.decoded:,} of {self.images:,}")
        lines.append(f"unreadable: {len(self.unreadable):,}")
        lines += _listed([f"{why}" for _, why in self.unreadable], most)
        extra = sum(map(len, self.duplicates)) - len(self.duplicates)
        lines.append(
            f"duplicates: {extra:,} images repeat another; {len(self.contradictions):,} under two labels"
        )
        lines += _listed(["two labels: " + " = ".join(group) for group in self.contradictions], most)
        plain = [group for group in self.duplicates if group not in self.contradictions]
        lines += _listed([" = ".join(group) for group in plain], most)
        lines.append(f"patients: {_patients(self.groups)}")
        lines.append(f"left out: {_left(self.left_out)}")
        lines.append("clean" if self.clean else "something has to be corrected: see above")
        return "\n".join(line.encode("utf-8", "backslashreplace").decode() for line in lines)


def _balance(counts: dict[str, int], images: int, most: int | None) -> list[str]:
    """A line a class; one line for many classes, unless all findings are asked for."""
    if most is not None and len(counts) > MANY:
        sizes = sorted(counts.values())
        middle, empty = sizes[len(sizes) // 2], sizes.count(0)
        return [
            f"  {len(counts):,} classes of {sizes[0]:,} to {sizes[-1]:,} images (median {middle:,}), {empty:,} empty"
        ]
    width = max(map(len, counts), default=0)
    return [f"  {label:<{width}}  {count:>7,}  {count / images:6.1%}" for label, count in counts.items()]


def _listed(findings: list[str], most: int | None) -> list[str]:
    """Findings as lines, cut where there are too many."""
    shown = [f"  {finding}" for finding in findings[:most]]
    return shown + (
        [f"  ... and {len(findings) - len(shown):,} more (--all)"] if len(shown) < len(findings) else []
    )


def _patients(groups: dict[str, int] | None) -> str:
    """Patients in words."""
    if groups is None:
        return "not known"
    sizes = sorted(groups.values())
    return (
        f"{len(sizes):,}, each with {sizes[0]:,} to {sizes[-1]:,} images (median {sizes[len(sizes) // 2]:,})"
    )


def _left(kinds: dict[str, int] | None) -> str:
    """Files that are not read in words."""
    if kinds is None:
        return "not counted"
    return ", ".join(f"{number:,} {kind}" for kind, number in kinds.items()) or "nothing"
