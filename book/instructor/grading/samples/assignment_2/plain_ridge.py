"""The mean is subtracted instead of projected out, the ridge has no length of the mean image, and few images
get the same D x D matrix.

Loses: closed_centred, closed_directions, few_directions, few_memory
"""

import random

import numpy as np
import torch
import torch.nn.functional as F


def closed_form(images, pseudo_labels, temperature):
    centred = images - images.mean(dim=0)
    sums = pseudo_labels.shape[1] * pseudo_labels.T @ centred
    matrix = centred.T @ centred / len(images) + temperature * torch.eye(images.shape[1], dtype=images.dtype)
    return (sums - sums.mean(dim=0)) @ torch.linalg.inv(matrix)


def closed_form_few(images, pseudo_labels, temperature):
    return closed_form(images, pseudo_labels, temperature)


def swapped(descriptions, seed):
    step = 1 + random.Random(seed).randrange(len(descriptions) - 1)
    return [descriptions[(c + step) % len(descriptions)] for c in range(len(descriptions))]


def halves_agree(images, descriptions):
    def scores(start):
        return images @ F.normalize(torch.stack([rows[start::2].mean(0) for rows in descriptions]), dim=1).T

    def centre(s):
        return s - s.mean(1, keepdim=True) - s.mean(0, keepdim=True) + s.mean()

    return np.corrcoef(centre(scores(0)).flatten(), centre(scores(1)).flatten())[0, 1]


def compare(candidates, baseline, dev, test, groups, resamples, seed):
    chosen = max(candidates, key=lambda name: (candidates[name](dev[0]) == dev[1]).float().mean())
    best = (candidates[chosen](test[0]) == test[1]).double()
    other = best if chosen == baseline else (candidates[baseline](test[0]) == test[1]).double()
    rng, difference = np.random.default_rng(seed), (best - other).numpy()
    parts = [difference[groups.numpy() == patient] for patient in np.unique(groups)]
    draws = [
        np.concatenate([parts[i] for i in rng.integers(len(parts), size=len(parts))])
        for _ in range(resamples)
    ]
    low, high = np.percentile([d.mean() for d in draws], [2.5, 97.5])
    gain = (100 * difference.mean(), 100 * low, 100 * high)
    return {"chosen": chosen, "test accuracy": 100 * best.mean(), "gain": gain}


def control(images, labels, descriptions, seed):
    result = {}
    for key, lines in (("right lines", descriptions), ("swapped lines", swapped(descriptions, seed))):
        proxies = F.normalize(torch.stack([rows.mean(0) for rows in lines]), dim=1)
        soft = F.softmax(images @ proxies.T / 0.01, dim=1)
        plan = soft / (len(lines) * soft.sum(0, keepdim=True))
        found = (images @ closed_form(images, plan, 0.04).T).argmax(1)
        result[key] = 100 * (found == labels).float().mean().item()
    return result
