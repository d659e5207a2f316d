"""Literal tables about the MedMNIST classes: labels, words of some classes alone, defining signs."""

# MedMNIST's label -> our class (empty: the same words), in the order of the labels 0, 1, 2, ...
CLASSES = {
    "path": {
        "adipose": "adipose tissue",
        "background": "slide background",
        "debris": "",
        "lymphocytes": "",
        "mucus": "",
        "smooth muscle": "",
        "normal colon mucosa": "",
        "cancer-associated stroma": "",
        "colorectal adenocarcinoma epithelium": "",
    },
    "derma": {
        "actinic keratoses and intraepithelial carcinoma": "",
        "basal cell carcinoma": "",
        "benign keratosis-like lesions": "",
        "dermatofibroma": "",
        "melanoma": "",
        "melanocytic nevi": "melanocytic naevi",
        "vascular lesions": "",
    },
    "blood": {
        "basophil": "",
        "eosinophil": "",
        "erythroblast": "",
        "immature granulocytes(myelocytes, metamyelocytes and promyelocytes)": "immature granulocyte",
        "lymphocyte": "",
        "monocyte": "",
        "neutrophil": "",
        "platelet": "",
    },
    "pneumonia": {"normal": "normal lungs", "pneumonia": ""},
    "breast": {"malignant": "malignant tumour", "normal, benign": "normal or benign finding"},
    "oct": {
        "choroidal neovascularization": "choroidal neovascularisation",
        "diabetic macular edema": "diabetic macular oedema",
        "drusen": "",
        "normal": "normal retina",
    },
    "retina": {
        "0": "no diabetic retinopathy",
        "1": "mild nonproliferative diabetic retinopathy",
        "2": "moderate nonproliferative diabetic retinopathy",
        "3": "severe nonproliferative diabetic retinopathy",
        "4": "proliferative diabetic retinopathy",
    },
}

# Words that belong to some classes alone: (pattern, labels). A description that denies them is no breach.
ONLY = {
    "path": [
        (r"unilocular|fatty|lipid", "0"),
        (r"bare glass|coverslip|lint", "1"),
        (r"karyorrhec|ghost outline|nuclear dust", "2"),
        (r"germinal|follicle", "3"),
        (r"lagoon|gelatinous|jelly", "4"),
        (r"cigar|corkscrew|fascicle", "5"),
        (r"goblet|crypt|daisy", "6"),
        (r"fibroblast|desmoplas|keloid", "7"),
        (r"cribriform|pleomorph|hyperchrom|atypical|papillary", "8"),
    ],
    "derma": [
        (r"strawberry|glomerular|coiled", "0"),
        (r"arboris|tree limb|leaf|spoke|ovoid nest", "1"),
        (r"milia|comedo|fingerprint|brain-like|moth-eaten|stuck-on", "2"),
        (r"central white scar", "3"),
        (r"veil over|pseudopod|regression|radial streaming|negative network|atypical network|asymmet", "4"),
        (r"cobblestone|comma-shaped|furrow pattern|starburst", "5"),
        (r"lacuna|lagoon|blood-filled", "6"),
    ],
    "blood": [
        (r"blue-black|purple-black|metachromatic|inky gran", "0"),
        (r"orange-red|brick|coral|caviar|two (\w+ )?lobes|two equal", "1"),
        (r"red cell that|haemoglobin|pyknotic", "2"),
        (r"kidney|golgi|primary granule", "3"),
        (r"sky-blue|crescent of", "4"),
        (r"folded nucleus|horseshoe|ground-glass", "5"),
        (r"segment|multilobed|filament|drumstick|\b(three|four|five)\b[\w ]*\blobes", "6"),
        (r"granulomere|no nucleus|filopodia", "7"),
    ],
    "pneumonia": [
        (r"sharp costophrenic|thymus|thymic|crisp heart", "0"),
        (r"consolid|infiltrat|opacit|effusion|haz[ey]|bronchogram|cuff|blunt|blurred|whiten|atelecta", "1"),
    ],
    "breast": [
        (r"spicul|irregular|angular|taller|stellate|ragged|jagged|lobulated|halo|distort|retract", "0"),
        (r"cyst|circumscribed|capsule|oval|ellipse|anechoic|wider-than|enhancement", "1"),
    ],
    "oct": [
        (r"subretinal|hyperreflective material|haemorrhage|fibrotic|scar\b|detachment|exudate under", "0"),
        (r"hard exudate|microaneurysm|honeycomb", "1"),
        (r"cyst|fluid|swollen|swelling|cavit", "01"),
        (r"bead|hillock|cobble|sawtooth", "2"),
        (r"bump|mound|dome|hump|deposit", "012"),
        (r"foveal pit", "23"),
    ],
    "retina": [
        (r"microaneurysm|pinpoint|red (dot|point|speck|pinprick)", "12"),
        (r"haemorrhage|blot|bleed|exudate|lipid|yellow|cotton|fluffy|flame", "234"),
        (r"bead|sausage|rosary|shunt|microvascular|twenty intraretinal|eighty", "3"),
        (r"new(ly)? |neovasc|preretinal|vitre|fibr(ous|ov)|traction|detach|laser|photocoag|glios", "4"),
        (r"front of", "4"),
    ],
}

# What a class must say at least once: its defining signs.
SAYS = {
    "blood": {
        "2": (r"red cell that still keeps its nucleus",),
        "6": (r"segmented nucleus with three to five lobes",),
        "7": (r"no nucleus",),
    },
    "retina": {
        "1": (r"nothing abnormal beyond microaneurysms",),
        "2": (r"exudates", r"fewer than twenty"),
        "3": (
            r"twenty \w+ \w+ per quadrant, in all four",
            r"two or more quadrants",
            r"microvascular .* one quadrant",
        ),
        "4": (r"newly grown", r"preretinal|front of the retina", r"into the vitreous"),
    },
    "oct": {
        "0": (r"subretinal fluid",),
        "1": (r"cysts within the retina",),
        "2": (r"bumps under the pigment",),
    },
}
