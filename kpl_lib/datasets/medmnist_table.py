"""Facts of MedMNIST: classes in label order, images a split, and MD5s of the files.

Numbers and MD5s are those of the package `medmnist` 3.0.2 (Apache-2.0). Classes are named as in `data/knowledge`, where
a base exists.
"""

HOME = "https://zenodo.org/records/10519652"
LICENCE = {"derma": "CC BY-NC 4.0"}  # all others: CC BY 4.0
TITLES = {
    "path": "colorectal tissue: nine kinds",
    "derma": "dermoscopy: seven kinds of skin lesions",
    "oct": "optical coherence tomography of the retina: four findings",
    "pneumonia": "chest radiographs of children: normal, pneumonia",
    "retina": "fundus photographs: five grades of diabetic retinopathy",
    "breast": "breast ultrasound: malignant, normal or benign",
    "blood": "single blood cells: eight kinds",
    "tissue": "kidney cortex cells: eight kinds",
    "organa": "abdominal CT, axial: eleven organs",
    "organc": "abdominal CT, coronal: eleven organs",
    "organs": "abdominal CT, sagittal: eleven organs",
}
_ORGANS = (
    "bladder",
    "left femur",
    "right femur",
    "heart",
    "left kidney",
    "right kidney",
    "liver",
    "left lung",
    "right lung",
    "pancreas",
    "spleen",
)
CLASSES = {
    "path": (
        "adipose tissue",
        "slide background",
        "debris",
        "lymphocytes",
        "mucus",
        "smooth muscle",
        "normal colon mucosa",
        "cancer-associated stroma",
        "colorectal adenocarcinoma epithelium",
    ),
    "derma": (
        "actinic keratoses and intraepithelial carcinoma",
        "basal cell carcinoma",
        "benign keratosis-like lesions",
        "dermatofibroma",
        "melanoma",
        "melanocytic naevi",
        "vascular lesions",
    ),
    "oct": (
        "choroidal neovascularisation",
        "diabetic macular oedema",
        "drusen",
        "normal retina",
    ),
    "pneumonia": (
        "normal lungs",
        "pneumonia",
    ),
    "retina": (
        "no diabetic retinopathy",
        "mild nonproliferative diabetic retinopathy",
        "moderate nonproliferative diabetic retinopathy",
        "severe nonproliferative diabetic retinopathy",
        "proliferative diabetic retinopathy",
    ),
    "breast": (
        "malignant tumour",
        "normal or benign finding",
    ),
    "blood": (
        "basophil",
        "eosinophil",
        "erythroblast",
        "immature granulocyte",
        "lymphocyte",
        "monocyte",
        "neutrophil",
        "platelet",
    ),
    "tissue": (
        "collecting duct or connecting tubule",
        "distal convoluted tubule",
        "glomerular endothelial cell",
        "interstitial endothelial cell",
        "leukocyte",
        "podocyte",
        "proximal tubule segment",
        "thick ascending limb",
    ),
    "organa": (*_ORGANS,),
    "organc": (*_ORGANS,),
    "organs": (*_ORGANS,),
}
# training, validation and test images
IMAGES = {
    "path": (89_996, 10_004, 7_180),
    "derma": (7_007, 1_003, 2_005),
    "oct": (97_477, 10_832, 1_000),
    "pneumonia": (4_708, 524, 624),
    "retina": (1_080, 120, 400),
    "breast": (546, 78, 156),
    "blood": (11_959, 1_712, 3_421),
    "tissue": (165_466, 23_640, 47_280),
    "organa": (34_561, 6_491, 17_778),
    "organc": (12_975, 2_392, 8_216),
    "organs": (13_932, 2_452, 8_827),
}
# at 28, 64, 128 and 224 pixels
MD5 = {
    "path": (
        "a8b06965200029087d5bd730944a56c1",
        "55aa9c1e0525abe5a6b9d8343a507616",
        "ac42d08fb904d92c244187169d1fd1d9",
        "2c51a510bcdc9cf8ddb2af93af1eadec",
    ),
    "derma": (
        "0744692d530f8e62ec473284d019b0c7",
        "b70a2f5635c6199aeaa28c31d7202e1f",
        "2defd784463fa5243564e855ed717de1",
        "8974907d8e169bef5f5b96bc506ae45d",
    ),
    "oct": (
        "c68d92d5b585d8d81f7112f81e2d0842",
        "e229e9440236b774d9f0dfef9d07bdaf",
        "0a97e76651ace45c5d943ee3f65b63ae",
        "abc493b6d529d5de7569faaef2773ba3",
    ),
    "pneumonia": (
        "28209eda62fecd6e6a2d98b1501bb15f",
        "8f4eceb4ccffa70c672198ea285246c6",
        "05b46931834c231683c68f40c47b2971",
        "d6a3c71de1b945ea11211b03746c1fe1",
    ),
    "retina": (
        "bd4c0672f1bba3e3a89f0e4e876791e4",
        "afda852cc34dcda56f86ad2b2457dbcc",
        "e48e916a24454daf90583d4e6efb1a18",
        "eae7e3b6f3fcbda4ae613ebdcbe35348",
    ),
    "breast": (
        "750601b1f35ba3300ea97c75c52ff8f6",
        "742edef2a1fd1524b2efff4bd7ba9364",
        "363e4b3f8d712e9b5de15470a2aaadf1",
        "b56378a6eefa9fed602bb16d192d4c8b",
    ),
    "blood": (
        "7053d0359d879ad8a5505303e11de1dc",
        "2b94928a2ae4916078ca51e05b6b800b",
        "adace1e0ed228fccda1f39692059dd4c",
        "b718ff6835fcbdb22ba9eacccd7b2601",
    ),
    "tissue": (
        "ebe78ee8b05294063de985d821c1c34b",
        "123ece2eba09d0aa5d698fda57103344",
        "61b955355d7425a89687b06cca3ce0c2",
        "b077128c4a949f0a4eb01517f9037b9c",
    ),
    "organa": (
        "68e3f8846a6bd62f0c9bf841c0d9eacc",
        "2dcccc29b88e6da5a01161ef20cda288",
        "eeae80d0a227a8d099027e1b3cfd3b60",
        "50747347e05c87dd3aaf92c49f9f3170",
    ),
    "organc": (
        "b9ceb9546e10131b32923c5bbeaea2b1",
        "3ce34a8724ea6f548e6db4744d03b6a9",
        "773c1f009daa3fe5d9a2a201b2a7ed94",
        "050f5e875dc056f6768abf94ec9995d1",
    ),
    "organs": (
        "9ab87b696fb54e2a387ebe992d6ed5f1",
        "53a6d115339d874c25e309a994ff46d3",
        "ded0c5fa01a95dc4978b956f613e9b8e",
        "b354719e553fbbb2513d5533f52a4cb1",
    ),
}
