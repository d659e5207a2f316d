"""Live figures without a browser: what they hold is right, they compile, and they refuse wrong shapes."""

import copy
import re

import pytest
import torch
import vl_convert

from kpl_lib import live
from kpl_lib.common.errors import InputError
from kpl_lib.transport import sinkhorn


def shown(chart, **values) -> list[str]:
    """What the text marks of a chart say, once its parameters have these values."""
    spec = copy.deepcopy(chart.to_dict())
    for param in spec["params"]:
        if param["name"] in values:
            param["value"] = values[param["name"]]
    drawn = vl_convert.vegalite_to_svg(spec, vl_version="5.20")
    marks = re.findall(r'<g class="mark-text role-mark.*?</g>', drawn)
    return [text for group in marks for text in re.findall(r"<text[^>]*>([^<]*)</text>", group)]


LOGITS = torch.tensor(
    [[4.0, 1.0, 0.4], [3.6, 1.2, 0], [2, 1.6, 0.6], [1.8, 0.8, 1.4], [2.4, 2, 0.2], [1.6, 0.4, 1.2]]
)


def table_after(chart, **values) -> torch.Tensor:
    """The 18 cells of `live.half_steps`, between the three sums of columns above and the six of rows beside."""
    return torch.tensor([float(text) for text in shown(chart, **values)[3:21]]).view(6, 3)


@pytest.mark.parametrize(("first", "second"), [(2.0, 2.0), (0.5, 1.5)])
def test_half_steps_arrive_at_the_plan_of_the_library(first, second):
    chart = live.half_steps(LOGITS, ["A", "B", "C"])
    prior = torch.tensor([first, second, 6 - first - second]) / 6
    plan = sinkhorn(LOGITS, temperature=1.0, prior=prior, iterations=1000).pseudo_labels
    last = table_after(chart, step=10, first=first, second=second)
    assert torch.allclose(last, plan, atol=5e-3)
    start = table_after(chart, step=0, first=first, second=second)
    assert torch.allclose(start, LOGITS.softmax(dim=1), atol=1e-3)


def test_half_steps_refuse_another_table():
    with pytest.raises(InputError, match=r"live.half_steps: logits \(5, 3\), 3 names; give \(6, 3\), finite"):
        live.half_steps(LOGITS[:5], ["A", "B", "C"])
