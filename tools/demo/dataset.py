"""The demo's dataset: which emoji are objects, and the words people use for them.

Source: Unicode CLDR's English annotations (Debian unicode-cldr-core). An object is one code point that Noto Color Emoji draws; letters, clocks, arrows,
signs, flags, gender and skin-tone variants are left out, and so are images that nobody could tell apart at 64 pixels.
"""
import re
import xml.etree.ElementTree as ET

ANNOTATIONS = "/usr/share/unicode/cldr/common/annotations/en.xml"

# Ranges of CLDR order would change between releases; these are code points, stable for ever.
BLOCKS = [(0x2600, 0x27BF), (0x2B50, 0x2B50), (0x1F300, 0x1F5FF), (0x1F600, 0x1F64F), (0x1F680, 0x1F6FF), (0x1F7E0, 0x1F7EB), (0x1F900, 0x1FAFF),
          (0x26F0, 0x26FF)]

# A word of the name that keeps it out of the dataset.
WORDS = set("""sign button arrow arrows symbol clock o'clock zodiac tone hair mark no japanese man woman men women prayer person people couple boy girl
input letter letters pedestrians prohibited speaker muted chart banknote mailbox hand fist palms hands foot leg ear nose tongue mouth
gesture room salute tray card index disk moon oncoming square plus minus divide multiply loop infinity question exclamation circle dash
suit busts bust head cross radioactive biohazard warning wheelchair restroom closet control claim luggage smoking littering
Aries Taurus Gemini Cancer Leo Virgo Libra Scorpio Sagittarius Capricorn Aquarius Pisces Ophiuchus om star-and-crescent menorah
white-flag flag flags speech bubble anger zzz medical fleur-de-lis trident badge beginner asterisk sparkle eject cinema dim bright bars
vibration off slash slider knobs""".lower().split())

# Names left out one by one: near doubles of something kept, or nothing a person would ask for.
LEFT_OUT = """beaming face with smiling eyes|grinning face with big eyes|grinning face with smiling eyes|grinning squinting face|slightly smiling face|
smiling face with smiling eyes|smiling face|face savoring food|kissing face|kissing face with closed eyes|kissing face with smiling eyes|
smiling face with tear|winking face with tongue|squinting face with tongue|face with raised eyebrow|neutral face|face without mouth|smirking face|
unamused face|relieved face|pensive face|sleepy face|drooling face|woozy face|worried face|slightly frowning face|frowning face|hushed face|
face with open mouth|flushed face|frowning face with open mouth|anguished face|fearful face|anxious face with sweat|sad but relieved face|
confounded face|persevering face|disappointed face|downcast face with sweat|weary face|tired face|angry face|angry face with horns|lying face|
grimacing face|face with symbols on mouth|grinning cat|grinning cat with smiling eyes|cat with tears of joy|cat with wry smile|kissing cat|
weary cat|crying cat|pouting cat|heart decoration|growing heart|revolving hearts|beating heart|heart exclamation|dizzy|left speech bubble|
thought balloon|hole|monkey face|tiger face|horse face|cow face|pig face|mouse face|rabbit face|dragon face|guide dog|pig nose|ox|ewe|
front-facing baby chick|spouting whale|white flower|wilted flower|herb|rosette|leaf fluttering in wind|flatbread|tamale|stuffed flatbread|
shallow pan of food|pot of food|canned food|rice cracker|oden|moon cake|fortune cookie|shaved ice|clinking beer mugs|clinking glasses|
tumbler glass|mate|fork and knife|fork and knife with plate|chopsticks|amphora|globe showing Europe-Africa|globe showing Asia-Australia|
globe with meridians|world map|map of Japan|snow-capped mountain|building construction|wood|houses|derelict house|office building|
Japanese post office|bank|hotel|love hotel|convenience store|school|department store|wedding|hindu temple|synagogue|kaaba|foggy|night with stars|
cityscape|sunrise over mountains|sunrise|cityscape at dusk|sunset|bridge at night|hot springs|railway car|high-speed train|bullet train|train|
metro|light rail|station|monorail|mountain railway|tram car|trolleybus|minibus|sport utility vehicle|articulated lorry|motorized wheelchair|
manual wheelchair|bus stop|motorway|railway track|vertical traffic light|stop sign|construction|motor boat|ferry|small airplane|
airplane departure|airplane arrival|seat|suspension railway|mountain cableway|watch|alarm clock|stopwatch|timer clock|mantelpiece clock|
sun behind cloud|sun behind small cloud|sun behind large cloud|sun behind rain cloud|cloud with lightning|cloud with snow|fog|wind face|umbrella|
snowman without snow|comet|milky way|shooting star|glowing star|sparkler|tanabata tree|pine decoration|moon viewing ceremony|red envelope|
reminder ribbon|admission tickets|ticket|2nd place medal|3rd place medal|sports medal|softball|rugby football|flying disc|field hockey|lacrosse|
cricket game|goal net|running shirt|flag in hole|slot machine|joker|mahjong red dragon|flower playing cards|framed picture|sari|
one-piece swimsuit|briefs|clutch bag|thong sandal|flat shoe|woman’s clothes|shopping bags|musical score|musical notes|studio microphone|long drum|
mobile phone with arrow|telephone receiver|pager|fax machine|trackball|computer disk|optical disk|dvd|film projector|camera with flash|
videocassette|magnifying glass tilted right|notebook|notebook with decorative cover|ledger|page with curl|page facing up|rolled-up newspaper|
bookmark tabs|bookmark|label|receipt|e-mail|incoming envelope|envelope with arrow|package with arrow|ballot box with ballot|black nib|pen|memo|
open file folder|tear-off calendar|spiral notepad|spiral calendar|clipboard|round pushpin|linked paperclips|straight ruler|card file box|
file cabinet|unlocked|locked with pen|locked with key|old key|pick|hammer and pick|link|white cane|petri dish|elevator|placard|funeral urn|
cigarette|litter in bin sign|selfie|nail polish|writing hand|folded hands|handshake|hundred points|dashing away|sweat droplets|family|footprints|
kiss|breast-feeding|mage|superhero|supervillain|merperson|elf|genie|skier|snowboarder|horse racing|child|older person|old man|old woman|prince|
construction worker|guard|police officer|detective|Mrs. Claus|baby angel|bald|deaf person|ninja|water closet|biting lip|hamsa|identification card|
low battery|pouring liquid|face with diagonal mouth|dotted line face|face with peeking eye|saluting face|face holding back tears|
face with open eyes and hand over mouth|empty nest|x-ray|person in bed|potable water|non-potable water|bellhop bell|lungs|wheel|peace symbol|
yin yang|atom symbol|wheel of dharma|latin cross|orthodox cross|star of David|star and crescent|eight-pointed star|chains|chess pawn|cyclone|
love-you gesture|victory|troll|playground slide|radio button|diamond with a dot|large orange diamond|small orange diamond|large blue diamond|
small blue diamond|carp streamer|Japanese dolls|wind chime|nazar amulet|headstone|adhesive bandage|curling stone|martial arts uniform|boomerang|
alembic|clamp|safety pin|sewing needle|mechanical arm|mechanical leg|worm|cockroach|smiling face with open hands|face with hand over mouth|
expressionless face|kiss mark|love letter|pinched fingers|pinching|crutch|mouth|speaking head|lab coat|safety vest|person with crown|
bouquet of flowers|military medal|red triangle pointed up|red triangle pointed down|Statue of Liberty|Tokyo tower|stadium|national park|desert|
beach with umbrella|camping|mountain|volcano|aerial tramway|umbrella with rain drops|video camera|level slider|astonished face|crossed fingers|
medium-light skin tone|spade suit|heart suit|club suit|diamond suit|white medium star|beans|oil drum|shower|tennis|menorah|crossed swords|
hammer and wrench|shuffle tracks|check box with check|eighth note|flat|sharp|currency exchange|children crossing|customs|place of worship|
middle finger|dotted six-pointed star|mount fuji|face with medical mask|calendar""".replace("\n", "").split("|")

# Kept although WORDS would drop them.
KEPT = """waving hand|thumbs up|thumbs down|eye|eyes|red heart|skull and crossbones|heart with arrow|brain|Santa Claus|vampire|fairy|princess|baby|ninja|
umbrella with rain drops|flexed biceps|clapping hands|ear of corn|fire engine|exploding head|magnifying glass tilted left|star|red circle|
green circle|blue circle|red square|green square|blue square|yellow square|yellow circle|woman’s hat|woman’s boot|man’s shoe|
face with crossed-out eyes|full moon face|umbrella|Statue of Liberty|speech balloon|horizontal traffic light|tennis|full moon|crescent moon|
luggage|snow-capped mountain|kitchen knife|closed umbrella|bow and arrow""".replace("\n", "").split("|")

# What people type instead of CLDR's name: name -> other words. Nothing here may be the name of another object.
ALSO = {
    "automobile": ["car", "red car"], "airplane": ["plane", "jet", "aeroplane"], "bicycle": ["bike"], "motorcycle": ["motorbike"],
    "hamburger": ["burger", "cheeseburger"], "french fries": ["fries", "chips"], "red apple": ["apple"], "rhinoceros": ["rhino"],
    "hippopotamus": ["hippo"], "T-Rex": ["tyrannosaurus", "dinosaur"], "sauropod": ["brontosaurus"], "honeybee": ["bee"], "lady beetle": ["ladybug", "ladybird"],
    "grinning face": ["smiley", "happy face"], "house": ["home"], "Christmas tree": ["xmas tree"], "jack-o-lantern": ["pumpkin"], "pile of poo": ["poop"],
    "mobile phone": ["phone", "smartphone"], "laptop": ["laptop computer"], "wrapped gift": ["gift", "present"], "hot beverage": ["coffee", "cup of coffee", "tea"],
    "beer mug": ["beer"], "wine glass": ["wine", "glass of wine"], "ear of corn": ["corn"], "hot pepper": ["chili", "chili pepper"], "taxi": ["cab"],
    "fire engine": ["fire truck"], "locomotive": ["steam train", "train"], "flying saucer": ["ufo"], "soccer ball": ["football", "ball"], "cheese wedge": ["cheese"],
    "cut of meat": ["steak"], "poultry leg": ["chicken leg", "drumstick"], "bread": ["loaf of bread"], "cooking": ["fried egg"], "red heart": ["heart"],
    "evergreen tree": ["pine tree", "fir tree"], "deciduous tree": ["tree"], "gem stone": ["gem", "diamond"], "light bulb": ["bulb", "lamp"],
    "game die": ["dice"], "delivery truck": ["truck", "lorry"], "ringed planet": ["planet", "saturn"], "star": ["yellow star"], "sun": ["bright sun"],
    "spider web": ["web"], "loudly crying face": ["sobbing face"], "doughnut": ["donut"], "steaming bowl": ["ramen", "noodles"], "sushi": ["sushi rolls"],
    "birthday cake": ["cake"], "potted plant": ["plant"], "billed cap": ["cap"], "running shoe": ["sneaker", "trainer"], "high-heeled shoe": ["high heel"],
    "t-shirt": ["shirt"], "jeans": ["trousers"], "couch and lamp": ["couch", "sofa"], "television": ["tv"], "spiral shell": ["shell", "seashell"],
    "kiwi fruit": ["kiwi"], "leafy green": ["lettuce"], "water wave": ["wave"], "droplet": ["water drop"], "fire": ["flame"], "water pistol": ["water gun"],
    "closed book": ["book", "red book"], "money bag": ["bag of money"], "cat face": ["kitty"], "face with tears of joy": ["laughing face"],
    "smiling face with sunglasses": ["cool face"], "smiling face with heart-eyes": ["face in love"], "enraged face": ["angry face"], "crying face": ["sad face"],
    "smiling face with horns": ["devil"], "sailboat": ["boat"], "police car": ["cop car"], "basketball": ["orange ball"], "top hat": ["black hat"],
    "magnifying glass tilted left": ["magnifying glass"], "horizontal traffic light": ["traffic light"], "globe showing Americas": ["globe", "earth"],
    "cloud with rain": ["rain cloud"], "american football": ["rugby ball"], "umbrella with rain drops": ["umbrella in the rain"], "high voltage": ["lightning", "lightning bolt"], "locked": ["padlock"],
    "collision": ["explosion"], "sponge": ["yellow sponge"], "bouquet": ["bunch of flowers"], "cooked rice": ["bowl of rice"], "headphone": ["headphones"],
    "clapping hands": ["applause"], "passenger ship": ["cruise ship"],
}

# Words for colours that a name holds and that the image shows: the name minus the colour is no alias (a "heart" is red, a "blue heart" never).
COLOURS = "red orange yellow green blue purple brown black white pink".split()


def clean(text):
    return re.sub(r"\s+", " ", text.replace("’", "'").replace("“", "").replace("”", "").lower()).strip()


def annotations(path=ANNOTATIONS):
    """Returns {character: (name, [keywords])}."""
    out = {}
    for a in ET.parse(path).getroot().iter("annotation"):
        c = a.get("cp")
        name, keys = out.get(c, ("", []))
        if a.get("type") == "tts":
            name = a.text.strip()
        else:
            keys = [k.strip() for k in a.text.split("|")]
        out[c] = (name, keys)
    return out


def objects(path=ANNOTATIONS):
    """Returns the dataset's objects: a list of dicts char, name, words (what people also call it), keys (CLDR's keywords that no other object has), in code point order."""
    kept, left = set(KEPT), {n.strip() for n in LEFT_OUT}
    chosen = []
    for c, (name, keys) in sorted(annotations(path).items()):
        if len(c) != 1 or not any(a <= ord(c) <= b for a, b in BLOCKS) or not name:
            continue
        if 0x1F550 <= ord(c) <= 0x1F567:  # clock faces
            continue
        if name not in kept and (name in left or WORDS & set(re.split(r"[\s:]+", name.lower().replace("’", "'")))):
            continue
        chosen.append((c, name, keys))
    uses = {}
    for _, name, keys in chosen:
        for k in {clean(k) for k in keys} | {clean(name)}:
            uses[k] = uses.get(k, 0) + 1
    names = {clean(n) for _, n, _ in chosen}
    also = {clean(w) for ws in ALSO.values() for w in ws}
    out = []
    for c, name, keys in chosen:
        words = [clean(w) for w in ALSO.get(name, [])]
        keys = [k for k in map(clean, keys) if uses[k] == 1 and k not in names and k not in also and len(k) > 2 and re.fullmatch(r"[a-z' -]+", k)]
        out.append({"char": c, "name": clean(name), "words": [w for w in dict.fromkeys(words) if w not in names],
                    "keys": [k for k in dict.fromkeys(keys) if k not in words]})
    return out


if __name__ == "__main__":
    found = objects()
    print(len(found))
    for o in found:
        print(o["char"], o["name"], "|", ", ".join(o["words"]), "|", ", ".join(o["keys"]))
