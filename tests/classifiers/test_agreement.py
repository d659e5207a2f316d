"""Agreement of the text with the class names: what right and swapped knowledge give."""

import pytest
import torch
import torch.nn.functional as F
from text_world import world

from kpl_lib.classifiers.agreement import text_agreement
from kpl_lib.classifiers.kpl_adaptive import LEAST_AGREEMENT
from kpl_lib.common.errors import InputError


def proxies():
    """Images, text proxies and names of a world in which the texts are right."""
    images, texts, names = world()
    return images, F.normalize(torch.stack([rows.mean(dim=0) for rows in texts]), dim=1), names


def test_right_knowledge_agrees_and_swapped_knowledge_contradicts_the_names():
    images, text, names = proxies()
    assert text_agreement(images, text, names) > 0.8
    assert text_agreement(images, text.roll(1, dims=0), names) < -0.2 < LEAST_AGREEMENT


def test_it_is_the_correlation_of_centred_scores():
    images, text, names = proxies()
    a, b = (images.double() @ w.double().T for w in (text, names))
    a, b = (s - s.mean(1, keepdim=True) - s.mean(0) + s.mean() for s in (a, b))
    expected = torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]
    assert text_agreement(images, text, names) == pytest.approx(float(expected), abs=1e-6)


def test_names_agree_with_themselves():
    images, _, names = proxies()
    assert text_agreement(images, names, names) == pytest.approx(1.0)


def test_order_of_images_and_classes_does_not_matter():
    images, text, names = proxies()
    other = text_agreement(images.flip(0), text.flip(0), names.flip(0))
    assert other == pytest.approx(text_agreement(images, text, names), abs=1e-9)


@pytest.mark.parametrize("spoil", ["classes", "space", "one image"])
def test_bad_input_is_one_line(spoil):
    images, text, names = proxies()
    if spoil == "classes":
        text = text[:2]
    elif spoil == "space":
        names = F.normalize(names[:, :5], dim=1)
    else:
        images = images[:1]
    with pytest.raises(InputError) as error:
        text_agreement(images, text, names)
    assert "\n" not in str(error.value)
