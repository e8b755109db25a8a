"""Words that fill the slots of the helpdesk templates, and those that the shifts bring in.

Everything here is written for this project; names of people and places are common ones, products generic.

Example:
    >>> "kettle" in PRODUCTS and "kettle" not in NEW_PRODUCTS
    True
"""

from __future__ import annotations

PRODUCTS: dict[str, str] = {
    "kettle": "kettles",
    "toaster": "toasters",
    "desk lamp": "desk lamps",
    "office chair": "office chairs",
    "bookshelf": "bookshelves",
    "vacuum cleaner": "vacuum cleaners",
    "coffee machine": "coffee machines",
    "blender": "blenders",
    "raincoat": "raincoats",
    "backpack": "backpacks",
    "suitcase": "suitcases",
    "pair of boots": "pairs of boots",
    "winter jacket": "winter jackets",
    "headset": "headsets",
    "keyboard": "keyboards",
    "monitor": "monitors",
    "laptop": "laptops",
    "tablet": "tablets",
    "phone case": "phone cases",
    "smart watch": "smart watches",
    "camera": "cameras",
    "printer": "printers",
    "router": "routers",
    "speaker": "speakers",
    "mattress": "mattresses",
    "pillow": "pillows",
    "sofa": "sofas",
    "rug": "rugs",
    "garden hose": "garden hoses",
    "lawn mower": "lawn mowers",
    "bicycle": "bicycles",
    "helmet": "helmets",
    "tent": "tents",
    "sleeping bag": "sleeping bags",
    "drill": "drills",
    "ladder": "ladders",
    "frying pan": "frying pans",
    "knife set": "knife sets",
    "hair dryer": "hair dryers",
    "baby stroller": "baby strollers",
}
"""Product, singular -> plural: the words that a base may learn."""

NEW_PRODUCTS: dict[str, str] = {
    "air fryer": "air fryers",
    "bread proofer": "bread proofers",
    "cargo trike": "cargo trikes",
    "dehumidifier": "dehumidifiers",
    "drone": "drones",
    "e-reader": "e-readers",
    "foam roller": "foam rollers",
    "heat pump": "heat pumps",
    "karaoke mixer": "karaoke mixers",
    "kombucha jar": "kombucha jars",
    "mesh repeater": "mesh repeaters",
    "moss terrarium": "moss terrariums",
    "paddle board": "paddle boards",
    "pellet grill": "pellet grills",
    "projector": "projectors",
    "robot mop": "robot mops",
    "solar charger": "solar chargers",
    "soldering station": "soldering stations",
    "theremin": "theremins",
    "ukulele": "ukuleles",
    "water flosser": "water flossers",
    "weighted blanket": "weighted blankets",
    "wine fridge": "wine fridges",
    "yoga wheel": "yoga wheels",
}
"""Product, singular -> plural: words that no template draws, for the new-product shift."""

SLOTS: dict[str, tuple[str, ...]] = {
    "want": ("I want to", "I'd like to", "I need to", "I would like to", "Help me", "I'm trying to"),
    "can": ("can you", "could you", "would you", "can someone", "could someone", "is it possible for you to"),
    "product": tuple(PRODUCTS),
    "products": tuple(PRODUCTS.values()),
    "colour": ("black", "white", "red", "navy blue", "grey", "green", "beige"),
    "colour2": ("silver", "brown", "yellow", "light blue", "purple", "orange"),
    "place": ("office", "workshop", "flat", "cabin", "studio", "parents' house", "school", "restaurant"),
    "city": ("Leeds", "Austin", "Toronto", "Dublin", "Denver", "Bristol", "Auckland", "Chicago"),
    "city2": ("Perth", "Glasgow", "Seattle", "Ottawa", "Cardiff", "Boston", "Brisbane", "Tampa"),
    "name": ("Maria", "Tom", "Aisha", "Kenji", "Olga", "Samuel", "Priya", "Lena", "Diego", "Nadia"),
    "channel": ("app", "website", "chat", "phone line", "customer portal"),
    "channel2": ("letter", "text message", "mail"),
    "carrier": ("courier", "driver", "postman", "delivery company", "carrier"),
    "email_word": ("email", "mail", "message"),
    "card": ("credit card", "debit card", "bank card", "visa card"),
    "day": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "the 3rd", "the 21st"),
    "daypart": ("morning", "afternoon", "evening"),
    "time": ("9 am", "noon", "4 pm", "5:30 pm", "6 pm", "8 pm"),
    "month": ("January", "March", "April", "June", "August", "October", "December"),
    "count": ("2", "3", "four", "5", "six", "8"),
    "amount": ("$15", "$29.99", "$48", "$120", "$7.50", "$230", "60 dollars", "$89"),
}
"""Slot name -> choices; ``order``, ``number`` and the ``*_cap`` forms are computed in ``helpdesk.py``."""

OPENERS = (
    "Hi,",
    "Hello,",
    "Good morning,",
    "Hey there,",
    "Excuse me,",
    "Quick question:",
    "Sorry to bother you,",
    "So,",
)
CLOSERS = (
    "Thanks!",
    "Thank you.",
    "Please advise.",
    "Any help is appreciated.",
    "Cheers.",
    "Let me know.",
    "It's urgent.",
)

DISTRACTORS: dict[str, tuple[str, ...]] = {
    "I'm not asking for a refund.": ("refund", "money", "paid back", "reimburse", "return", "owe"),
    "I don't want to cancel an order.": ("cancel", "order", "stop", "purchase", "mind", "scrap", "anymore", "undo"),
    "This isn't about my password.": ("password", "login", "log in", "sign", "credential", "reset"),
    "It has nothing to do with a voucher.": ("voucher", "coupon", "code", "discount", "bonus", "points", "sale"),
    "I don't need an invoice.": ("invoice", "receipt", "bill", "paper", "proof", "pdf", "paid"),
    "I'm not looking for an exchange.": ("exchange", "swap", "switch", "replace", "trade", "size", "instead", "rather"),
    "My address is correct, by the way.": (
        "address",
        "street",
        "moved",
        "postcode",
        "deliver",
        "ship",
        "send",
        "parcel",
    ),
    "No need to update my phone number.": ("number", "phone", "profile", "update", "change", "contact", "details"),
}
"""Sentence that denies a topic -> word stems; it is used only where none of them occurs in the text."""

FILLERS = ("um", "uh", "er", "you know", "like", "I mean", "well", "so yeah", "hmm")
