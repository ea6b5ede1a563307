"""Captions: how people would ask for a scene. Everything random comes from the random.Random that is given."""
import hashlib
import re

IRREGULAR = {"mouse": "mice", "wolf": "wolves", "knife": "knives", "leaf": "leaves", "tooth": "teeth", "fish": "fish", "deer": "deer", "bison": "bison",
             "shrimp": "shrimps", "squid": "squids", "ox": "oxen", "moai": "moai", "sushi": "sushi", "ice": "ice cubes", "bread": "breads", "man": "men"}
PLURAL = {"eyes", "glasses", "sunglasses", "goggles", "jeans", "shorts", "scissors", "gloves", "socks", "cherries", "grapes", "peanuts", "blueberries", "bubbles",
          "skis", "pancakes", "french fries", "fries", "books", "sparkles", "paw prints", "clapping hands", "ballet shoes", "nesting dolls", "fireworks",
          "trousers", "two hearts", "headphones", "thumbs up", "thumbs down", "performing arts", "noodles", "chips", "bricks", "applause", "stairs"}
MASS = {"bacon", "broccoli", "garlic", "salt", "butter", "fire", "popcorn", "sake", "beer", "wine", "coffee", "tea", "spaghetti", "sushi", "cheese", "lettuce",
        "rice", "cooked rice", "curry rice", "corn", "yarn", "soap", "coral", "lightning", "poop", "french fries", "bread", "earth", "santa claus", "ramen",
        "high voltage", "dna", "chocolate", "ice", "flame", "confetti", "statue of liberty", "bowling", "tennis", "badminton", "ping pong", "ice hockey", "santa"}
NICE = "nice cute pretty lovely beautiful tasty cool funny little-known simple single".replace("little-known ", "").split()
BIG, SMALL = ["big", "large", "huge"], ["small", "little", "tiny"]
MEDIUM = ["a photo of ", "a picture of ", "an image of ", "a drawing of ", "an icon of ", "an emoji of ", "a painting of "]

PLAIN = {"white": (250, 250, 250), "black": (22, 22, 26), "red": (214, 54, 54), "green": (66, 160, 86), "blue": (62, 114, 212), "yellow": (247, 217, 84),
         "purple": (138, 84, 190), "orange": (242, 148, 54), "pink": (246, 172, 198), "gray": (150, 150, 152), "teal": (40, 158, 160), "brown": (128, 88, 58),
         "beige": (236, 220, 190), "navy blue": (28, 42, 96)}
# name: (colour at the top, above the horizon, below it, at the bottom), horizon as a part of the height, ways to say it
GRADED = {
    "sunset": ((92, 64, 140), (250, 150, 90), (250, 150, 90), (255, 208, 120), 0.7, ["at sunset", "in a sunset sky", "in front of a sunset", "under a sunset sky"]),
    "night sky": ((8, 10, 34), (30, 38, 90), (30, 38, 90), (48, 56, 116), 0.6, ["in the night sky", "at night", "under the stars", "on a starry night"]),
    "grass": ((150, 208, 246), (206, 234, 250), (120, 190, 80), (70, 140, 52), 0.55, ["on the grass", "in the grass", "on a meadow", "on a lawn"]),
    "sea": ((170, 216, 246), (220, 240, 250), (50, 140, 200), (20, 80, 150), 0.5, ["on the sea", "in the sea", "at sea", "on the ocean", "in the water"]),
    "snow": ((166, 196, 226), (214, 228, 242), (240, 244, 250), (252, 253, 255), 0.55, ["in the snow", "on the snow", "in a snowy landscape"]),
    "desert": ((130, 196, 240), (214, 232, 240), (236, 204, 140), (214, 168, 100), 0.55, ["in the desert", "on the sand", "on the beach"]),
}
BACKGROUNDS = list(PLAIN) + list(GRADED)
SAME = {"gray": ["gray", "grey"], "navy blue": ["navy blue", "navy", "dark blue"], "purple": ["purple", "violet"]}
COLOUR_WORDS = set("red orange yellow green blue purple violet pink brown black white gray grey".split())
NUMBERS = {2: ["two", "two", "2", "a pair of"], 3: ["three", "three", "3"], 4: ["four", "four", "4"]}


def held_out(caption):
    """True for one caption in fifty: training never sees those."""
    return hashlib.md5(caption.encode()).digest()[0] * 256 + hashlib.md5(caption.encode()).digest()[1] < 65536 // 50


def article(name):
    if name in PLURAL or name in MASS or name.split()[-1] in PLURAL:
        return name
    return ("an " if re.match(r"(?!uni|ufo|one|eu)[aeiou]|hour|x-", name) else "a ") + name


def plural(name):
    head, sep, tail = re.match(r"^(.*?)( with | of | on | in |$)(.*)$", name).groups()
    words = head.split()
    last = words[-1]
    if name in PLURAL or last in PLURAL or head in PLURAL:
        pass
    elif last in IRREGULAR:
        last = IRREGULAR[last]
    elif re.search(r"(s|x|ch|sh|z)$", last):
        last += "es"
    elif re.search(r"[^aeiou]y$", last):
        last = last[:-1] + "ies"
    elif last in ("potato", "tomato", "mango", "avocado", "dodo", "flamingo", "tornado", "volcano"):
        last += "es"
    else:
        last += "s"
    return " ".join(words[:-1] + [last]) + sep + tail


def word_for(rng, obj):
    """The name mostly; sometimes another word or a keyword for it, or the name with a colour that the image has. What is painted is always called by its colour,
    and never by a word that holds another ("red car")."""
    word, words = obj["name"], obj["words"]
    if "paint" in obj:
        words = [w for w in words if not COLOUR_WORDS & set(w.split())]
    if words and rng.random() < 0.35:
        word = rng.choice(words)
    elif obj["keys"] and rng.random() < 0.08:
        word = rng.choice(obj["keys"][:4])
    elif "paint" not in obj and obj.get("colour") and rng.random() < 0.15 and obj["colour"] not in obj["name"]:
        word = obj["colour"] + " " + obj["name"]
    if "paint" in obj:
        word = rng.choice(SAME.get(obj["paint"], [obj["paint"]])) + " " + word
    return word


def noun(rng, obj, adjective="", bare=0.25):
    w = word_for(rng, obj)
    if adjective:
        w = adjective + " " + w
    elif rng.random() < 0.06:
        w = rng.choice(NICE) + " " + w
    if rng.random() < bare:
        return w
    if rng.random() < 0.06:
        return "the " + w
    return article(w)


def background(rng, name):
    """A phrase that follows the objects."""
    if name in GRADED:
        return " " + rng.choice(GRADED[name][5])
    c = rng.choice(SAME.get(name, [name]))
    r = rng.random()
    an = "an" if c[0] in "aeiou" else "a"
    if r < 0.62:
        return f" on {an} {c} background"
    if r < 0.74:
        return f", {c} background"
    if r < 0.84:
        return f" on {c}"
    if r < 0.94:
        return f" with {an} {c} background"
    return f" in front of {an} {c} background"
