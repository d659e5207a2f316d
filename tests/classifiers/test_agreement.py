"""Agreement of the text with itself: what right, swapped and mixed knowledge give."""

import math

import pytest
import torch
import torch.nn.functional as F
from text_world import world

from kpl_lib.classifiers.agreement import text_agreement
from kpl_lib.common.errors import InputError


def test_right_knowledge_raises_no_doubt():
    found = text_agreement(*world())
    assert found.names > 0.8 and found.halves > 0.8
    assert found.doubts == ()


def test_swapped_knowledge_contradicts_the_names_and_agrees_with_itself():
    images, texts, names = world()
    found = text_agreement(images, [*texts[1:], texts[0]], names)
    assert found.names < -0.2 and found.halves > 0.8
    assert len(found.doubts) == 1 and "wrong way" in found.doubts[0]


def test_half_swapped_knowledge_contradicts_itself():
    images, texts, names = world()
    mixed = [torch.stack([texts[c][0], texts[(c + 1) % 3][1]] * 4) for c in range(3)]
    found = text_agreement(images, mixed, names)
    assert found.halves < 0 and any("disagree" in doubt for doubt in found.doubts)


def test_it_is_the_correlation_of_centred_scores():
    images, texts, names = world()
    proxies = F.normalize(torch.stack([t.mean(0) for t in texts]), dim=1)
    a, b = (images.double() @ w.double().T for w in (proxies, names))
    a, b = (s - s.mean(1, keepdim=True) - s.mean(0) + s.mean() for s in (a, b))
    expected = torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]
    assert text_agreement(images, texts, names).names == pytest.approx(float(expected), abs=1e-6)


def test_nothing_to_compare_is_nan_and_no_doubt():
    images, _, names = world()
    found = text_agreement(images, list(names[:, None]), names)
    assert math.isnan(found.names) and math.isnan(found.halves)
    assert found.doubts == ()


def test_order_of_images_and_classes_does_not_matter():
    images, texts, names = world()
    found = text_agreement(images, texts, names)
    other = text_agreement(images.flip(0), texts[::-1], names.flip(0))
    assert other.names == pytest.approx(found.names, abs=1e-9)
    assert other.halves == pytest.approx(found.halves, abs=1e-9)


@pytest.mark.parametrize("spoil", ["classes", "space", "one image"])
def test_bad_input_is_one_line(spoil):
    images, texts, names = world()
    if spoil == "classes":
        texts = texts[:2]
    elif spoil == "space":
        names = F.normalize(names[:, :5], dim=1)
    else:
        images = images[:1]
    with pytest.raises(InputError) as error:
        text_agreement(images, texts, names)
    assert "\n" not in str(error.value)
