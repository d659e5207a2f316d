"""The temperature of a softmax, turned by hand."""

from collections.abc import Sequence

from PIL import Image
from torch import Tensor

from kpl_lib.common.errors import InputError
from kpl_lib.common.extras import altair as alt
from kpl_lib.common.pictures import thumbnail
from kpl_lib.live.style import drawn, numbers, slider
from kpl_lib.plots import COLOURS


def temperature(scores: Tensor, names: Sequence[str], image: Image.Image) -> alt.Chart:
    """The softmax of one image's scores, with a slider for its temperature.

        p_c = exp(s_c / tau) / sum_d exp(s_d / tau)

    Args:
        scores: cosines of the image with each class, `(C,)`.
        names: of the C classes.
        image: the picture, shown beside its bars.

    Returns:
        A chart: cosines that stay, and probabilities that follow the slider, `log10(tau)` from -3 to 0.

    Raises:
        InputError: unless there is one finite score for each name.

    Example:
        >>> import torch
        >>> chart = temperature(torch.tensor([0.3, 0.2]), ["clear", "cloudy"], Image.new("RGB", (64, 64)))

    Chapter: ch-primer-clip
    """
    if scores.shape != (len(names),) or not scores.isfinite().all():
        found = f"scores {tuple(scores.shape)} for {len(names)} names"
        raise InputError(f"live.temperature: {found}; give (C,), finite")
    rows = [{"class": name, "cosine": score} for name, score in zip(names, scores.tolist(), strict=True)]
    bars = (
        drawn(rows)
        .transform_joinaggregate(top="max(cosine)")
        .transform_calculate(power="exp((datum.cosine - datum.top) / pow(10, power_of_ten))")
        .transform_joinaggregate(total="sum(power)")
        .transform_calculate(probability="datum.power / datum.total")
        .encode(y=alt.Y("class:N", sort=None, title=None, axis=alt.Axis(labelLimit=220)))
        .properties(width=180, height=26 * len(names))
    )
    cosines = bars.mark_bar(color=COLOURS["grey"]).encode(x=alt.X("cosine:Q", title="cosine"))
    sure = bars.encode(
        x=alt.X("probability:Q", scale=alt.Scale(domain=[0, 1.15]), axis=alt.Axis(values=[0, 0.5, 1])),
        y=alt.Y("class:N", sort=None, axis=None),
    )
    heading = alt.Title(alt.expr("'temperature ' + format(pow(10, power_of_ten), '.3f')"))
    picture = (
        drawn([{"url": thumbnail(image, 96)}])
        .mark_image(width=96, height=96)
        .encode(url="url:N", description=alt.value("the picture"))
        .properties(width=96, height=96)
    )
    shares = sure.mark_bar(color=COLOURS["blue"]) + numbers(sure, "probability:Q", ".3f")
    turned = slider("power_of_ten", "log10 of the temperature", -3, 0, 0.1, -2)
    return (picture | cosines | shares.properties(title=heading)).add_params(turned)
