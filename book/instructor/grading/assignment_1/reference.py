"""Assignment 1, solved. For teachers."""

import math

import torch
import torch.nn.functional as F


def zero_shot(images, texts, temperature):
    cosines = F.normalize(images, dim=1) @ F.normalize(texts, dim=1).T
    return (cosines / temperature).softmax(dim=1)


def text_proxies(images, descriptions, k):
    mean_image = images.mean(dim=0)
    proxies = []
    for rows in descriptions:
        best = (rows @ mean_image).topk(min(k, len(rows))).indices
        proxies.append(F.normalize(rows[best].sum(dim=0), dim=0))
    return torch.stack(proxies)


def sinkhorn(cosines, prior, temperature, sweeps):
    z = cosines.double() / temperature
    f = -z.logsumexp(dim=1)
    for _ in range(sweeps):
        g = prior.double().log() - (z + f[:, None]).logsumexp(dim=0)
        f = -math.log(len(z)) - (z + g).logsumexp(dim=1)
    return len(z) * (z + f[:, None] + g).exp()


def paired_interval(right_a, right_b, resamples, seed):
    generator = torch.Generator().manual_seed(seed)
    difference = right_a.double() - right_b.double()
    drawn = torch.randint(len(difference), (resamples, len(difference)), generator=generator)
    low, high = difference[drawn].mean(dim=1).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64))
    return difference.mean().item(), low.item(), high.item()


def experiment(images, labels, names, descriptions, seed):
    cosines = images @ text_proxies(images, descriptions, 8).T
    prior = torch.full((len(names),), 1 / len(names))
    said = {
        "class name": zero_shot(images, names, 0.01).argmax(dim=1),
        "top-8": cosines.argmax(dim=1),
        "transport": sinkhorn(cosines, prior, 0.01, 500).argmax(dim=1),
    }
    right = {method: found == labels for method, found in said.items()}
    result = {method: 100 * found.double().mean().item() for method, found in right.items()}
    gain = paired_interval(right["transport"], right["class name"], 1000, seed)
    return result | {"gain": tuple(100 * value for value in gain)}
