"""The words of the pretraining captions, as data: what each finding may be called, and what each leaflet may say.

Knowledge bases use other sentences made of mostly the same words, as a reader's sentence differs from a report's.
"""

#: Finding -> what a caption may call it.
FINDINGS = {
    # chest radiographs
    "opacity": ("a hazy patch in the {side} {zone} zone", "cloudy white shadowing of the {side} {zone} lung", "patchy consolidation, {zone} zone, {side}",
                "an ill-defined white opacity in the {zone} part of the {side} lung", "fluffy infiltrate in the {side} {zone} lobe",
                "a blurred bright area near the {zone} {side} lung", "dense shadow with soft edges on the {side}, {zone} field"),
    "cavity": ("a thick-walled cavity in the {side} {zone} lobe", "a ring-shaped shadow with a dark centre, {side} {zone} zone",
               "a round hollow with a bright wall in the {side} lung", "an air-filled hole surrounded by a white rim, {zone} {side}",
               "a circular lucency with a wall in the {zone} zone", "a hollow lesion with a dark middle near the {zone} {side} lung"),
    "miliary": ("countless tiny nodules scattered through both lungs", "many small dots spread evenly over both lung fields", "a miliary pattern of fine white grains",
                "millet-like spots everywhere in the lungs", "diffuse small bright nodules on both sides", "fine seed-like dots in all zones"),
    "fibrosis": ("streaky scars pulling the {side} hilum up", "coarse fibrous lines in the {side} upper zone", "white bands and strands fanning out on the {side}",
                 "linear scarring of the {side} upper lobe", "stringy bright streaks toward the {side} apex", "fibrotic strands with distortion on the {side}"),
    "effusion": ("fluid filling the {side} lower chest", "a {side} pleural effusion with a curved upper edge", "a blunted {side} costophrenic angle",
                 "white-out of the {side} base with a meniscus", "the {side} diaphragm hidden by fluid", "a dense layer of pleural fluid on the {side}"),
    "hilar_nodes": ("enlarged lumpy hilar nodes", "bulky lymph nodes beside the heart on both sides", "swollen hilar shadows", "rounded masses at the lung roots",
                    "lobulated hilar enlargement", "thickened lymph glands around the hila"),
    "large_heart": ("an enlarged heart shadow", "a wide cardiac silhouette", "a big heart", "cardiomegaly"),
    "pacemaker": ("a pacemaker with a wire to the heart", "a metal device box under the collar bone", "an implanted generator and lead", "a bright box with a thin cable"),
    "hyperinflation": ("long overexpanded lungs", "low flat diaphragms", "hyperinflated lungs"),
    "granuloma": ("one small calcified spot", "a single old calcified granuloma", "a tiny dense dot"),
    # fundus photographs
    "microaneurysms": ("{level} microaneurysms", "{level} tiny red dots", "{level} pinpoint red spots near the macula", "{level} small round red points", "{level} dot-like capillary bulges"),
    "haemorrhages": ("{level} dark red blot haemorrhages", "{level} blots of blood in the retina", "{level} dark bleeding spots", "{level} flame and blot bleeds", "{level} large maroon patches of blood"),
    "exudates": ("yellow hard exudates around the macula", "waxy yellow specks", "sharp glistening yellow deposits", "a ring of fatty yellow flecks", "shiny lipid deposits near the centre"),
    "cotton_wool": ("fluffy white cotton wool spots", "soft pale exudates", "cloud-like white patches on the retina", "feathery whitish spots", "woolly white areas with vague edges"),
    "beading": ("veins beaded like a string of sausages", "venous beading", "vessels of uneven calibre with bulges", "knotted irregular veins", "swollen segments along the veins"),
    "new_vessels": ("a fine tangle of new vessels", "a lacy net of thin abnormal vessels", "neovascularization with curled capillaries", "fronds of delicate red vessels", "a bright red web of fragile vessels"),
    "preretinal": ("a boat-shaped bleed with a level top", "preretinal blood with a flat upper edge", "a large pool of blood in front of the retina", "a half-moon of dark blood", "a blood level hiding the vessels below"),
    "fibrous_bands": ("white fibrous bands pulling on the retina", "pale scar tissue strands over the vessels", "grey-white membranes across the fundus", "traction bands from the disc", "ropes of whitish scar tissue"),
    "haze": ("a {depth} haze over the whole picture", "a blurred view through a cloudy lens", "a milky veil hiding the vessels", "a foggy fundus with faint details", "a washed-out yellowish blur, {depth}", "a dim unfocused view of the retina"),
    "cupping": ("a large pale cup in the optic disc", "a deep wide cup with a thin rim", "an enlarged cup to disc ratio", "an excavated white optic disc", "a narrow neural rim around a big cup"),
    "drusen": ("many soft yellow drusen at the macula", "clustered pale round deposits in the centre", "numerous buttery spots under the macula", "rounded yellowish bumps near the fovea", "scattered drusen of the posterior pole"),
    "scar": ("a pale atrophic scar with dark pigment", "a white patch with black clumps at the macula", "a geographic area of lost tissue", "a chorioretinal scar with pigment edges", "a bare whitish area with dark margins"),
    "detachment": ("a grey wavy detached retina", "a billowing elevated sheet with folds", "a detached part that looks rippled and grey", "corrugated folds of lifted retina", "a pale grey fold covering one side"),
    "tigroid": ("a tigroid striped background", "a tessellated fundus", "visible choroidal stripes"),
    "pale_fundus": ("a pale blond fundus", "light pigmentation", "a lightly coloured background"),
    "laser_scars": ("laser marks in the periphery", "round pale laser scars", "a ring of treatment spots at the edge"),
    # blood cells
    "ring_forms": ("a small purple ring with a dot", "a signet ring shape inside the cell", "a delicate ring form", "a thin circle with a dark nucleus inside", "a hoop-like body with a chromatin dot"),
    "trophozoite": ("an irregular purple blob inside the cell", "a growing amoeboid shape", "a thick dark violet patch", "a ragged mass of violet cytoplasm", "a compact purple lump"),
    "schizont": ("a rosette of many small purple grains", "a cluster of nuclei like a daisy", "a mulberry of merozoites around pigment", "a bunch of dark beads in the middle", "a flower-like group of violet dots"),
    "gametocyte": ("a crescent-shaped purple body", "a banana-shaped form in the cell", "a curved sausage-like violet body", "a sickle of purple across the cell", "a long bent purple band"),
    "pigment": ("brown pigment grains", "dark golden-brown clumps", "a heap of blackish granules", "coarse brown crystals", "haemozoin specks"),
    "stippling": ("fine pink stippling all over", "many tiny red dots across the cell", "speckled cytoplasm", "dusty pink granules", "a freckled surface"),
    "central_pallor": ("a pale centre", "a lighter middle area", "central pallor"),
    "crenation": ("a spiky scalloped edge", "a crenated outline", "a cogwheel border"),
    "platelet": ("a platelet beside the cell", "a small lilac body outside the border", "one stray platelet"),
    "debris": ("stain debris on the edge", "black dirt at the border", "a dark artefact on the rim"),
    "pale_stain": ("a weakly stained cell", "a washed-out grey colour", "faint staining"),
    "swollen": ("an enlarged cell", "a swollen big cell", "a large round cell"),
    "bite": ("one flattened side", "a cut-off edge", "a straight border on one side"),
}  # fmt: skip

#: Modality -> what a caption may say of an image without findings.
NOTHING = {
    "chest": ("clear lung fields", "clear dark lungs and sharp costophrenic angles", "no shadow in either lung", "transparent lungs with fine vessel markings", "both lungs well aerated",
              "no nodule, cavity or fluid", "evenly dark air-filled lungs", "smooth diaphragms and a plain heart border"),
    "fundus": ("a clear orange retina", "smooth vessels and a healthy pink disc", "no spots, no bleeding, no deposits", "an even background with a sharp disc margin", "vessels of regular calibre on a clean background",
               "a small cup and a bright clear macula", "an unremarkable retina", "crisp vessels seen to the edge"),
    "cell": ("smooth even cytoplasm", "a clean cell with nothing inside", "a plain uniform pink disc", "no dots, rings or grains", "an empty homogeneous interior", "clear pink cytoplasm throughout", "a plain round cell"),
}  # fmt: skip

FRAMES = {
    "chest": ("a chest radiograph with {}", "frontal x-ray of the lungs showing {}", "a photo of a chest film, which has {}", "chest x-ray: {}", "{} on a chest radiograph", "an x-ray where one sees {}", "a photo of a chest, which has {}", "{}"),
    "fundus": ("a fundus photograph with {}", "colour photograph of the retina showing {}", "a photo of an eye, which has {}", "retinal image: {}", "{} in a fundus photo", "a view of the back of the eye with {}", "a photo of a retina, which has {}", "{}"),
    "cell": ("a blood smear cell with {}", "stained red cell showing {}", "a photo of a cell, which has {}", "microscope picture: {}", "{} in a red blood cell", "one erythrocyte with {}", "a photo of a blood cell, which has {}", "{}"),
}  # fmt: skip
NAME_FRAMES = (
    "a photo of a {}",
    "a photo of a {}.",
    "{}",
    "a picture of {}",
    "a case of {}",
    "an example of {}",
)

LEAFLETS = {
    ("lungs", "symptoms"): ("cough and night sweats for weeks", "fever, weight loss and loss of appetite", "coughing up blood is a warning sign", "chest pain when breathing deeply", "feeling tired and short of breath", "breathing easily without any complaint"),
    ("lungs", "cause"): ("spread through the air by coughing", "caused by bacteria passed from person to person", "people in crowded homes are at higher risk", "close contacts should be tested", "the illness is common in many countries", "rates fall where housing improves"),
    ("lungs", "treatment"): ("several antibiotics taken for six months", "tablets must be taken every day", "a skin test or sputum test confirms it", "vaccination protects young children", "no treatment is needed", "follow-up visits every month"),
    ("eye", "symptoms"): ("blurred vision and trouble reading", "glare at night around lamps", "sudden flashes and floaters", "slow loss of side vision without pain", "sight is clear and comfortable", "colours look faded and dull"),
    ("eye", "cause"): ("high blood sugar over many years damages the eye", "raised pressure inside the eye", "more common with growing age", "runs in families", "smoking and high blood pressure raise the risk", "affects both eyes in most people"),
    ("eye", "treatment"): ("drops lower the pressure", "an operation replaces the lens", "injections given by a specialist", "keep sugar and blood pressure under control", "yearly screening is advised", "glasses may help for a while"),
    ("blood", "symptoms"): ("fever and chills that come back every few days", "headache and shivering after travel", "sweating and muscle pain", "anaemia and yellow skin", "feeling well with no fever", "the spleen may become large"),
    ("blood", "cause"): ("carried by mosquitoes at dusk", "passed on by an insect bite in warm countries", "standing water helps mosquitoes breed", "travellers without protection are at risk", "not passed by touch", "a donor with no recent travel"),
    ("blood", "treatment"): ("sleep under a treated net", "tablets before and after a journey", "a quick test from a finger prick", "medicine that kills the parasite in the liver", "no medicine is required", "drink enough and rest"),
}  # fmt: skip
LEAFLETS |= {
    ("lungs", "test"): ("a sputum sample sent to the laboratory", "a positive skin test on the arm", "bacilli under the microscope after staining", "a blood test with usual values", "a CT scan of the chest is rarely needed", "a culture that grows for weeks", "a negative test result"),
    ("eye", "test"): ("the pressure measured with a tonometer", "gaps in the visual field test", "a letter chart read from six metres", "layers seen on an OCT scan", "a dye test shows leaks", "sugar values in a blood test", "an ultrasound of the eye"),
    ("blood", "test"): ("a rapid test with two lines", "a thick drop looked at in the laboratory", "a low platelet count in the blood test", "liver values slightly raised", "a negative rapid test", "the number of white cells", "a gene test for the species"),
}  # fmt: skip


for _key, _more in {
    ("lungs", "symptoms"): ("a cough that does not go away", "sweats that soak the sheets", "losing weight without trying", "a good appetite and no fever"),
    ("lungs", "cause"): ("living with an ill family member", "bacteria carried in droplets", "a weak immune system", "never in contact with the illness"),
    ("lungs", "treatment"): ("six months of pills", "daily medicine under supervision", "vaccination in early childhood", "a visit to the doctor every month"),
    ("eye", "symptoms"): ("bumping into things at the side", "straight lines look bent", "stars around lights in the dark", "no trouble with reading or driving", "a curtain over one eye"),
    ("eye", "cause"): ("diabetes for more than ten years", "fluid that cannot drain", "long use of steroid tablets", "ultraviolet light and age", "a tear in short-sighted people", "a young age and good health"),
    ("eye", "treatment"): ("a new lens put in by a surgeon", "laser treatment by a specialist", "pressure lowered with drops every evening", "an urgent operation", "stronger glasses", "no injections and no drops"),
    ("blood", "symptoms"): ("shaking chills after a tropical journey", "high temperature every third day", "tiredness and pale skin", "a healthy donor without complaints"),
    ("blood", "cause"): ("a mosquito bite at night", "staying in a warm wet region", "blood transfusion is a rare way", "no journey in the past year"),
    ("blood", "treatment"): ("three days of tablets", "a net over the bed", "spray and long sleeves in the evening", "hospital care for severe cases"),
}.items():  # fmt: skip
    LEAFLETS[_key] += _more

SYNONYMS = {
    "white": ("pale", "bright", "whitish"), "bright": ("white", "light"), "pale": ("whitish", "light", "white"), "dark": ("black", "deep"), "spots": ("dots", "specks", "flecks", "marks", "patches"),
    "dots": ("points", "spots", "specks", "grains"), "dot": ("point", "spot"), "nodules": ("dots", "grains", "seeds", "spots"), "patch": ("area", "spot", "region", "shadow"), "patches": ("areas", "spots", "blots"),
    "area": ("patch", "zone", "region"), "shadow": ("opacity", "patch", "density"), "opacity": ("shadow", "density", "whiteness"), "cloudy": ("hazy", "milky", "foggy"), "hazy": ("cloudy", "vague", "misty"),
    "haze": ("fog", "mist", "blur", "veil"), "blur": ("fog", "haze", "unsharpness"), "blurred": ("unsharp", "vague", "hazy"), "veil": ("mist", "film", "haze"), "foggy": ("misty", "hazy", "unclear"),
    "cavity": ("hollow", "hole", "ring", "cave"), "hollow": ("empty space", "hole", "cavity"), "wall": ("rim", "border"), "rim": ("edge", "border", "wall"), "edge": ("border", "margin", "rim"),
    "edges": ("borders", "margins"), "round": ("rounded", "circular"), "small": ("little", "tiny", "fine"), "tiny": ("very small", "minute", "small"), "large": ("big", "wide", "great"), "big": ("large", "wide"),
    "scars": ("lines", "strands", "scar tissue"), "streaks": ("lines", "stripes", "strands"), "lines": ("streaks", "strands"), "strands": ("threads", "cords", "bands", "lines"), "bands": ("strands", "cords", "ropes"),
    "fluid": ("liquid", "water"), "base": ("bottom", "lowest part"), "blood": ("bleeding", "red"), "blots": ("patches", "blotches"), "bleeding": ("blood", "haemorrhage"), "bleed": ("haemorrhage", "blood"),
    "haemorrhages": ("bleeds", "bleeding spots"), "exudates": ("deposits", "flecks"), "deposits": ("flecks", "specks", "bumps"), "yellow": ("yellowish", "golden", "waxy"), "vessels": ("blood vessels", "veins and arteries"),
    "veins": ("vessels", "blood vessels"), "net": ("web", "network", "tangle"), "tangle": ("net", "knot", "bundle"), "thin": ("fine", "narrow", "delicate"), "fine": ("thin", "delicate", "tiny"), "cup": ("hollow", "excavation"),
    "disc": ("optic disc", "nerve head"), "macula": ("centre", "fovea", "middle"), "centre": ("middle", "macula"), "grey": ("greyish", "dull"), "folds": ("waves", "wrinkles", "ripples"), "wavy": ("rippled", "folded"),
    "purple": ("violet", "dark blue", "lilac"), "violet": ("purple", "lilac"), "ring": ("circle", "hoop"), "circle": ("ring", "loop"), "crescent-shaped": ("curved", "moon-shaped"), "curved": ("bent", "bowed"),
    "grains": ("granules", "specks"), "clumps": ("heaps", "lumps"), "cluster": ("group", "bunch"), "brown": ("brownish", "golden-brown"), "clear": ("clean", "free", "plain"), "smooth": ("even", "plain"), "plain": ("simple", "even"),
    "many": ("lots of", "numerous", "countless"), "numerous": ("many", "a lot of"), "no": ("without any", "no", "not any"), "retina": ("fundus", "back of the eye"), "lungs": ("lung fields", "lungs"), "enlarged": ("big", "swollen", "wide"),
    "swollen": ("thick", "enlarged"), "inside": ("within", "in"), "scattered": ("spread", "strewn"), "picture": ("view", "image"), "doctor": ("physician", "specialist"), "tablets": ("pills", "medicine"), "test": ("check", "test"),
}  # fmt: skip
LEAFLET_FRAMES = (
    "a leaflet saying {}",
    "a printed page: {}",
    "an information sheet, {}",
    "{}",
    "a page of text about {}",
    "a poster that reads {}",
    "a photo of a leaflet, which has {}",
    "patient advice: {}",
)
LEAFLET_NAMES = {
    "lungs": ("chest",),
    "eye": ("retinopathy", "cataract"),
    "blood": ("malaria",),
}  # whose class names a topic's leaflets carry

SHAPE_FRAMES = (
    "a {colour} {shape} on a {ground} background",
    "one {colour} {shape}, {ground} ground",
    "a drawing of a {colour} {shape}",
    "{ground} page with a {colour} {shape}",
    "a photo of a {shape} in {colour}",
)
SCENE_FRAMES = (
    "a {thing} by {time}",
    "a picture of a {thing} at {time} time",
    "a landscape with a {thing}",
    "a photo of a {thing}, {time}",
    "outdoor scene: {thing}",
)
