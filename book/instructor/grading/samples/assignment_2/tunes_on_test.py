"""The best method on test images is reported, images are drawn instead of patients, and a shuffle may leave a
class its own lines.

Loses: swap_none_kept, compare_chosen, compare_test_once, compare_patients
"""

import torch
import torch.nn.functional as F


def across(images):
    u = images.mean(0)
    return images - (images @ u)[:, None] * u / (u @ u), u.norm()


def closed_form(images, pseudo_labels, temperature):
    x, length = across(images)
    b = len(pseudo_labels.T) * x.T @ pseudo_labels
    s = x.T @ x / len(x) + temperature * length * torch.eye(x.shape[1], dtype=x.dtype)
    return torch.linalg.solve(s, b - b.mean(1, keepdim=True)).T


def closed_form_few(images, pseudo_labels, temperature):
    x, length = across(images)
    small = x @ x.T / len(x) + temperature * length * torch.eye(len(x), dtype=x.dtype)
    weights = torch.linalg.solve(small, pseudo_labels - pseudo_labels.mean(1, keepdim=True))
    return len(pseudo_labels.T) * weights.T @ x


def swapped(descriptions, seed):
    order = torch.randperm(len(descriptions), generator=torch.Generator().manual_seed(seed))
    return [descriptions[i] for i in order]


def halves_agree(images, descriptions):
    tables = []
    for start in (0, 1):
        proxies = torch.stack([rows[start::2].mean(0) for rows in descriptions])
        s = images @ (proxies / proxies.norm(dim=1, keepdim=True)).T
        s = s - s.mean(1, keepdim=True)
        tables.append((s - s.mean(0)).flatten())
    return F.cosine_similarity(tables[0], tables[1], dim=0)


def compare(candidates, baseline, dev, test, groups, resamples, seed):
    right = {name: (say(test[0]) == test[1]).double() for name, say in candidates.items()}
    chosen = max(right, key=lambda name: right[name].mean())
    difference = right[chosen] - right[baseline]
    torch.manual_seed(seed)
    means = difference[torch.randint(len(difference), (resamples, len(difference)))].mean(1)
    ends = [100 * means.quantile(q).item() for q in (0.025, 0.975)]
    gain = [100 * difference.mean().item(), *ends]
    return {"chosen": chosen, "test accuracy": 100 * right[chosen].mean().item(), "gain": gain}


def control(images, labels, descriptions, seed):
    def run(lines):
        t = F.normalize(torch.stack([rows.mean(0) for rows in lines]), dim=1)
        plan = (100 * images @ t.T).softmax(1)
        plan = plan / plan.sum(0) / len(lines)
        right = (images @ closed_form(images, plan, 0.04).T).argmax(1) == labels
        return 100 * right.float().mean().item()

    return {"right lines": run(descriptions), "swapped lines": run(swapped(descriptions, seed))}
