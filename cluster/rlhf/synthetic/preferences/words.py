"""Vocabulary of the synthetic chats: words, names, topics, and sentences about them.

Every public function takes the split and gives only that split's values. Invented words, made
of syllables, keep the model from learning a fixed list where it should learn to compare.
"""

from __future__ import annotations

from random import Random

from cluster.rlhf.synthetic.preferences.groups import Split, of_split, split_of


def distinct(text: str) -> tuple[str, ...]:
    """Its words, each once."""
    return tuple(dict.fromkeys(text.split()))


TOPICS = distinct("""
chess gardening volcanoes bicycles poetry astronomy beekeeping pottery sailing photography
dinosaurs bridges violins coffee trains glaciers penguins origami castles mountains rivers
robots history painting cooking football tennis swimming dancing knitting fishing hiking
camping running cycling skiing surfing yoga chocolate cheese bread tea honey pasta rice soup
salad wine beer apples oranges tomatoes potatoes onions carrots dogs cats horses elephants
whales dolphins sharks owls eagles butterflies spiders ants frogs snakes turtles tigers lions
bears wolves foxes rabbits mice monkeys pandas kangaroos oceans deserts forests islands lakes
rainbows thunderstorms earthquakes tornadoes comets planets stars galaxies rockets satellites
telescopes microscopes computers telephones televisions radios cameras clocks mirrors lamps
candles umbrellas bottles books newspapers libraries museums theatres schools hospitals airports
lighthouses windmills pyramids temples cathedrals gardens parks farms markets restaurants
guitars pianos drums flutes trumpets opera jazz cinema sculpture architecture mathematics
physics chemistry biology geography economics philosophy psychology grammar taxes insurance
banks elections newspapers holidays weddings birthdays dreams sleep exercise vitamins vaccines
""")

NAMES = distinct("""
Alice Bruno Clara David Elena Felix Greta Hugo Irene Jonas Karla Leon Maria Nadia Oscar Paula
Quentin Rosa Simon Tessa Ursula Victor Wanda Xavier Yara Zoe Adam Bella Carlos Diana Emil Fatima
George Hanna Ivan Julia Kevin Laura Martin Nina Olaf Petra Rafael Sofia Thomas Uma Vera Walter
Amir Beatrix Cedric Dora Edgar Frida Gustav Helena Igor Jasmin Konrad Lydia Miguel Noah Olivia
Pedro Ruth Samuel Tanya Viola William Yusuf Zara Anton Britta Chloe Dennis Esther Frank Gloria
""")

WORDS = distinct("""
silver window yellow market garden button forest orange purple rocket ladder candle basket
bridge carpet castle copper corner cotton desert dinner engine fabric feather finger flower
friend guitar hammer harbor island jacket jungle kettle kitten lemon letter magnet marble meadow
mirror monkey morning mountain needle ocean onion paper pencil pepper pillow planet pocket
potato puzzle rabbit ribbon river saddle salmon school season shadow shoulder signal singer
spoon spring stable station stone summer sunset table teacher temple thunder ticket tiger tunnel
turtle valley velvet village violin wagon walnut water whisper winter wizard yellow zebra anchor
apple arrow autumn bakery balloon banana barrel beach blanket bottle branch breeze brick bucket
cabin camera canal canvas carrot cellar chair cherry circle cloud coffee coin compass cookie
""")

_OPENINGS = """
Many people enjoy {t}|You can learn a lot about {t}|I like to talk about {t}|The story of {t} is
long|There are good books about {t}|My neighbour knows everything about {t}|Most of us know
something about {t}|A friend told me about {t}|It is easy to be curious about {t}|People have
always cared about {t}|In school we heard about {t}|Every year someone writes about {t}|Some
experts study {t}|Nobody gets tired of {t}|There is much to say about {t}
"""
_ENDINGS = """
all over the world|in the summer|for many good reasons|at home and at work|with great care|since
long ago|in every big city|when the weather is bad|and so do I|to this day|more than ever|in a
quiet place|from time to time|without any doubt|even on a busy day
"""
_PLAIN = """
It takes some time to begin|The first step is often the hardest|You should ask someone with
experience|A little practice helps a lot|It does not cost very much|The details matter more than
you think|Start with something small|Take notes and read them again later|There are clubs that
meet every week|Most beginners make the same mistakes|Be patient and do not give up|The results
will surprise you|It is a good way to meet new friends|You can find more in the library|Children
and adults can take part|Keep your plans simple|Some people prefer to learn alone|Others like to
work in a group|A good teacher makes it easier|Try it once and see how you feel
"""
_SYLLABLES = distinct("""
ba be bo da de di fa fi ga go ka ki ko la le lo ma mi mo na ne no pa pe ra re ri ro
sa se so ta te ti to va ve vi za zo
""")


def phrases(text: str) -> list[str]:
    return [" ".join(phrase.split()) for phrase in text.split("|")]


OPENINGS, ENDINGS, PLAIN = phrases(_OPENINGS), phrases(_ENDINGS), phrases(_PLAIN)


def topics(rng: Random, split: Split, n: int) -> list[str]:
    """n different topics of the split, every second one invented."""
    found = rng.sample(of_split(TOPICS, split), n)
    return [invented(rng, split) if rng.random() < 1 / 2 else topic for topic in found]


def names(rng: Random, split: Split, n: int) -> list[str]:
    """n different names of the split, most of them invented."""
    found = rng.sample(of_split(NAMES, split), n)
    return [invented(rng, split).title() if rng.random() < 2 / 3 else name for name in found]


def words(rng: Random, split: Split, n: int) -> list[str]:
    """n different words of the split, every second one invented."""
    found = rng.sample(of_split(WORDS, split), n)
    return [invented(rng, split) if rng.random() < 1 / 2 else word for word in found]


def invented(rng: Random, split: Split) -> str:
    """A word of two to four syllables that no language knows."""
    while True:
        word = "".join(rng.choice(_SYLLABLES) for _ in range(rng.choice((2, 3, 3, 4))))
        if split_of(word) == split:
            return word


def list_items(rng: Random, split: Split, n: int) -> tuple[str, list[str]]:
    """What kind of thing to list, and n such things of the split."""
    kind = rng.choice(("words", "names", "topics", "villages", "hobbies"))
    if kind == "words":
        return kind, words(rng, split, n)
    if kind == "names":
        return kind, names(rng, split, n)
    if kind == "villages":
        return kind, [invented(rng, split).title() for _ in range(n)]
    return kind, topics(rng, split, n)


def sentence_about(rng: Random, topic: str) -> str:
    """One sentence that names the topic, without its full stop."""
    opening = rng.choice(OPENINGS).format(t=topic)
    return f"{opening} {rng.choice(ENDINGS)}" if rng.random() < 0.3 else opening


def sentences_about(rng: Random, topic: str, n: int) -> list[str]:
    """n different sentences, about every second of which names the topic, the first always."""
    plain = rng.sample(PLAIN, n)
    return [
        f"{sentence_about(rng, topic) if i == 0 or rng.random() < 0.3 else plain[i]}."
        for i in range(n)
    ]


def prose_about(rng: Random, topic: str, n: int) -> str:
    """n sentences as one text."""
    return " ".join(sentences_about(rng, topic, n))
