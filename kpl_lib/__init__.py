"""kpl_lib: training-free classification of medical images with vision-language models (KPL and its relatives).

    import kpl_lib as kpl

    encoder = kpl.load_encoder("phantom")
    features = encoder.encode_images(kpl.load_dataset("phantom-cataract", n=500))
    bank = encoder.encode_knowledge(kpl.KnowledgeBase.load("phantom-cataract"))
    prediction = kpl.create("kpl", k=8).fit_predict(features.images, bank)
    print(kpl.evaluate(prediction, features.labels)["accuracy"])

The files beside this one are the method, to be read in this order: features, text_proxies, transport, vision_proxies,
prediction. The folders are rooms around it; the first lines of each say what it is and what it may import.
"""

import sys

from kpl_lib.common.lazy import OldModules, lazily

__version__ = "0.2.0"

#: The method that is taken for your own images unless another is named. Of all that read no label it had the best mean
#: on the dev world of the chapter on failures, which holds real sets beside phantoms; and it does not assume equally
#: common classes, but reads their shares from the images.
RECOMMENDED = "kpl-adaptive"

#: Name -> the module that defines it; imported when it is first used, so that `import kpl_lib` is light.
HOMES = {
    "load_dataset": "datasets.load",
    "load_encoder": "encoders.encoder",
    "KnowledgeBase": "knowledge.base",
    "Description": "knowledge.description",
    "match_classes": "knowledge.match",
    "Features": "features",
    "TextBank": "features",
    "sinkhorn": "transport",
    "greenkhorn": "transport",
    "fit_proxies": "vision_proxies",
    "ridge_proxies": "vision_proxies",
    "create": "classifiers.base",
    "Prediction": "prediction",
    "evaluate": "metrics.estimates",
    "paired_difference": "metrics.estimates",
    "modality_gap": "gap",
    "classify_folder": "own_images.classify",
    "FittedModel": "own_images.fitted",
    "data_dir": "common.files",
    "InputError": "common.errors",
}
__all__ = [*HOMES, "RECOMMENDED"]

__getattr__, __dir__ = lazily(__name__, HOMES)
sys.meta_path.append(OldModules(__name__))
