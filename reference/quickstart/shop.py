"""The words of a small shop, and the texts made of them.

Everything the quick start reads is written here: the papers its base model is trained on, and the chat rows that
fine-tune it. All of it is a function of a seed.
"""

import json
import random

ITEMS = {
    "mug": "mugs", "kettle": "kettles", "lamp": "lamps", "basket": "baskets", "blanket": "blankets",
    "candle": "candles", "bowl": "bowls", "chair": "chairs", "clock": "clocks", "cushion": "cushions",
    "jar": "jars", "spoon": "spoons", "brush": "brushes", "box": "boxes", "knife": "knives", "shelf": "shelves",
    "bench": "benches", "dish": "dishes", "teapot": "teapots", "towel": "towels", "curtain": "curtains",
    "vase": "vases", "scarf": "scarves", "glass": "glasses",
}
COLOURS = ["red", "blue", "green", "white", "black", "yellow", "grey", "brown"]
COUNTS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
NAMES = ["Ada", "Ben", "Cleo", "Dora", "Emil", "Fay", "Gus", "Hana", "Ivo", "June", "Karl", "Lena"]

# How a customer says it, by letter (the base model reads these) and by chat (only the fine-tuning rows do).
LETTERS = [
    "Dear shop, please send {things} on {day}. Yours, {name}",
    "Dear shop, I would like {things} for {day}. Yours, {name}",
    "On {day} I will come for {things}. Thank you, {name}",
    "Could you keep {things} for me until {day}? Thank you, {name}",
    "We need {things} by {day}, please. Yours, {name}",
    "It is {name} again. {Things}, please, and not later than {day}!",
]
CHATS = [
    "Hi, could I have {things} by {day}?",
    "Please send me {things} on {day}.",
    "I need {things}. {day} would be good!",
    "Hello! On {day} I would like {things}, please.",
    "{Things} for {day}, please.",
    "Is it too late to order {things} for {day}?",
    "My sister wants {things} by {day}.",
    "Good morning, {things} please, {day} at the latest.",
]


def order(rng):
    return {
        "item": rng.choice(list(ITEMS)),
        "colour": rng.choice(COLOURS),
        "count": rng.randint(1, 9),
        "day": rng.choice(DAYS),
    }


def things(what):
    count, item = what["count"], what["item"]
    return f"{COUNTS[count - 1]} {what['colour']} {item if count == 1 else ITEMS[item]}"


def say(template, what, name=""):
    said = things(what)
    return template.format(things=said, Things=said[0].upper() + said[1:], day=what["day"], name=name)


def part(kind, text):
    return f"<|im_start|>{kind}\n{text}<|im_end|>\n"


def letter(rng):
    """A letter, and what the shop wrote about it: the ledger's line, the parcel's label."""
    what, name = order(rng), rng.choice(NAMES)
    line = f"{name}: {what['count']} x {what['item']}, {what['colour']}, {what['day']}"
    label = f"For {name}, {what['day']}: {things(what)}"
    after = [part("ledger", line), part("label", label)]
    rng.shuffle(after)
    return part("letter", say(rng.choice(LETTERS), what, name)) + "".join(after[: rng.randint(1, 2)])


def inventory(rng):
    """A list read out and read back."""
    goods = [f"{rng.choice(COLOURS)} {rng.choice(list(ITEMS))}" for _ in range(rng.randint(2, 4))]
    return part("list", ", ".join(goods)) + part("again", ", ".join(goods))


def card(rng):
    """Cards in JSON, about nothing in particular: never the four fields of an order together."""
    what = {**order(rng), "shelf": rng.randint(1, 9)}
    fields = rng.sample(list(what.items()), rng.randint(1, 3))
    return part("card", json.dumps(dict(fields)))


def diary(rng):
    lines = []
    for _ in range(rng.randint(1, 3)):
        what, name = order(rng), rng.choice(NAMES)
        lines.append(
            rng.choice([
                "On {day} we sold {things} to {name}.",
                "{name} came on {day} and took {things}.",
                "{Things} are still here; {name} may want them on {day}.",
            ]).format(things=things(what), Things=things(what).capitalize(), day=what["day"], name=name)
        )
    return part("diary", " ".join(lines))


def count(rng):
    """How words, figures and plurals go together."""
    item = rng.choice(list(ITEMS))
    start = rng.randint(1, 6)
    pairs = [
        f"{COUNTS[n - 1]} {item if n == 1 else ITEMS[item]} = {n} x {item}" for n in range(start, start + 4)
    ]
    return part("count", "\n".join(pairs))


def papers(seed, characters):
    """What the base model reads: about so many characters of letters and what was made of them, lists, cards, diaries and counts."""
    rng = random.Random(seed)
    kinds = [letter] * 8 + [inventory, inventory, card, card, diary, count]
    texts, total = [], 0
    while total < characters:
        text = rng.choice(kinds)(rng)
        texts.append(text)
        total += len(text)
    return texts


def answer(what):
    return json.dumps({"item": what["item"], "colour": what["colour"], "count": what["count"], "day": what["day"]})


def chats(seed, train, heldout):
    """Chat rows. An item and a colour that meet in a held-out row never meet in a training row."""
    rng = random.Random(seed)
    pairs = [(item, colour) for item in ITEMS for colour in COLOURS]
    rng.shuffle(pairs)
    kept = {False: pairs[len(pairs) // 4 :], True: pairs[: len(pairs) // 4]}

    def turns(held):
        item, colour = rng.choice(kept[held])
        what = {"item": item, "colour": colour, "count": rng.randint(1, 9), "day": rng.choice(DAYS)}
        return [
            {"role": "user", "content": say(rng.choice(CHATS), what)},
            {"role": "assistant", "content": answer(what)},
        ]

    def rows(held, n, twice):
        seen, made = set(), []
        while len(made) < n:
            messages = turns(held) + (turns(held) if rng.random() < twice else [])
            key = messages[0]["content"]
            if key not in seen:
                seen.add(key)
                made.append({"messages": messages})
        return made

    return rows(False, train, 0.2), rows(True, heldout, 0.0)
