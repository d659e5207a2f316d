"""What words may stand under which class of the paper's medical sets, and lines that break these rules."""

import re

GRADES = [f"{grade} nonproliferative diabetic retinopathy" for grade in ("mild", "moderate", "severe")]
NONE, MILD, MODERATE, SEVERE, PROLIFERATIVE = (
    "no diabetic retinopathy",
    *GRADES,
    "proliferative diabetic retinopathy",
)
INFECTED, UNINFECTED = "parasitized red blood cell", "uninfected red blood cell"
CLASSES = {
    "shenzhen": ("normal", "tuberculosis"),
    "montgomery": ("normal", "tuberculosis"),
    "idrid": (NONE, MILD, MODERATE, SEVERE, PROLIFERATIVE),
    "malaria": (INFECTED, UNINFECTED),
    "cataract": ("normal", "cataract", "glaucoma", "retina disease"),
}
CHEST = (
    r"cavit|infiltrat|miliary|millet|consolidat|effusion|meniscus|nodul|fibro|scar|calci|granulom|collapse|opacit"
    r"|tented|thicken|whiten|\bmass|cysts?\b|lymph|fused|displaced|shifted|tethered|distorted|pushed away"
    r"|drawn towards|blurred|dense lesion|white dots|\bholes?\b|fluid|enlarged|retract|shrunken|pneumothorax|patch|veil"
    r"|haz[ey]"
)
# (base, classes where the words may stand, words, whether a line elsewhere may deny them). A denial is tagged so.
RULES = [
    ("shenzhen", ("tuberculosis",), CHEST, True),
    ("montgomery", ("tuberculosis",), CHEST, True),
    (
        "shenzhen",
        ("normal",),
        r"sharp costophrenic|healthy|\bclear (apices|lungs)|evenly dark|unbroken",
        False,
    ),
    ("montgomery", ("normal",), r"crisp lateral|healthy|\bclear (apices|lungs)|free of|unbroken", False),
    (
        "idrid",
        (SEVERE,),
        r"quadrant|\birma\b|\bbead(ing|ed)\b|bead-like|sausage|rosary|shunt|omega|knobbly",
        False,
    ),
    (
        "idrid",
        (SEVERE,),
        r"too many|countless|uncountable|hairpin|corkscrew|spider-like|lumpy|pinched|uneven calibre|peppering"
        r"|(eighty|thirty|hundred).*(haemorrhages|blots)",
        False,
    ),
    (
        "idrid",
        (PROLIFERATIVE,),
        r"new vessel|neovascul|preretinal|vitreous|fibrous|fibrovasc|tracti|frond|boat-shaped|detach|membrane",
        False,
    ),
    ("idrid", (MODERATE, SEVERE, PROLIFERATIVE), r"haemorrhag|exudat|bleed|blood(?! vessel)|splinter", False),
    ("idrid", (MODERATE, SEVERE, PROLIFERATIVE), r"\bblot|lipid|waxy|cotton|plaque|fluffy|\bpool\b", True),
    ("idrid", (MILD, MODERATE, SEVERE), r"microaneurysm", False),
    (
        "idrid",
        (MILD, MODERATE, SEVERE, PROLIFERATIVE),
        r"\bdots?\b|\bspecks?\b|pinprick|\b(red|ruby|dark) (points?|marks?|beads?|blotch)",
        True,
    ),
    ("idrid", (PROLIFERATIVE,), r"\blaser", True),
    (
        "malaria",
        (INFECTED,),
        r"\brings?\b|trophozoit|schizont|gametocyt|merozoit|haemozoin|chromatin|parasit|sch[uü]ffner|maurer|amoeb"
        r"|vacuole|blue (arc|body|blob|comma|loops|ribbon|shape|strands)|crescent|rosette|magenta|pigment"
        r"|blue cytoplasm",
        True,
    ),
    (
        "malaria",
        (UNINFECTED,),
        r"platelet|precipitate|debris|\bdust|scratch|howell|pappenheimer|crenat",
        False,
    ),
    (
        "malaria",
        (UNINFECTED,),
        r"\bplain\b|unmarked|\bempty|polished|pallor|sickle|teardrop|no (purple|blue)",
        False,
    ),
    (
        "cataract",
        ("retina disease",),
        r"drusen|detach|embol|exudat|cotton wool|lipid|bone-spicule|naevus|staphyloma|cherry-red|membrane|\bscar"
        r"|geographic|new vessel|microaneurysm|black pigment|swelling|dilated",
        True,
    ),
    (
        "cataract",
        ("glaucoma",),
        r"notch|excavat|lamina|bayonet|undermined|nasalis|vertical cup|(large|deep|wide|pale|tall) ?\w* cup"
        r"|thin(ner)?( neural| upper)? rim|nerve fibre loss|splinter",
        True,
    ),
    ("cataract", ("normal", "glaucoma"), r"\bcups?\b|\bneural rim", False),
    ("cataract", ("glaucoma", "retina disease"), r"haemorrhag|\bblood\b", True),
    (
        "cataract",
        ("cataract",),
        r"\bhaz[ey]|\bfog|\bmist\b|milky|blur|cloud|\bveil|smear|smudg|murky|washed-out|glass|soft-focus|whitening",
        True,
    ),
    ("cataract", ("normal", "glaucoma", "retina disease"), r"\bclear sharp|crisp|sharp focus|vivid", False),
]
NUMBERS = {"six": 6, "eight": 8, "ten": 10, "twelve": 12, "sixteen": 16, "twenty": 20, "thirty": 30}
QUADRANTS = [  # how far a sign has to reach to make the grade severe
    (r"bead", r"\b(two|three|four|both|upper and lower|segments)\b"),
    (r"haemorrhages|blots|bleeding", r"\b(each|every|all four|no|countless) "),
]
PLANTED = [
    ("shenzhen", "normal", "a cavity in the right upper lobe"),
    ("shenzhen", "normal", "no shadow beside a calcified node"),
    ("shenzhen", "tuberculosis", "sharp costophrenic angles on each side"),
    ("montgomery", "normal", "a small effusion on the left"),
    ("montgomery", "normal", "miliary dots in both lungs"),
    ("montgomery", "tuberculosis", "clear lungs from top to base"),
    ("idrid", NONE, "a few microaneurysms near the fovea"),
    ("idrid", NONE, "a small haemorrhage below the disc"),
    ("idrid", MILD, "one flame-shaped haemorrhage"),
    ("idrid", MILD, "no haemorrhage in any place"),
    ("idrid", MILD, "hard exudates near the macula"),
    ("idrid", MODERATE, "venous beading in two quadrants"),
    ("idrid", MODERATE, "about twenty haemorrhages in each sector"),
    ("idrid", MODERATE, "a beaded vein below the disc"),
    ("idrid", SEVERE, "venous beading in a quadrant"),
    ("idrid", SEVERE, "more than twenty haemorrhages in one quadrant"),
    ("idrid", SEVERE, "new vessels on the disc"),
    ("idrid", SEVERE, "no neovascularisation of the disc"),
    ("idrid", PROLIFERATIVE, "venous beading in three quadrants"),
    ("malaria", UNINFECTED, "a thin blue ring with a red dot"),
    ("malaria", UNINFECTED, "a mature schizont"),
    ("malaria", INFECTED, "a platelet on top of the cell"),
    ("malaria", INFECTED, "a schizont with thirty merozoites"),
    ("cataract", "normal", "a notch in the lower rim"),
    ("cataract", "normal", "a milky haze over the disc"),
    ("cataract", "normal", "soft drusen at the macula"),
    ("cataract", "cataract", "a cup that fills the disc"),
    ("cataract", "cataract", "crisp vessel branches"),
    ("cataract", "glaucoma", "drusen below the macula"),
    ("cataract", "glaucoma", "a foggy view of the disc"),
    ("cataract", "retina disease", "a vertical cup-to-disc ratio of nine tenths"),
    ("cataract", "retina disease", "a blurred, cloudy fundus"),
]


def claimed(text):
    """The part of a text that is not denied: `no cavity beside a nodule` claims the nodule."""
    return re.sub(r"\b(no|without|free of)\b.*?(?=\b(?:but|beside|despite|except|amid|under)\b|$)", "", text)


def wrong(base, label, text, tags=()):
    """What a line says that another class says, or that its own grade does not allow."""
    text, found = text.casefold(), []
    for owner, allowed, words, deniable in RULES:
        if owner == base and label not in allowed and re.search(words, text):
            denied = not re.search(words, claimed(text)) and "absence" in tags
            if not (deniable and denied):
                found.append(f"{words} belongs to {allowed}")
    if label == SEVERE and "quadrant" in text and "irma" not in text:
        found += [sign for sign, far in QUADRANTS if re.search(sign, text) and not re.search(far, text)]
    if label == MODERATE and "twenty" in text and "fewer than twenty" not in text:
        found.append("twenty haemorrhages or more")
    count = re.search(rf"({'|'.join(NUMBERS)})( \w+)? merozoites", text)
    if count and not 6 <= NUMBERS[count[1]] <= 24:
        found.append("a schizont has 6 to 24 merozoites")
    return found
